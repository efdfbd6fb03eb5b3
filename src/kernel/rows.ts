import { type DesiredState, describe, deviceOf, sameWish } from './desired.ts';
import type { Trouble } from './troubles.ts';
import { KIND_ORDER, type KindName } from './types.ts';

/** How one desired object stands. */
export interface ObjectRow {
  readonly kind: KindName;
  /** In the words of `ip`. */
  readonly object: string;
  readonly state: 'inSync' | 'missing' | 'failing' | 'conflict';
  /** The kernel's own words, what it waits for, or who is in the way. */
  readonly error: string | null;
}

/** What is known of the objects, by key. */
export interface Standing {
  /** What is wanted now, and what was when the kernel was last compared with it, in whole. */
  readonly wanted: DesiredState;
  readonly compared: DesiredState;
  /** Of those compared: not in the kernel as they should be. */
  readonly missing: ReadonlyMap<string, KindName>;
  readonly troubles: ReadonlyMap<string, Trouble>;
  /** Somebody else is in the way: who. */
  readonly conflicts: ReadonlyMap<string, string>;
}

/** One row for each desired object, made when it is asked for, and one for each that should go and cannot. */
export function* objectRows({
  wanted,
  compared,
  missing,
  troubles,
  conflicts,
}: Standing): Generator<ObjectRow> {
  for (const kind of KIND_ORDER) {
    for (const [key, o] of wanted[kind]) {
      const row = (state: ObjectRow['state'], error: string | null): ObjectRow => ({
        kind,
        object: describe(o),
        state,
        error,
      });
      const trouble = troubles.get(key);
      const other = trouble?.conflict ? 'another route with this prefix and metric' : conflicts.get(key);
      const last = compared[kind].get(key);
      if (other !== undefined) yield row('conflict', other);
      else if (trouble && !trouble.race) yield row('failing', trouble.error);
      else if (!last || !sameWish(last, o)) yield row('missing', null);
      else if (missing.has(key)) {
        const dev = o.kind === 'link' ? o.vxlan?.underlay : deviceOf(o);
        yield row('missing', trouble?.error ?? (dev === undefined ? null : `it waits for link ${dev}`));
      } else yield row('inSync', null);
    }
  }
  for (const [key, { kind, object, error, race }] of troubles) {
    if (!race && !wanted[kind].has(key))
      yield { kind, object, state: 'failing', error: `to be removed: ${error}` };
  }
}
