import { peersText } from '../../forwarder/stats.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** `GET /v1/forwarder/peers`: the counters of the udp backend's forwarder. */
export const forwarderRoutes = ({ forwarder }: Pick<RouteParts, 'forwarder'>): Route[] => [
  {
    method: 'GET',
    path: '/v1/forwarder/peers',
    audience: 'local',
    handle: () => ({ pieces: peersText(forwarder) }),
  },
];
