import type { ListenAddress } from '../../config/kinds.ts';
import { scopeOf } from '../../net/scope.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from '../routes/parts.ts';
import { rowFetcher } from './fetch.ts';
import { Gatherer, type GatherParts } from './gather.ts';
import { matrixText } from './matrix.ts';
import { rowText } from './row.ts';

/** Others are asked at our own --metrics-addr's port: where that is not served for others, theirs is not either. */
function gathering(metrics: ListenAddress | undefined): GatherParts {
  if (!metrics)
    return {
      fetch: undefined,
      why: 'this daemon runs without --metrics-addr, by which nodes ask each other',
    };
  if (metrics.host && scopeOf(metrics.host) === 'loopback')
    return {
      fetch: undefined,
      why: '--metrics-addr is a loopback address here: nodes cannot ask each other',
    };
  return { fetch: rowFetcher(metrics.port), why: '' };
}

type Parts = Pick<RouteParts, 'options' | 'daemon' | 'probing' | 'reactions'>;

/** `GET /v1/row`: whom this node reaches; `GET /v1/matrix`: who reaches whom. */
export function matrixRoutes(parts: Parts): { readonly routes: Route[]; readonly stop: () => void } {
  const gatherer = new Gatherer(gathering(parts.options.metrics));
  return {
    stop: () => gatherer.stop(),
    routes: [
      {
        method: 'GET',
        path: '/v1/row',
        audience: 'anyone',
        handle: () => ({
          pieces: rowText(parts.daemon.asked?.held.key ?? null, parts.probing, parts.reactions),
        }),
      },
      {
        method: 'GET',
        path: '/v1/matrix',
        audience: 'anyone',
        handle: () => ({ pieces: matrixText(parts, gatherer) }),
      },
    ],
  };
}
