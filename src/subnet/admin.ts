import { UsageError } from '../errors.ts';
import { show } from '../fields.ts';
import { formatAddr, sameAddr } from '../net/addr.ts';
import {
  containsPrefix,
  formatPrefix,
  network,
  overlaps,
  type Prefix,
  parsePrefix,
  samePrefix,
} from '../net/prefix.ts';
import { findNode, type Owner, Refusal } from './adminNode.ts';
import { allocate, isCompatible } from './allocate.ts';
import { describeSubnets, formatKey, parseKey } from './key.ts';
import { whose } from './lifeTurn.ts';
import type { FamilyNetwork, Lease, LeaseAttrs, NetworkConfig, SubnetKey } from './types.ts';
import { isUnclaimed } from './unclaimed.ts';
import type { PrefixView } from './view.ts';

/**
 * What an operator may do to leases, decided by a view of all of them. Pure; src/subnet/etcd/adminOps.ts carries it out, in transactions
 * that fail when the view is not true any more. The owner's life (life.ts) takes each of these for what it is: a key of its own that
 * was put on another etcd lease, or on none (`Turn.moveTo`); it renews what it now hangs on, and brings its TTL to what it wants.
 */

export type Step =
  /** Put a key without an etcd lease where there is none. */
  | {
      readonly do: 'create';
      readonly key: SubnetKey;
      readonly subnets: readonly Prefix[];
      readonly attrs: LeaseAttrs;
    }
  /** Take a key off its etcd lease; its value stays, byte for byte. */
  | { readonly do: 'reserve'; readonly lease: Lease }
  /** Put a key on an etcd lease of its own; its value stays. */
  | { readonly do: 'release'; readonly lease: Lease; readonly ttl: number }
  /** Delete a key, which may be one that cannot be read. */
  | {
      readonly do: 'delete';
      readonly key: string;
      readonly modRevision: bigint;
      readonly etcdLease: bigint | 'reservation';
      readonly lease: Lease | undefined;
    }
  /** It is as wanted already. */
  | { readonly do: 'nothing'; readonly lease: Lease };

export interface Plan {
  readonly step: Step;
  /** What follows from it that an operator should know. */
  readonly notes: readonly string[];
}

type View = Pick<PrefixView, 'leases' | 'unreadable'>;

/** `10.5.7.0/24`, `10.5.7.0/24,fd00:5:0:7::/64`, or a key. Throws UsageError. */
export function readSubnets(text: string): readonly Prefix[] {
  const key = parseKey(text);
  if ('key' in key) return key.subnets;
  const parts = text.split(/[,&]/).map((part) => parsePrefix(part.trim()));
  const subnets = parts.filter((p) => p !== undefined);
  const families = new Set(subnets.map((p) => p.addr.family));
  if (subnets.length === parts.length && families.size === subnets.length)
    return subnets.toSorted((a, b) => a.addr.family - b.addr.family);
  throw new UsageError(
    `${show(text)} is no subnet: give one such as 10.5.7.0/24, of each family at most one, joined by a comma`,
  );
}

/** The lease that has one of these subnets, if the others are its too. */
function leaseWith(view: Pick<View, 'leases'>, subnets: readonly Prefix[]): Lease | undefined {
  return [...view.leases.values()].find((lease) =>
    subnets.every((s) => lease.subnets.some((has) => samePrefix(has, s))),
  );
}

/** Why a subnet is none of this network; undefined: it is. */
function misfit(s: Prefix, f: FamilyNetwork | undefined): string | undefined {
  const text = formatPrefix(s);
  if (!f) return `the network has no IPv${s.addr.family}, so ${text} cannot be leased`;
  if (s.len !== f.subnetLen)
    return `${text} has another length than the subnets of this network, /${f.subnetLen}`;
  if (!samePrefix(s, network(s)))
    return `${text} has address bits behind its length; ${formatPrefix(network(s))} is the subnet`;
  if (!containsPrefix(f.network, s)) return `${text} is not in the network ${formatPrefix(f.network)}`;
  if (s.addr.value < f.min.value || s.addr.value > f.max.value)
    return `${text} is not from ${formatAddr(f.min)} to ${formatAddr(f.max)}, which subnets are leased from`;
  return undefined;
}

/** Who has a part of these subnets, but for the key itself. */
function occupant(view: View, subnets: readonly Prefix[], key: string): string | undefined {
  const clash = (others: readonly Prefix[]): boolean =>
    others.some((o) => subnets.some((s) => overlaps(o, s)));
  for (const lease of view.leases.values())
    if (lease.key !== key && clash(lease.subnets)) return `the lease ${lease.key} of ${whose(lease)}`;
  for (const [name, { occupies }] of view.unreadable)
    if (clash(occupies)) return `the key ${show(name)}, which cannot be read`;
  return undefined;
}

/** What is asked for. */
export interface ReserveRequest {
  readonly subnets: readonly Prefix[];
  /** See {@link findNode}. */
  readonly node: string;
}

/**
 * Reserve subnets for a node: a key without an etcd lease. The lease that the node has there becomes one. Throws Refusal when they are
 * not of this network, or anybody else's.
 */
export function reserve(view: View, config: NetworkConfig, request: ReserveRequest): Plan {
  for (const s of request.subnets) {
    const why = misfit(s, config.families.get(s.addr.family));
    if (why !== undefined) throw new Refusal(why);
  }
  const owner = findNode(view, request.node);
  const there = leaseWith(view, request.subnets);
  if (there) return reserveLease(there, owner, config);
  const subnets = complete(view, config, request.subnets);
  const key = formatKey(subnets);
  const taken = occupant(view, subnets, key);
  if (taken !== undefined) throw new Refusal(`${describeSubnets(subnets)} is taken by ${taken}`);
  const attrs: LeaseAttrs = {
    endpoints: owner.endpoints,
    data: new Map(),
    ...(owner.node === undefined ? {} : { node: owner.node }),
  };
  return { step: { do: 'create', key, subnets, attrs }, notes: notesFor(owner) };
}

function reserveLease(lease: Lease, owner: Owner, config: NetworkConfig): Plan {
  const isTheirs =
    lease.node === undefined && owner.node === undefined
      ? [...owner.endpoints].some(([family, addr]) => sameAddr(lease.endpoints.get(family), addr))
      : lease.node === owner.node;
  if (!isTheirs) throw new Refusal(`${describeSubnets(lease.subnets)} is taken by ${whose(lease)}`);
  if (!isCompatible(lease.subnets, config))
    throw new Refusal(
      `the lease ${lease.key} does not fit the network config: its node is about to give it up`,
    );
  if (lease.etcdLease === 'reservation') return { step: { do: 'nothing', lease }, notes: [] };
  return { step: { do: 'reserve', lease }, notes: lease.node === undefined ? [FLANNELD] : [] };
}

/** With the subnets of the other family, which go by the first one's number, as when a node chooses. */
function complete(view: View, config: NetworkConfig, given: readonly Prefix[]): readonly Prefix[] {
  if (given.length === config.families.size) return given;
  const taken = [
    ...[...view.leases.values()].flatMap((l) => l.subnets),
    ...[...view.unreadable.values()].flatMap((u) => u.occupies),
  ];
  const chosen = allocate(config, taken, given, () => 0);
  if ('exhausted' in chosen) throw new Refusal(chosen.exhausted);
  const taker = occupant(view, given, '');
  if (taker !== undefined) throw new Refusal(`${describeSubnets(given)} is taken by ${taker}`);
  return chosen.subnets;
}

/** What flannel's RenewLease does to a key of its own, whatever it hangs on. */
const FLANNELD =
  'a flanneld that runs there ends the reservation when it renews its lease, by putting the key on a new one of 24 h: stop it before';

function notesFor(owner: Owner): string[] {
  const has = owner.leases.map((l) => describeSubnets(l.subnets)).join(', ');
  const at = [...owner.endpoints.values()].map(formatAddr).join(' or ');
  if (has === '') return [`it is for the node that starts with the PublicIP ${at} and has no lease yet`];
  const restart =
    owner.node === undefined
      ? 'loden takes this one when it starts there, flanneld whichever lease of its PublicIP it finds first; pods need new addresses then'
      : 'it takes this one when its daemon starts anew, and its pods need new addresses then';
  return [`the node keeps ${has} for as long as its daemon runs; ${restart}`];
}

export interface ReleaseRequest {
  /** Also a raw key that cannot be read. */
  readonly subnet: string;
  readonly force: boolean;
  /** Seconds. */
  readonly ttl: number;
}

/**
 * Take back a reservation: it becomes an ordinary lease, which its node keeps alive, and which runs out if there is none. One that no node
 * has taken up is deleted. An ordinary lease ends by itself; deleting one, or a reservation that is in use, takes `force`.
 */
export function release(view: View, config: NetworkConfig | undefined, request: ReleaseRequest): Plan {
  const unreadable = view.unreadable.get(request.subnet);
  if (unreadable) {
    const { modRevision, etcdLease, reason } = unreadable;
    if (!request.force)
      throw new Refusal(`the key ${show(request.subnet)} cannot be read (${reason}); --force deletes it`);
    return {
      step: { do: 'delete', key: request.subnet, modRevision, etcdLease, lease: undefined },
      notes: [],
    };
  }
  const subnets = readSubnets(request.subnet);
  const lease = leaseWith(view, subnets);
  if (!lease) throw new Refusal(`nobody has ${describeSubnets(subnets)}`);
  if (request.force || isUnclaimed(lease, config))
    return { step: deletion(lease), notes: backNotes(lease, request.force) };
  if (lease.etcdLease !== 'reservation')
    throw new Refusal(
      `${describeSubnets(lease.subnets)} is no reservation but the lease of ${whose(lease)}: it ends by itself when that is gone; --force deletes it`,
    );
  return {
    step: { do: 'release', lease, ttl: request.ttl },
    notes: [`it is gone in ${request.ttl} s unless its node keeps it alive`],
  };
}

const deletion = (lease: Lease): Step => ({
  do: 'delete',
  key: lease.key,
  modRevision: lease.modRevision,
  etcdLease: lease.etcdLease,
  lease,
});

const backNotes = (lease: Lease, force: boolean): string[] =>
  force ? [`if ${whose(lease)} is alive it takes a lease anew, the same subnet if that is still free`] : [];

/** A lease that a new network config has no place for. */
export interface Orphan {
  readonly lease: Lease;
  readonly why: string;
}

/** Leases that would not be of the network any more: their nodes give them up and take new ones, and pods lose their addresses. */
export function orphans(leases: Iterable<Lease>, next: NetworkConfig): Orphan[] {
  return [...leases].flatMap((lease): Orphan[] => {
    if (isCompatible(lease.subnets, next)) return [];
    const why = lease.subnets
      .map((s) => misfit(s, next.families.get(s.addr.family)))
      .find((w) => w !== undefined);
    return [{ lease, why: why ?? `it has no subnet of a family that the network has then` }];
  });
}
