import { KIND_ORDER, type KindName } from './types.ts';

/** How the desired objects of one kind stand. */
export interface KindStatus {
  readonly desired: number;
  readonly inSync: number;
  /** Refused by the kernel, or waiting for a device. */
  readonly failing: number;
}

/** The kernel part of `/v1/status`. */
export interface ReconcilerStatus {
  /** The revision that was last asked for. */
  readonly desired: bigint | undefined;
  /**
   * The revision that the kernel holds: a whole pass over its objects is done, links, sysctls and addresses are in sync,
   * and each peer's object is in sync, in conflict, or has failed often enough to hold nobody up.
   */
  readonly applied: bigint | undefined;
  readonly objects: Readonly<Record<KindName, KindStatus>>;
  /** At most {@link MOST_LISTED}. */
  readonly failing: readonly { readonly object: string; readonly error: string }[];
  /** At most {@link MOST_LISTED}. */
  readonly conflicts: readonly { readonly object: string; readonly with: string }[];
  /** Objects that somebody else had changed or removed and that were put right, since the start. */
  readonly repairs: Readonly<Record<KindName, number>>;
}

export const MOST_LISTED = 100;

/** What one pass did, for the log. Lists are cut to a few examples, counts are whole. */
export interface PassReport {
  readonly put: Readonly<Record<KindName, number>>;
  readonly deleted: Readonly<Record<KindName, number>>;
  readonly repaired: Readonly<Record<KindName, number>>;
  readonly repairedExamples: readonly string[];
  /** Objects that have begun to fail. */
  readonly failed: readonly { readonly object: string; readonly error: string }[];
  /** Number of objects that have ceased to fail. */
  readonly recovered: number;
  /** Conflicts that are new. */
  readonly conflicts: readonly { readonly object: string; readonly with: string }[];
}

export const countByKind = (): Record<KindName, number> =>
  Object.fromEntries(KIND_ORDER.map((kind) => [kind, 0])) as Record<KindName, number>;

/** Without those that are 0. */
export const some = (counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).filter(([, n]) => n > 0));
