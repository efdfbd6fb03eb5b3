import type { Family } from '../../net/addr.ts';
import { type PathReport, pathKey } from '../../probe/types.ts';
import type { SubnetKey } from '../../subnet/types.ts';

/**
 * What is done about paths that lose full-size packets while small ones pass: the peer's route gets the largest size that
 * passes. Pure: what is known and what was reported in, what is known next and what to do out.
 */

/** What was done about one path. */
export interface PathMtu {
  readonly key: SubnetKey;
  readonly family: Family;
  /** Bytes that the peer's route is lowered to; undefined: it is not, or not any more. */
  readonly mtu: number | undefined;
  /** Monotonic milliseconds of its last change. */
  readonly since: number;
  /** Milliseconds in which it is not raised; twice as many each time it has to be lowered again soon after. */
  readonly hold: number;
  /** Was that change a raise? */
  readonly isRaised?: boolean;
  /** `sizeAt` of the last report that counted: each verdict on size counts once. */
  readonly at: number | undefined;
  /** More passes again: how much, and since when all reports have said so. */
  readonly growth?: { readonly mtu: number; readonly since: number };
  /** Bytes of the largest packet that passes, at most: fewer than a route can be lowered to. Nothing is done. */
  readonly tooSmall?: number;
}

/** By {@link pathKey}, who was heard of last comes last; paths about which there is nothing to do are not in it. */
export type PathMtus = ReadonlyMap<string, PathMtu>;

export const NO_PATH_MTUS: PathMtus = new Map();

/** Something to do and to tell. */
export interface MtuChange {
  readonly what: 'lowered' | 'raised' | 'tooSmall';
  readonly path: string;
  readonly key: SubnetKey;
  readonly family: Family;
  /** Bytes before and after; of `tooSmall` those that pass. */
  readonly from: number;
  readonly to: number;
}

export interface MtuOptions {
  /** Milliseconds for which a lowered route stays so at least. */
  readonly hold: number;
  /** The most that this grows to. */
  readonly longestHold: number;
  /** Milliseconds for which more must pass before a route is raised: so that it has been asked twice. */
  readonly confirm: number;
}

/** A route that stayed raised for so many times its hold is in order, and what was is forgotten. */
const FORGOTTEN = 10;

/** Bytes. Every host must take them: RFC 791, RFC 8200. Below, a route MTU breaks more than it mends. */
export const LEAST: Readonly<Record<Family, number>> = { 4: 576, 6: 1280 };

/** What follows from reports, the older first. The state is the same object when nothing of it changes. */
export function heard(
  state: PathMtus,
  reports: Iterable<PathReport>,
  now: number,
  options: MtuOptions,
): { readonly state: PathMtus; readonly changes: readonly MtuChange[] } {
  let next: Map<string, PathMtu> | undefined;
  const changes: MtuChange[] = [];
  for (const report of reports) {
    const path = pathKey(report.target);
    const before = (next ?? state).get(path);
    const after = judged(before, report, now, options);
    if (after === before) continue;
    next ??= new Map(state);
    // The first is the one that was not heard of for longest.
    next.delete(path);
    if (after) next.set(path, after);
    const change = changeOf(path, before, after, report);
    if (change) changes.push(change);
  }
  return { state: next ?? state, changes };
}

/** A route that was found lowered: it stays so until its path is known to take more. */
export function adopted(
  state: PathMtus,
  found: Iterable<Pick<PathMtu, 'key' | 'family'> & { readonly mtu: number }>,
  now: number,
  { hold }: MtuOptions,
): PathMtus {
  const next = new Map(state);
  for (const { key, family, mtu } of found) {
    const path = pathKey({ key, family });
    if (!next.has(path)) next.set(path, { key, family, mtu, since: now - hold, hold, at: undefined });
  }
  return next;
}

/** Without the paths that are none any more. */
export function remaining(state: PathMtus, isPath: (path: string) => boolean): PathMtus {
  const left = Iterator.from(state).filter(([path]) => isPath(path));
  const next = new Map(left);
  return next.size === state.size ? state : next;
}

function judged(
  before: PathMtu | undefined,
  { target, health, sizeAt: at, fullSize, pathMtu }: PathReport,
  now: number,
  options: MtuOptions,
): PathMtu | undefined {
  // Of a path that small packets do not take either, size is not what is wrong.
  if ((health !== 'reachable' && health !== 'lossy') || at === undefined || at === before?.at) return before;
  if (fullSize === 'unknown') return before;
  const { key, family } = target;
  const entry: PathMtu = before ?? {
    key,
    family,
    mtu: undefined,
    since: Number.NEGATIVE_INFINITY,
    hold: options.hold,
    at,
  };
  // Not even the least size passes.
  const passes = fullSize === 'passes' ? target.mtu : (pathMtu ?? LEAST[family] - 1);
  if (passes < LEAST[family]) return { ...bare(entry), at, tooSmall: passes };
  const limit = Math.min(entry.mtu ?? target.mtu, target.mtu);
  if (passes < limit) return lowered(entry, passes, at, now, options);
  if (entry.mtu === undefined) return calmed(entry, at, now);
  if (passes > limit || passes >= target.mtu)
    return grown(entry, { mtu: Math.min(passes, target.mtu), whole: target.mtu, at }, now, options);
  return { ...bare(entry), at };
}

/** Without what was seen of growth and of too little. */
function bare({ growth: _, tooSmall: __, ...rest }: PathMtu): PathMtu {
  return rest;
}

function lowered(entry: PathMtu, mtu: number, at: number, now: number, options: MtuOptions): PathMtu {
  const { isRaised, ...rest } = bare(entry);
  // Raised in vain.
  const hold =
    isRaised && !isLongAgo(entry, now) ? Math.min(2 * entry.hold, options.longestHold) : entry.hold;
  return { ...rest, mtu, since: now, hold, at };
}

const isLongAgo = ({ since, hold }: PathMtu, now: number): boolean => now - since > FORGOTTEN * hold;

/** All passes and nothing is lowered: it is remembered for a while what had to be done. */
function calmed(entry: PathMtu, at: number, now: number): PathMtu | undefined {
  if (isLongAgo(entry, now)) return undefined;
  return { ...bare(entry), at };
}

function grown(
  entry: PathMtu,
  { mtu, whole, at }: { readonly mtu: number; readonly whole: number; readonly at: number },
  now: number,
  options: MtuOptions,
): PathMtu {
  const { growth } = entry;
  const seen = growth ? { ...growth, mtu: Math.min(growth.mtu, mtu) } : { mtu, since: now };
  const isSure = now - seen.since >= options.confirm && now - entry.since >= entry.hold;
  if (!isSure) return { ...bare(entry), at, growth: seen };
  return { ...bare(entry), at, since: now, isRaised: true, mtu: seen.mtu >= whole ? undefined : seen.mtu };
}

function changeOf(
  path: string,
  before: PathMtu | undefined,
  after: PathMtu | undefined,
  { target }: PathReport,
): MtuChange | undefined {
  const { key, family } = target;
  const from = before?.mtu ?? target.mtu;
  const to = after?.mtu ?? target.mtu;
  if (after?.tooSmall !== undefined && before?.tooSmall === undefined)
    return { what: 'tooSmall', path, key, family, from, to: after.tooSmall };
  if (to === from) return undefined;
  return { what: to < from ? 'lowered' : 'raised', path, key, family, from, to };
}
