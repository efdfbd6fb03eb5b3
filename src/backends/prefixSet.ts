import { type Addr, bits, type Family } from '../net/addr.ts';
import type { Prefix } from '../net/prefix.ts';

/** The first bits of an address, as a number where they fit one: IPv4. */
type Bits = number | bigint;

/** The prefixes of one length. */
interface Level<T> {
  readonly len: number;
  /** Owners of prefixes of this length. */
  readonly owners: Map<Bits, T>;
  /** The owner of the first longer prefix below one of this length. */
  readonly within: Map<Bits, T>;
}

/** The first `bits.length - behind` bits. */
const cut = (value: Bits, behind: number): Bits =>
  typeof value === 'number' ? Math.floor(value / 2 ** behind) : value >> BigInt(behind);

function note<T>(within: Map<Bits, T>, first: Bits, owner: T): void {
  if (!within.has(first)) within.set(first, owner);
}

/**
 * Disjoint prefixes of one family and whose they are. A question costs one look into a hash table for each length there
 * is, which is mostly one: thousands of peers can be held against each other. The caller adds only what does not overlap.
 */
export class PrefixSet<T> {
  readonly #width: number;
  readonly #levels: Level<T>[] = [];

  constructor(family: Family) {
    this.#width = bits(family);
  }

  /** The owner of some prefix that shares an address with this one. */
  overlapping({ addr, len }: Prefix): T | undefined {
    const value = this.#bits(addr);
    for (const level of this.#levels) {
      const found = level.len <= len ? level.owners.get(cut(value, this.#width - level.len)) : undefined;
      if (found !== undefined) return found;
    }
    return this.#level(len).within.get(cut(value, this.#width - len));
  }

  /** The owner of the prefix this address is in. */
  holding(addr: Addr): T | undefined {
    const value = this.#bits(addr);
    for (const { owners, len } of this.#levels) {
      const found = owners.size === 0 ? undefined : owners.get(cut(value, this.#width - len));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  add({ addr, len }: Prefix, owner: T): void {
    const value = this.#bits(addr);
    this.#level(len).owners.set(cut(value, this.#width - len), owner);
    for (const level of this.#levels) {
      if (level.len < len) note(level.within, cut(value, this.#width - level.len), owner);
    }
  }

  #bits({ value }: Addr): Bits {
    return this.#width === 32 ? Number(value) : value;
  }

  #level(len: number): Level<T> {
    for (const level of this.#levels) if (level.len === len) return level;
    const level: Level<T> = { len, owners: new Map(), within: new Map() };
    for (const longer of this.#levels) {
      if (longer.len < len) continue;
      for (const [first, owner] of longer.owners) note(level.within, cut(first, longer.len - len), owner);
    }
    this.#levels.push(level);
    return level;
  }
}
