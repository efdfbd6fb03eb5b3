import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** `GET /v1/lifetimes` */
export const lifetimeRoutes = ({ lifetimes }: Pick<RouteParts, 'lifetimes'>): Route[] => [
  {
    method: 'GET',
    path: '/v1/lifetimes',
    audience: 'anyone',
    handle: () => ({ pieces: lifetimes.text() }),
  },
];
