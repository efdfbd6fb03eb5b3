import type { LeaseJson, LeasesJson } from '../api/leases.ts';
import { formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import { compareLeases, type Lease, type LeaseSnapshot } from './types.ts';

export function leaseJson(lease: Lease, self: boolean): LeaseJson {
  const v4 = lease.endpoints.get(4);
  const v6 = lease.endpoints.get(6);
  return {
    key: lease.key,
    subnets: lease.subnets.map(formatPrefix),
    publicIP: v4 ? formatAddr(v4) : null,
    publicIPv6: v6 ? formatAddr(v6) : null,
    backend: lease.backend ?? null,
    data: lease.data.get(4) ?? null,
    dataV6: lease.data.get(6) ?? null,
    node: lease.node ?? null,
    instance: lease.instance ?? null,
    reservation: lease.etcdLease === 'reservation',
    etcdLease: lease.etcdLease === 'reservation' ? null : String(lease.etcdLease),
    createRevision: String(lease.createRevision),
    modRevision: String(lease.modRevision),
    self,
  };
}

/**
 * The text of {@link leasesJson}, piece by piece: 10,000 leases are 3 MB, which the caller can write with pauses.
 */
export function* leasesText(
  snapshot: LeaseSnapshot | undefined,
  source: LeasesJson['source'],
  selfKey: Lease['key'] | undefined,
): Generator<string> {
  yield `{"revision":"${snapshot?.revision ?? 0}","source":"${source}","leases":[`;
  let comma = '';
  for (const lease of [...(snapshot?.leases.values() ?? [])].sort(compareLeases)) {
    yield comma + JSON.stringify(leaseJson(lease, lease.key === selfKey));
    comma = ',';
  }
  const setAside = [...(snapshot?.setAside ?? [])].map(([key, reason]) => ({ key, reason }));
  yield `],"setAside":${JSON.stringify(setAside)}}\n`;
}

/** All leases of a snapshot, ordered by subnet; `selfKey` is the key of our own, if there is one. */
export const leasesJson = (
  snapshot: LeaseSnapshot,
  source: LeasesJson['source'],
  selfKey: Lease['key'] | undefined,
): LeasesJson => ({
  revision: String(snapshot.revision),
  source,
  leases: [...snapshot.leases.values()]
    .sort(compareLeases)
    .map((lease) => leaseJson(lease, lease.key === selfKey)),
  setAside: [...snapshot.setAside].map(([key, reason]) => ({ key, reason })),
});
