import type { Addr } from '../net/addr.ts';
import { lastAddr, network, type Prefix } from '../net/prefix.ts';

/** First and last address of an interval, and whose it is. */
interface Span<T> {
  readonly first: bigint;
  readonly last: bigint;
  readonly owner: T;
}

/**
 * Disjoint address ranges of one family, sorted. Looking for an overlap costs O(log n), so thousands of peers can be
 * held against each other without a quadratic loop. The caller adds only what does not overlap.
 */
export class Spans<T> {
  readonly #spans: Span<T>[] = [];

  /** Index of the first span that ends at or after `value`. */
  #from(value: bigint): number {
    let low = 0;
    let high = this.#spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#spans[middle]!.last < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The owner of some range that shares an address with the prefix. */
  overlapping(p: Prefix): T | undefined {
    const span = this.#spans[this.#from(network(p).addr.value)];
    return span && span.first <= lastAddr(p).value ? span.owner : undefined;
  }

  /** The owner of the range this address is in. */
  holding(a: Addr): T | undefined {
    const span = this.#spans[this.#from(a.value)];
    return span && span.first <= a.value ? span.owner : undefined;
  }

  add(p: Prefix, owner: T): void {
    const first = network(p).addr.value;
    this.#spans.splice(this.#from(first), 0, { first, last: lastAddr(p).value, owner });
  }
}
