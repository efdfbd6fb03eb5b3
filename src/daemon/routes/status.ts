import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** `GET /v1/status` */
export const statusRoutes = ({ status }: Pick<RouteParts, 'status'>): Route[] => [
  { method: 'GET', path: '/v1/status', audience: 'anyone', handle: () => ({ value: status() }) },
];
