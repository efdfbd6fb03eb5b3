import { ROUTE_PROTOCOL } from '../contract.ts';
import type { Route } from '../kernel/types.ts';
import { network } from '../net/prefix.ts';
import type { Lease } from '../subnet/types.ts';

/** Worse than any route a bridge or an address brings, which IPv4 would otherwise not let stand beside it. */
const LAST_RESORT = 1_000_000;

/**
 * `--ip-blackhole-route`: packets to addresses of our subnet that no pod has are dropped here instead of leaving by the
 * default route.
 */
export const blackholes = (self: Pick<Lease, 'subnets'>): Route[] =>
  self.subnets.map((subnet) => ({
    kind: 'route',
    type: 'blackhole',
    dst: network(subnet),
    onlink: false,
    protocol: ROUTE_PROTOCOL,
    metric: LAST_RESORT,
  }));
