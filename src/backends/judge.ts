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

/** What is known of one family. */
interface Ground {
  readonly subnets: PrefixSet<Owner>;
  /** Addresses that the underlay needs. */
  readonly underlay: PrefixSet<Owner>;
}

/** A judge who has seen no peer yet. */
export function judge(network: NetworkConfig, host: HostFacts, self: Lease): Judge {
  const grounds = new Map([...network.families.keys()].map((f) => [f, groundOf(f, host, self)]));
  return ({ lease, subnet, endpoints }) => {
    const { subnets, underlay } = grounds.get(subnet.addr.family)!;
    const taken = subnets.overlapping(subnet);
    if (taken !== undefined)
      return `it overlaps ${typeof taken === 'string' ? taken : `that of ${named(taken)}`}`;
    const covered = underlay.overlapping(subnet);
    if (covered !== undefined) return `it would take over the address of ${named(covered)}`;
    for (const endpoint of endpoints) {
      const around = grounds.get(endpoint.family)?.subnets.holding(endpoint);
      if (around === undefined) continue;
      const where = typeof around === 'string' ? around : `the subnet of ${named(around)}`;
      return `its address ${formatAddr(endpoint)} is inside the overlay, in ${where}`;
    }
    subnets.add(subnet, lease);
    for (const endpoint of endpoints) {
      const ground = grounds.get(endpoint.family);
      if (ground) protect(ground, endpoint, lease);
    }
    return undefined;
  };
}

function protect({ underlay }: Ground, a: Addr, owner: Owner): void {
  if (underlay.holding(a) === undefined) underlay.add(hostPrefix(a), owner);
}

function groundOf(family: Family, host: HostFacts, self: Lease): Ground {
  const ground = { subnets: new PrefixSet<Owner>(family), underlay: new PrefixSet<Owner>(family) };
  const own = subnetOf(self, family);
  if (own) ground.subnets.add(own, 'our own subnet');
  for (const a of ownAddrs(host, family)) protect(ground, a, 'this host');
  for (const a of host.reserved ?? [])
    if (a.family === family) protect(ground, a, 'a gateway or etcd server of this host');
  return ground;
}
