import type { Prefix } from '../net/prefix.ts';
import type { LeaseSnapshot } from './types.ts';

/** A key under `<prefix>/subnets/` that is no lease we can read. */
export interface Unreadable {
  readonly reason: string;
  /** What it occupies all the same; empty when not even that can be told. */
  readonly occupies: readonly Prefix[];
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly etcdLease: bigint | 'reservation';
}

/** `<prefix>/loden/challenge/<node id>`. */
export interface ChallengeKey {
  /** Who asks; undefined when its value cannot be read. */
  readonly instance: string | undefined;
  readonly modRevision: bigint;
}

/** Everything under the prefix at one revision, as the own lease's life needs it. A value: never changed after. */
export interface PrefixView extends LeaseSnapshot {
  /** Which whole list this view started from; goes up by each. */
  readonly list: number;
  /** Goes up whenever a key comes, goes or is made anew: what overlaps what can only have changed then. */
  readonly occupancy: number;
  /** The text at `<prefix>/config`. */
  readonly config: string | undefined;
  /** Keys set aside, by raw key. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** By node id. */
  readonly challenges: ReadonlyMap<string, ChallengeKey>;
}
