import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** `GET /v1/attachments`: the pods of this node. */
export const attachmentRoutes = ({ cni }: Pick<RouteParts, 'cni'>): Route[] => [
  {
    method: 'GET',
    path: '/v1/attachments',
    audience: 'local',
    handle: () => ({ pieces: cni.attachments() }),
  },
];
