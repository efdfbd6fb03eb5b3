import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Family } from '../../net/addr.ts';
import { addressOf, readEntry, type StoreEntry } from './entry.ts';

/** Milliseconds of reading before others get a turn. */
const SLICE = 4;

/**
 * What a store's directory holds, kept in memory as long as nobody else has changed the directory (its mtime). Only used
 * under the store's lock. Two changes within one tick of the kernel's clock look like one, so it is never the last word:
 * a file is only made where there is none, and only removed when it holds what it should.
 */
export class StoreIndex {
  readonly #dir: string;
  readonly #entries = { 4: new Map<bigint, StoreEntry>(), 6: new Map<bigint, StoreEntry>() };
  #mtime: bigint | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  of(family: Family): ReadonlyMap<bigint, StoreEntry> {
    return this.#entries[family];
  }

  *all(): Generator<StoreEntry> {
    yield* this.#entries[4].values();
    yield* this.#entries[6].values();
  }

  add(entry: StoreEntry): void {
    this.#entries[entry.address.family].set(entry.address.value, entry);
  }

  remove({ address }: StoreEntry): void {
    this.#entries[address.family].delete(address.value);
  }

  /** Read the directory again unless it is as we left it. True when it was read. */
  async refresh(): Promise<boolean> {
    if (this.#mtime !== undefined && this.#mtime === this.#now()) return false;
    await this.read();
    return true;
  }

  /** Read every file. */
  async read(): Promise<void> {
    const mtime = this.#now();
    this.#entries[4].clear();
    this.#entries[6].clear();
    let end = performance.now() + SLICE;
    for (const name of readdirSync(this.#dir)) {
      const address = addressOf(name);
      const found = address && readEntry(join(this.#dir, name));
      if (found) this.add({ address, owner: found.text, name, mtimeMs: found.mtimeMs });
      if (performance.now() < end) continue;
      await nextTurn();
      end = performance.now() + SLICE;
    }
    this.#mtime = mtime;
  }

  /** We have changed the directory, and the index with it. */
  changed(): void {
    if (this.#mtime !== undefined) this.#mtime = this.#now();
  }

  /** Whatever was known may be wrong. */
  forget(): void {
    this.#mtime = undefined;
  }

  #now(): bigint {
    return statSync(this.#dir, { bigint: true }).mtimeNs;
  }
}
