import type { MetricSources, Metrics } from '../../metrics/index.ts';
import type { Route } from '../http/route.ts';

/** `GET /metrics`, for Prometheus. Nothing of it is loaded before somebody asks. */
export function metricsRoutes(sources: MetricSources): Route[] {
  let loading: Promise<Metrics> | undefined;
  return [
    {
      method: 'GET',
      path: '/metrics',
      audience: 'anyone',
      handle: async () => {
        loading ??= import('../../metrics/index.ts').then(({ metrics }) => metrics(sources));
        const metrics = await loading;
        return { text: await metrics.text(), type: metrics.contentType };
      },
    },
  ];
}
