import { memo } from '../memo.ts';
import { type Addr, type Family, formatAddr, sameAddr } from '../net/addr.ts';
import { containsAddr, containsPrefix, formatPrefix, type Prefix } from '../net/prefix.ts';
import { scopeOf } from '../net/scope.ts';
import type { Lease, LeaseView, NetworkConfig } from '../subnet/types.ts';
import type { HostFacts, PeerProblem } from './backend.ts';
import { judges, ownAddrs } from './judge.ts';
import { Verdicts } from './verdicts.ts';

/** One family of one peer that may be served: nothing about it can hurt us or an older peer. */
export interface PeerSubnet {
  readonly lease: Lease;
  readonly family: Family;
  readonly subnet: Prefix;
  /** PublicIP of that family: a unicast address that is not ours. */
  readonly endpoint: Addr;
  /** BackendData of that family, unchecked. */
  readonly data: unknown;
}

export type Vetted = { readonly peer: PeerSubnet } | { readonly problem: PeerProblem };

/** Older leases first, so that what comes later can take nothing from them; the key breaks ties. */
export function inOrder(leases: Iterable<Lease>): readonly Lease[] {
  return Array.from(leases, (lease) => ({ lease, revision: Number(lease.createRevision) }))
    .sort((a, b) => a.revision - b.revision || (a.lease.key < b.lease.key ? -1 : 1))
    .map(({ lease }) => lease);
}

/**
 * The peers of a view, older first, each subnet vetted. etcd is shared, and what others write is hostile: a subnet
 * outside the network, over our own, over an older peer's, or over an address the underlay needs (ours, gateways, etcd,
 * an older peer's PublicIP) is a problem and gets nothing, and so is a PublicIP inside the overlay: that would be a
 * loop. A peer is refused family by family; others are never disturbed.
 * A peer is the same object (===) for as long as its lease is. Lazy: the caller may stop between any two.
 */
export const vet = (view: LeaseView, host: HostFacts): Iterable<Vetted> =>
  verdicts(view.network)(host)(view.self).on(inOrder(view.peers.values()));

const verdicts = memo((network: NetworkConfig) =>
  memo((host: HostFacts) => {
    const claims = memo((lease: Lease) => claimsOf(network, host, lease));
    return memo((self: Lease) => new Verdicts(claims, () => judges(network, host, self)));
  }),
);

/** What a lease claims, family by family, as far as it can be judged without a look at others. */
function claimsOf({ families, backend }: NetworkConfig, host: HostFacts, lease: Lease): readonly Vetted[] {
  const theirs = lease.backend ?? backend.type;
  if (theirs !== backend.type)
    return [refusal(lease, `it uses the backend ${JSON.stringify(theirs)}, not ${backend.type}`)];
  const subnets = lease.subnets.filter(({ addr }) => families.has(addr.family));
  if (subnets.length === 0) return [refusal(lease, 'it has no subnet in a family this network uses')];
  return subnets.map((subnet) => {
    const { family } = subnet.addr;
    const endpoint = endpointOf(lease, subnet, families.get(family)!.network, host);
    if (typeof endpoint === 'string') return refusal(lease, endpoint, subnet);
    return { peer: { lease, family, subnet, endpoint, data: lease.data.get(family) } };
  });
}

const refusal = (lease: Lease, reason: string, subnet?: Prefix): Vetted => ({
  problem: { lease, reason: subnet ? `${formatPrefix(subnet)}: ${reason}` : reason },
});

/** The endpoint that serves a subnet, or what is wrong with the two. */
function endpointOf(lease: Lease, subnet: Prefix, network: Prefix, host: HostFacts): Addr | string {
  const { family } = subnet.addr;
  if (!containsPrefix(network, subnet)) return `it is outside the network ${formatPrefix(network)}`;
  const endpoint = lease.endpoints.get(family);
  if (!endpoint) return `it has no ${family === 4 ? 'PublicIP' : 'PublicIPv6'}`;
  const text = `its address ${formatAddr(endpoint)}`;
  if (scopeOf(endpoint) !== 'global') return `${text} is not one other hosts can reach`;
  if (ownAddrs(host, family).some((a) => sameAddr(a, endpoint))) return `${text} is this host's own`;
  if (containsAddr(subnet, endpoint)) return `${text} is inside the overlay, in its own subnet`;
  return endpoint;
}
