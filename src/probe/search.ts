import type { Family } from '../net/addr.ts';

/** Sizes at once in one step of the search: each step takes as long as a lost packet is waited for. */
const AT_ONCE = 3;
/** Steps after which it ends, whatever it has found: answers that contradict each other would keep it going. */
export const MOST_STEPS = 12;

/**
 * The least size that is looked for: what each IPv6 link takes (RFC 8200), and what each IPv4 host takes (RFC 791). A path that takes less is
 * broken in another way.
 */
export const floorOf = (family: Family): number => (family === 4 ? 576 : 1280);

/** The search for the largest packet that passes. */
export interface SizeSearch {
  /** The largest known to pass; one less than the floor: none is. */
  readonly passes: number;
  /** The least that was lost. */
  readonly lost: number;
  /** The size that was to pass. */
  readonly top: number;
  readonly floor: number;
  /** What somebody on the path says it takes (ICMP), not yet tried. */
  readonly hint: number | undefined;
  readonly steps: number;
  /** {@link lost} was tried again, alone. */
  readonly confirmed: boolean;
}

/** Packets of `top` bytes are lost. */
export const startSearch = (family: Family, top: number, hint?: number): SizeSearch => ({
  passes: floorOf(family) - 1,
  lost: Math.max(top, floorOf(family)),
  top,
  floor: floorOf(family),
  hint: hint !== undefined && hint >= floorOf(family) && hint < top ? hint : undefined,
  steps: 0,
  confirmed: false,
});

/** The sizes to be tried next, the same one perhaps twice; none: it is over. */
export function nextSizes(s: SizeSearch): readonly number[] {
  if (s.steps >= MOST_STEPS || s.lost <= s.floor || s.passes >= s.top) return [];
  const { passes, lost, hint } = s;
  if (lost - passes === 1) return s.confirmed ? [] : [lost, lost];
  if (hint !== undefined && hint > passes && hint < lost) {
    return hint + 1 < lost ? [hint, hint + 1] : [hint];
  }
  const room = lost - passes - 1;
  const first = passes < s.floor ? [s.floor] : [];
  const count = Math.min(AT_ONCE, room);
  const sizes = Array.from(
    { length: count },
    (_, i) => passes + Math.round(((i + 1) * (room + 1)) / (count + 1)),
  );
  return [...new Set([...first, ...sizes])];
}

/** After the sizes of {@link nextSizes} were tried; `passed`: those that were answered; `hint`: what was said about the others. */
export function afterSizes(
  s: SizeSearch,
  asked: readonly number[],
  passed: readonly number[],
  hint?: number,
): SizeSearch {
  const passes = Math.max(s.passes, ...passed);
  const steps = s.steps + 1;
  const heard = hint !== undefined && hint > passes && hint !== s.hint ? hint : undefined;
  if (passes >= s.lost) {
    // What was lost passes after all: that was chance, and so may be what was lost above.
    return { ...s, passes, lost: Math.max(passes + 1, s.top), hint: heard, steps, confirmed: false };
  }
  const confirming = s.lost - s.passes === 1;
  const lost = Math.min(s.lost, ...asked.filter((size) => size > passes));
  return { ...s, passes, lost, hint: heard, steps, confirmed: confirming };
}

/** The largest that passes; undefined: not even the floor does. */
export const foundBy = (s: SizeSearch): number | undefined => (s.passes >= s.floor ? s.passes : undefined);
