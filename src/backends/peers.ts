import { type Addr, type Family, formatAddr, sameAddr } from '../net/addr.ts';
import { containsAddr, containsPrefix, formatPrefix, hostPrefix, type Prefix } from '../net/prefix.ts';
import { scopeOf } from '../net/scope.ts';
import type { BackendType, Lease, LeaseView } from '../subnet/types.ts';
import { subnetOf } from '../subnet/types.ts';
import type { HostFacts, PeerProblem } from './backend.ts';
import { Spans } from './spans.ts';

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
 * Lazy: the caller may stop between any two.
 */
export function* vet(view: LeaseView, type: BackendType, host: HostFacts): Generator<Vetted> {
  const vetters = new Map([...view.network.families.keys()].map((f) => [f, vetFamily(view, host, f)]));
  for (const lease of inOrder(view.peers.values())) {
    const theirs = lease.backend ?? view.network.backend.type;
    if (theirs !== type) {
      yield { problem: { lease, reason: `it uses the backend ${JSON.stringify(theirs)}, not ${type}` } };
      continue;
    }
    let found = false;
    for (const [family, vetOne] of vetters) {
      const subnet = subnetOf(lease, family);
      if (!subnet) continue;
      found = true;
      const verdict = vetOne(lease, subnet);
      if (typeof verdict === 'string') {
        yield { problem: { lease, reason: `${formatPrefix(subnet)}: ${verdict}` } };
      } else {
        yield { peer: { lease, family, subnet, endpoint: verdict, data: lease.data.get(family) } };
      }
    }
    if (!found) yield { problem: { lease, reason: 'it has no subnet in a family this network uses' } };
  }
}

/** Whose an address or a subnet is: a lease, or words. */
type Owner = Lease | string;
const named = (owner: Owner): string => (typeof owner === 'string' ? owner : `the older lease ${owner.key}`);

/** Judge one family's subnets in order: the endpoint to use, or the reason why not. */
function vetFamily(
  view: LeaseView,
  host: HostFacts,
  family: Family,
): (lease: Lease, subnet: Prefix) => Addr | string {
  const { network } = view.network.families.get(family)!;
  const subnets = new Spans<Owner>();
  const underlay = new Spans<Owner>();
  const own = subnetOf(view.self, family);
  if (own) subnets.add(own, 'our own subnet');
  const ours = [
    ...host.uplink.addrs.map((p) => p.addr),
    host.publicAddrs.get(family),
    host.localAddrs.get(family),
  ];
  const protect = (a: Addr | undefined, owner: Owner): void => {
    if (a?.family === family && underlay.holding(a) === undefined) underlay.add(hostPrefix(a), owner);
  };
  for (const a of ours) protect(a, 'this host');
  for (const a of host.reserved ?? []) protect(a, 'a gateway or etcd server of this host');

  return (lease, subnet) => {
    if (!containsPrefix(network, subnet)) return `it is outside the network ${formatPrefix(network)}`;
    const taken = subnets.overlapping(subnet);
    if (taken !== undefined)
      return `it overlaps ${typeof taken === 'string' ? taken : `that of ${named(taken)}`}`;
    const covered = underlay.overlapping(subnet);
    if (covered !== undefined) return `it would take over the address of ${named(covered)}`;
    const endpoint = lease.endpoints.get(family);
    if (!endpoint) return `it has no ${family === 4 ? 'PublicIP' : 'PublicIPv6'}`;
    if (scopeOf(endpoint) !== 'global')
      return `its address ${formatAddr(endpoint)} is not one other hosts can reach`;
    if (ours.some((a) => sameAddr(a, endpoint)))
      return `its address ${formatAddr(endpoint)} is this host's own`;
    const around = containsAddr(subnet, endpoint) ? 'its own subnet' : subnets.holding(endpoint);
    if (around !== undefined) {
      const where = typeof around === 'string' ? around : `the subnet of ${named(around)}`;
      return `its address ${formatAddr(endpoint)} is inside the overlay, in ${where}`;
    }
    subnets.add(subnet, lease);
    protect(endpoint, lease);
    return endpoint;
  };
}
