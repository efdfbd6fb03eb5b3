import type { Metrics } from '../../metrics/index.ts';
import type { Route } from '../http/route.ts';
import { metricSources } from '../metering.ts';
import type { RouteParts } from './parts.ts';

/** `GET /metrics`, for Prometheus. Nothing of it is loaded before somebody asks. */
export function metricRoutes(parts: RouteParts): Route[] {
  let loading: Promise<Metrics> | undefined;
  const load = (): Promise<Metrics> =>
    import('../../metrics/index.ts').then(({ metrics }) => metrics(metricSources(parts)));
  return [
    {
      method: 'GET',
      path: '/metrics',
      audience: 'anyone',
      handle: async () => {
        loading ??= load();
        const all = await loading;
        return { text: await all.text(), type: all.contentType };
      },
    },
  ];
}
