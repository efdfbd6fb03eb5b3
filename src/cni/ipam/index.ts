import { statSync } from 'node:fs';
import { Slices } from '../../kernel/slices.ts';
import type { Addr, Family } from '../../net/addr.ts';
import { addressOf, readEntry, type StoreEntry } from './entry.ts';
import { namesIn } from './names.ts';

/**
 * What a store's directory holds, kept in memory as long as nobody else has changed the directory (its mtime). Only used
 * under the store's lock. Two changes within one tick of the kernel's clock look like one, so it is never the last word:
 * a file is only made where there is none, and only removed when it holds what it should.
 */
export class StoreIndex {
  readonly #dir: string;
  #entries = { 4: new Map<bigint, StoreEntry>(), 6: new Map<bigint, StoreEntry>() };
  #mtime: bigint | undefined;
  /** Of the directory, as its mtime, but nobody can set it. */
  #ctime: bigint | undefined;

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

  /** Nobody has changed the directory since, as far as its clock tells. */
  get isCurrent(): boolean {
    return this.#mtime !== undefined && this.#mtime === this.#now().mtimeNs;
  }

  /** Read the directory again unless it is as we left it. True when it was read. */
  async refresh(): Promise<boolean> {
    if (this.isCurrent) return false;
    await this.read();
    return true;
  }

  /** Read every file. */
  async read(): Promise<void> {
    await this.#readAll(() => undefined);
  }

  /**
   * Look for what has come since the directory was read, in the same tick of the clock perhaps: only files whose names are
   * not known are read, unless the directory was changed for sure.
   */
  async recheck(): Promise<void> {
    const isSame = this.#ctime !== undefined && this.#ctime === this.#now().ctimeNs;
    await this.#readAll(isSame ? ({ family, value }) => this.#entries[family].get(value) : () => undefined);
  }

  async #readAll(known: (a: Addr) => StoreEntry | undefined): Promise<void> {
    const { mtimeNs, ctimeNs } = this.#now();
    const slices = new Slices();
    const entries = { 4: new Map<bigint, StoreEntry>(), 6: new Map<bigint, StoreEntry>() };
    for (const name of await namesIn(this.#dir)) {
      if (slices.isOver) await slices.next();
      const address = addressOf(name);
      if (!address) continue;
      const there = known(address);
      const found = there ?? readEntry(`${this.#dir}/${name}`);
      if (!found) continue;
      const entry = 'address' in found ? found : { address, owner: found.text, name, mtimeMs: found.mtimeMs };
      entries[address.family].set(address.value, entry);
    }
    this.#entries = entries;
    this.#mtime = mtimeNs;
    this.#ctime = ctimeNs;
  }

  /** We have changed the directory, and the index with it. */
  changed(): void {
    if (this.#mtime === undefined) return;
    const { mtimeNs, ctimeNs } = this.#now();
    this.#mtime = mtimeNs;
    this.#ctime = ctimeNs;
  }

  /** Whatever was known may be wrong. */
  forget(): void {
    this.#mtime = undefined;
  }

  #now(): { readonly mtimeNs: bigint; readonly ctimeNs: bigint } {
    return statSync(this.#dir, { bigint: true });
  }
}
