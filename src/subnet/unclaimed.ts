import type { Lease, NetworkConfig } from './types.ts';

/**
 * A reservation that no daemon has ever written: ours name their instance, and backends say what they are. flannel's udp says nothing at all.
 * Its subnet is taken, but there is no node to send to.
 */
export const isUnclaimed = (lease: Lease, config: NetworkConfig | undefined): boolean =>
  lease.etcdLease === 'reservation' &&
  lease.instance === undefined &&
  lease.backend === undefined &&
  lease.data.size === 0 &&
  (lease.node !== undefined || (config !== undefined && config.backend.type !== 'udp'));
