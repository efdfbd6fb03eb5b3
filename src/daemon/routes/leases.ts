import { leaseJson, leasesText } from '../../subnet/json.ts';
import type { SubnetKey } from '../../subnet/types.ts';
import { notFound } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** `GET /v1/leases` and one of them. None before the first look at etcd. */
export const leaseRoutes = ({ daemon }: Pick<RouteParts, 'daemon'>): Route[] => [
  {
    method: 'GET',
    path: '/v1/leases',
    audience: 'anyone',
    handle: () => ({ pieces: leasesText(daemon.snapshot, 'daemon', daemon.held?.key) }),
  },
  {
    method: 'GET',
    path: '/v1/leases/:key',
    audience: 'anyone',
    handle: ({ params: { key = '' } }) => {
      const lease = daemon.snapshot?.leases.get(key as SubnetKey);
      if (!lease) throw notFound(`there is no lease ${JSON.stringify(key.slice(0, 100))}`);
      return { value: leaseJson(lease, lease.key === daemon.held?.key) };
    },
  },
];
