import { type Addr, bits, type Family, sameAddr } from '../net/addr.ts';
import { containsPrefix, network, type Prefix, samePrefix, size } from '../net/prefix.ts';
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
  let like: bigint | undefined;
  for (const [family, f] of [...config.families].sort(([a], [b]) => a - b)) {
    const count = ordinalOf(f, f.max.value) + 1n;
    const busy = busyRuns(f, taken);
    const isFree = (n: bigint) => n < count && !busy.some((r) => r.first <= n && n <= r.last);
    const had = previous.map(network).find((p) => fits(p, f) && isFree(ordinalOf(f, p.addr.value)));
    let ordinal = had && ordinalOf(f, had.addr.value);
    if (ordinal === undefined && like !== undefined && isFree(like)) ordinal = like;
    if (ordinal === undefined) {
      const free = busy.reduce((n, r) => n - (r.last - r.first + 1n), count);
      if (free <= 0n) return { exhausted: exhausted(family, f, count) };
      ordinal = nthFree(busy, below(free, random));
    }
    like ??= ordinal;
    const value = f.min.value + (ordinal << BigInt(bits(family) - f.subnetLen));
    subnets.push({ addr: { family, value }, len: f.subnetLen });
  }
  return { subnets };
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

/** A run of ordinals, both ends in it. */
interface Run {
  readonly first: bigint;
  readonly last: bigint;
}

/** Which number, from `min` on, the subnet is that holds this address value. */
const ordinalOf = (f: FamilyNetwork, value: bigint): bigint =>
  (value - f.min.value) >> BigInt(bits(f.network.addr.family) - f.subnetLen);

/** The ordinals that something taken overlaps, in order, without overlaps among themselves. */
function busyRuns(f: FamilyNetwork, taken: readonly Prefix[]): readonly Run[] {
  const highest = ordinalOf(f, f.max.value);
  const runs: Run[] = [];
  for (const t of taken) {
    if (t.addr.family !== f.network.addr.family) continue;
    const start = network(t).addr.value;
    const first = ordinalOf(f, start);
    const last = ordinalOf(f, start + size(t) - 1n);
    if (last < 0n || first > highest) continue;
    runs.push({ first: larger(first, 0n), last: smaller(last, highest) });
  }
  runs.sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const merged: Run[] = [];
  for (const run of runs) {
    const before = merged.at(-1);
    if (before && run.first <= before.last + 1n) {
      if (run.last > before.last) merged[merged.length - 1] = { first: before.first, last: run.last };
    } else merged.push(run);
  }
  return merged;
}

/** The n-th ordinal, from 0, that is in no run. */
function nthFree(busy: readonly Run[], n: bigint): bigint {
  let ordinal = n;
  for (const run of busy) {
    if (run.first > ordinal) break;
    ordinal += run.last - run.first + 1n;
  }
  return ordinal;
}

/** A random number in 0..n-1; of more than 2^53 the high bits only are random, which is enough here. */
function below(n: bigint, random: () => number): bigint {
  const chance = BigInt(Math.floor(random() * 2 ** 53));
  return (n * chance) >> 53n;
}

function exhausted(family: Family, f: FamilyNetwork, count: bigint): string {
  return `no free IPv${family} subnet: all ${count} /${f.subnetLen} subnets of the network's range are taken`;
}
