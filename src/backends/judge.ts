import { type Addr, type Family, formatAddr } from '../net/addr.ts';
import { hostPrefix } from '../net/prefix.ts';
import type { Lease, NetworkConfig } from '../subnet/types.ts';
import { subnetOf } from '../subnet/types.ts';
import type { HostFacts } from './backend.ts';
import type { PeerSubnet } from './peers.ts';
import { PrefixSet } from './prefixSet.ts';

/** Holds a peer against this host and the peers before it: the reason why it is not served, if there is one. */
export type Judge = (peer: PeerSubnet) => string | undefined;

/** Whose an address or a subnet is: a lease, or words. */
type Owner = Lease | string;
const named = (owner: Owner): string => (typeof owner === 'string' ? owner : `the older lease ${owner.key}`);

/** The addresses of this host itself. */
export const ownAddrs = (host: HostFacts, family: Family): Addr[] =>
  [...host.uplink.addrs.map((p) => p.addr), host.publicAddrs.get(family), host.localAddrs.get(family)].filter(
    (a) => a?.family === family,
  ) as Addr[];

/** A judge for each family of the network, who has seen no peer yet. */
export const judges = (network: NetworkConfig, host: HostFacts, self: Lease): ReadonlyMap<Family, Judge> =>
  new Map([...network.families.keys()].map((f) => [f, judge(f, host, self)]));

function judge(family: Family, host: HostFacts, self: Lease): Judge {
  const subnets = new PrefixSet<Owner>(family);
  const underlay = new PrefixSet<Owner>(family);
  const own = subnetOf(self, family);
  if (own) subnets.add(own, 'our own subnet');
  const protect = (a: Addr, owner: Owner): void => {
    if (underlay.holding(a) === undefined) underlay.add(hostPrefix(a), owner);
  };
  for (const a of ownAddrs(host, family)) protect(a, 'this host');
  for (const a of host.reserved ?? [])
    if (a.family === family) protect(a, 'a gateway or etcd server of this host');

  return ({ lease, subnet, endpoint }) => {
    const taken = subnets.overlapping(subnet);
    if (taken !== undefined)
      return `it overlaps ${typeof taken === 'string' ? taken : `that of ${named(taken)}`}`;
    const covered = underlay.overlapping(subnet);
    if (covered !== undefined) return `it would take over the address of ${named(covered)}`;
    const around = subnets.holding(endpoint);
    if (around !== undefined) {
      const where = typeof around === 'string' ? around : `the subnet of ${named(around)}`;
      return `its address ${formatAddr(endpoint)} is inside the overlay, in ${where}`;
    }
    subnets.add(subnet, lease);
    protect(endpoint, lease);
    return undefined;
  };
}
