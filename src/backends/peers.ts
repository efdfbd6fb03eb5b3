import { memo } from '../memo.ts';
import { type Addr, type Family, formatAddr, sameAddr } from '../net/addr.ts';
import { containsAddr, containsPrefix, formatPrefix, type Prefix } from '../net/prefix.ts';
import { scopeOf } from '../net/scope.ts';
import type { Lease, LeaseView, NetworkConfig } from '../subnet/types.ts';
import type { HostFacts, PeerProblem } from './backend.ts';
import { judge, ownAddrs } from './judge.ts';
import { Verdicts } from './verdicts.ts';

/** One family of one peer that may be served: nothing about it can hurt us or an older peer. */
export interface PeerSubnet {
  readonly lease: Lease;
  readonly family: Family;
  readonly subnet: Prefix;
  /** Where its packets are sent, the best first: unicast addresses that are not ours. At least one. */
  readonly endpoints: readonly [Addr, ...Addr[]];
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
export type Vet = (view: LeaseView, host: HostFacts) => Iterable<Vetted>;

/** Which of a lease's addresses serve a subnet, and why others do not. At least one of the two has a member. */
type Choice = (
  lease: Lease,
  subnet: Prefix,
  network: NetworkConfig,
  host: HostFacts,
) => { readonly endpoints: readonly Addr[]; readonly wrong: readonly string[] };

function vetting(choose: Choice): Vet {
  const verdicts = memo((network: NetworkConfig) =>
    memo((host: HostFacts) => {
      const claims = memo((lease: Lease) => claimsOf(choose, network, host, lease));
      return memo((self: Lease) => new Verdicts(claims, () => judge(network, host, self)));
    }),
  );
  return (view, host) => verdicts(view.network)(host)(view.self).on(inOrder(view.peers.values()));
}

/** What a lease claims, family by family, as far as it can be judged without a look at others. */
function claimsOf(choose: Choice, network: NetworkConfig, host: HostFacts, lease: Lease): readonly Vetted[] {
  const { families, backend } = network;
  const theirs = lease.backend ?? backend.type;
  if (theirs !== backend.type)
    return [refusal(lease, `it uses the backend ${JSON.stringify(theirs)}, not ${backend.type}`)];
  const subnets = lease.subnets.filter(({ addr }) => families.has(addr.family));
  if (subnets.length === 0) return [refusal(lease, 'it has no subnet in a family this network uses')];
  const claims: Vetted[] = [];
  const unused = new Set<string>();
  for (const subnet of subnets) {
    const { family } = subnet.addr;
    const range = families.get(family)!.network;
    if (!containsPrefix(range, subnet))
      claims.push(refusal(lease, `it is outside the network ${formatPrefix(range)}`, subnet));
    else {
      const { endpoints, wrong } = choose(lease, subnet, network, host);
      const [first, ...rest] = endpoints;
      if (!first) claims.push(refusal(lease, wrong[0]!, subnet));
      else {
        claims.push({
          peer: { lease, family, subnet, endpoints: [first, ...rest], data: lease.data.get(family) },
        });
        for (const text of wrong) unused.add(text);
      }
    }
  }
  return [
    ...claims,
    ...Array.from(unused, (text) => refusal(lease, `${text}; it is served at its other one`)),
  ];
}

const refusal = (lease: Lease, reason: string, subnet?: Prefix): Vetted => ({
  problem: { lease, reason: subnet ? `${formatPrefix(subnet)}: ${reason}` : reason },
});

const publicName = (family: Family): string => (family === 4 ? 'PublicIP' : 'PublicIPv6');

/** Packets travel between addresses of the family they have inside. */
const ofOwnFamily: Choice = (lease, subnet, _network, host) => {
  const { family } = subnet.addr;
  const endpoint = lease.endpoints.get(family);
  if (!endpoint) return { endpoints: [], wrong: [`it has no ${publicName(family)}`] };
  const wrong = wrongWith(endpoint, lease, host);
  return wrong === undefined ? { endpoints: [endpoint], wrong: [] } : { endpoints: [], wrong: [wrong] };
};

/**
 * Packets of both families travel between addresses of any family that this host has too, rather IPv4. The route to the
 * whole network must not lead back to us what is sent to one.
 */
const ofAnyFamily: Choice = (lease, _subnet, network, host) => {
  const mine = ([4, 6] as const).filter((family) => host.localAddrs.has(family));
  const offered = mine.flatMap((family) => lease.endpoints.get(family) ?? []);
  if (offered.length === 0)
    return { endpoints: [], wrong: [`it has no ${mine.map(publicName).join(' and no ')}`] };
  const endpoints: Addr[] = [];
  const wrong: string[] = [];
  for (const endpoint of offered) {
    const reason = wrongWith(endpoint, lease, host) ?? captured(endpoint, network, host);
    if (reason === undefined) endpoints.push(endpoint);
    else wrong.push(reason);
  }
  return { endpoints, wrong };
};

/** Would the route to the whole network take what is sent to this address? A route to the uplink's own link is longer. */
function captured(endpoint: Addr, { families }: NetworkConfig, host: HostFacts): string | undefined {
  const range = families.get(endpoint.family)?.network;
  if (!range || !containsAddr(range, endpoint) || host.onLink(endpoint)) return undefined;
  return `its address ${formatAddr(endpoint)} is inside the overlay, in the network ${formatPrefix(range)}`;
}

/** What is wrong with an address of a peer's, whoever the others are. */
function wrongWith(endpoint: Addr, lease: Lease, host: HostFacts): string | undefined {
  const text = `its address ${formatAddr(endpoint)}`;
  if (scopeOf(endpoint) !== 'global') return `${text} is not one other hosts can reach`;
  if (ownAddrs(host, endpoint.family).some((a) => sameAddr(a, endpoint))) return `${text} is this host's own`;
  if (lease.subnets.some((subnet) => containsAddr(subnet, endpoint)))
    return `${text} is inside the overlay, in its own subnet`;
  return undefined;
}

/** For backends that put packets between two addresses of the packets' own family. */
export const vet: Vet = vetting(ofOwnFamily);

/** For backends whose outer packets may be of another family than what is in them. */
export const vetAnyFamily: Vet = vetting(ofAnyFamily);
