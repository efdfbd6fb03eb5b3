import type { SlotBook } from '../backend.ts';

/** kMaxSlots of native/core/table.h. */
export const MAX_SLOTS = 65_536;

/**
 * Slots for these names: whoever had one keeps it, newcomers get free ones in turn, so that the counters of one who has gone
 * become another's as late as possible. Names beyond {@link MAX_SLOTS} get none.
 */
export function assignSlots(before: SlotBook, names: Iterable<string>): SlotBook {
  const slots = new Map<string, number>();
  const newcomers: string[] = [];
  const taken = new Set<number>();
  for (const name of names) {
    const slot = before.slots.get(name);
    if (slot === undefined) {
      newcomers.push(name);
    } else {
      slots.set(name, slot);
      taken.add(slot);
    }
  }
  let { last } = before;
  for (const name of newcomers) {
    if (slots.has(name)) continue;
    if (taken.size >= MAX_SLOTS) break;
    do last = (last + 1) % MAX_SLOTS;
    while (taken.has(last));
    slots.set(name, last);
    taken.add(last);
  }
  return { slots, last };
}
