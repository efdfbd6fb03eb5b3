/** Items that are sorted between two pauses. */
const RUN = 256;

/**
 * A sorted copy, made in steps of a millisecond or so: it yields empty text after each, so that the caller can pause. Merge sort from below.
 */
export function* sortedInSteps<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
): Generator<'', readonly T[]> {
  let from: T[] = [];
  for (let i = 0; i < items.length; i += RUN) {
    from.push(...items.slice(i, i + RUN).sort(compare));
    yield '';
  }
  for (let width = RUN; width < from.length; width *= 2) {
    const to: T[] = [];
    for (let left = 0; left < from.length; left += 2 * width) {
      const middle = Math.min(left + width, from.length);
      const end = Math.min(left + 2 * width, from.length);
      for (let [a, b] = [left, middle]; a < middle || b < end; ) {
        const takesLeft = b >= end || (a < middle && compare(from[a]!, from[b]!) <= 0);
        to.push(takesLeft ? from[a++]! : from[b++]!);
        if (to.length % RUN === 0) yield '';
      }
    }
    from = to;
  }
  return from;
}
