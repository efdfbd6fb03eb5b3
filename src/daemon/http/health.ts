import { HEALTH } from '../../contract.ts';
import type { Route } from './route.ts';
import { TEXT_TYPE } from './write.ts';

/** /healthz and /readyz, with flanneld's words to the byte. */
export const healthRoutes = (ready: () => boolean): Route[] => [
  {
    method: 'GET',
    path: '/healthz',
    audience: 'anyone',
    handle: () => ({ text: HEALTH.alive, type: TEXT_TYPE }),
  },
  {
    method: 'GET',
    path: '/readyz',
    audience: 'anyone',
    handle: () =>
      ready()
        ? { text: HEALTH.ready, type: TEXT_TYPE }
        : { text: HEALTH.notReady, type: TEXT_TYPE, status: 503 },
  },
];
