import { type Addr, bits, type Family, sameAddr } from '../net/addr.ts';
import { containsPrefix, network, type Prefix, samePrefix } from '../net/prefix.ts';
import type { FamilyNetwork, Lease, LeaseAttrs, NetworkConfig, NodeId } from './types.ts';

/** Are these the subnets a lease of this network has: one for each enabled family, of its length, in min..max? */
export const isCompatible = (subnets: readonly Prefix[], config: NetworkConfig): boolean =>
  subnets.length === config.families.size &&
  subnets.every((s) => fits(s, config.families.get(s.addr.family))) &&
  new Set(subnets.map((s) => s.addr.family)).size === subnets.length;

const fits = (s: Prefix, f: FamilyNetwork | undefined): boolean =>
  f !== undefined &&
  s.len === f.subnetLen &&
  samePrefix(s, network(s)) &&
  containsPrefix(f.network, s) &&
  s.addr.value >= f.min.value &&
  s.addr.value <= f.max.value;

/** Do two leases belong to one host, going by PublicIP? By IPv4 where both have one, as flannel does. */
export function sameHost(a: ReadonlyMap<Family, Addr>, b: ReadonlyMap<Family, Addr>): boolean {
  const family = a.has(4) && b.has(4) ? 4 : 6;
  return a.has(family) && sameAddr(a.get(family), b.get(family));
}

/** What tells a node's own lease among others. */
export interface Self {
  readonly node: NodeId;
  readonly endpoints: LeaseAttrs['endpoints'];
  /** The subnets it had last, in order of preference. */
  readonly previous: readonly Prefix[];
}

/**
 * A node's own lease among all: (1) one with its node id; else (2) one with its PublicIP and no node id; never one
 * with another's id. Of several the best: compatible, then a reservation, then the subnet it had, then the oldest.
 * Reservations that do not fit the config are an operator's, not ours to give back: passed over.
 */
export function findOwn(leases: Iterable<Lease>, self: Self, config: NetworkConfig): Lease | undefined {
  let best: Lease | undefined;
  let bestRank: readonly boolean[] = [];
  for (const lease of leases) {
    const byNode = lease.node === self.node;
    if (!byNode && (lease.node !== undefined || !sameHost(lease.endpoints, self.endpoints))) continue;
    const compatible = isCompatible(lease.subnets, config);
    const reservation = lease.etcdLease === 'reservation';
    if (reservation && !compatible) continue;
    const had = lease.subnets.every((s) => self.previous.some((p) => samePrefix(s, network(p))));
    const rank = [
      byNode,
      compatible,
      reservation,
      had,
      best !== undefined && lease.createRevision < best.createRevision,
    ];
    if (best === undefined || isHigher(rank, bestRank)) {
      best = lease;
      bestRank = [...rank.slice(0, 4), false];
    }
  }
  return best;
}

function isHigher(a: readonly boolean[], b: readonly boolean[]): boolean {
  const first = a.findIndex((x, i) => x !== b[i]);
  return first >= 0 && a[first]!;
}

export type Allocation =
  | { readonly subnets: readonly Prefix[] }
  | {
      /** `no free IPv4 subnet: all 254 /24 subnets from 10.5.1.0 to 10.5.254.0 are taken`. */
      readonly exhausted: string;
    };

/**
 * Choose subnets that overlap nothing in `taken`. For each family: the first of `previous` that fits and is free;
 * else for IPv6 the one with the ordinal of the IPv4 subnet, so that two nodes that race for one subnet race for one
 * key; else any free one, each with the same chance, so that a herd of nodes rarely collides.
 * Cost grows with the number of leases, not with the size of the network.
 */
export function allocate(
  config: NetworkConfig,
  taken: readonly Prefix[],
  previous: readonly Prefix[],
  random: () => number,
): Allocation {
  const subnets: Prefix[] = [];
  let like: number | undefined;
  for (const [family, f] of [...config.families].sort(([a], [b]) => a - b)) {
    const count = Math.min(ordinalOf(f, f.max.value) + 1, MAX_SUBNETS);
    const busy = busyRuns(f, taken, count);
    const isFree = (n: number) => n < count && !busy.some((r) => r.first <= n && n <= r.last);
    const had = previous.map(network).find((p) => fits(p, f) && isFree(ordinalOf(f, p.addr.value)));
    let ordinal = had && ordinalOf(f, had.addr.value);
    if (ordinal === undefined && like !== undefined && isFree(like)) ordinal = like;
    if (ordinal === undefined) {
      const free = busy.reduce((n, r) => n - (r.last - r.first + 1), count);
      if (free <= 0) return { exhausted: exhausted(family, f, count) };
      ordinal = nthFree(busy, Math.floor(random() * free));
    }
    like ??= ordinal;
    const value = f.min.value + (BigInt(ordinal) << shiftOf(f));
    subnets.push({ addr: { family, value }, len: f.subnetLen });
  }
  return { subnets };
}

/** Subnets of one network that are counted, from the first on: more than a number can tell apart are of no use. */
const MAX_SUBNETS = 2 ** 52;

/** A run of ordinals, both ends in it. */
interface Run {
  readonly first: number;
  readonly last: number;
}

/** Address bits behind a subnet's prefix. */
const shiftOf = (f: FamilyNetwork): bigint => BigInt(bits(f.network.addr.family) - f.subnetLen);

/** Which one, from `min` on, the subnet is that holds this address value; negative before it. */
const ordinalOf = (f: FamilyNetwork, value: bigint): number => Number((value - f.min.value) >> shiftOf(f));

/** The ordinals below `count` that something taken overlaps, in order, without overlaps among themselves. */
function busyRuns(f: FamilyNetwork, taken: readonly Prefix[], count: number): readonly Run[] {
  const runs: Run[] = [];
  for (const t of taken) {
    if (t.addr.family !== f.network.addr.family) continue;
    const isWide = t.len < f.subnetLen;
    const first = ordinalOf(f, isWide ? network(t).addr.value : t.addr.value);
    const last = isWide ? first + 2 ** (f.subnetLen - t.len) - 1 : first;
    if (last >= 0 && first < count) runs.push({ first: Math.max(first, 0), last: Math.min(last, count - 1) });
  }
  runs.sort((a, b) => a.first - b.first);
  const merged: Run[] = [];
  for (const run of runs) {
    const before = merged.at(-1);
    if (!before || run.first > before.last + 1) merged.push(run);
    else if (run.last > before.last) merged[merged.length - 1] = { first: before.first, last: run.last };
  }
  return merged;
}

/** The n-th ordinal, from 0, that is in no run. */
function nthFree(busy: readonly Run[], n: number): number {
  let ordinal = n;
  for (const run of busy) {
    if (run.first > ordinal) break;
    ordinal += run.last - run.first + 1;
  }
  return ordinal;
}

const exhausted = (family: Family, f: FamilyNetwork, count: number): string =>
  `no free IPv${family} subnet: all ${count} /${f.subnetLen} subnets of the network's range are taken`;
