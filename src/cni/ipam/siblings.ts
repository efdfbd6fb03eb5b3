import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Slices } from '../../kernel/slices.ts';
import type { Addr, Family } from '../../net/addr.ts';
import { addressOf, fileOf } from './entry.ts';
import { namesIn } from './names.ts';

interface Sibling {
  readonly dir: string;
  /** Of the directory when it was read; undefined: never. */
  mtime: bigint | undefined;
  addresses: readonly Addr[];
}

/**
 * The other networks that have stores beside this one. Networks of one node share its subnet, and host-local keeps them
 * apart only within a store. Kept in memory as long as the directories are not changed, which their clock may not tell: who takes an
 * address asks {@link holding} once more.
 */
export class Siblings {
  readonly #dir: string;
  #mtime: bigint | undefined;
  #all: readonly Sibling[] = [];
  #taken: Readonly<Record<Family, Set<bigint>>> = { 4: new Set(), 6: new Set() };

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Look which there are, and what they hold. */
  async refresh(): Promise<void> {
    const slices = new Slices();
    let isChanged = this.#find();
    for (const sibling of this.#all) {
      const mtime = mtimeOf(sibling.dir);
      if (mtime === sibling.mtime) continue;
      isChanged = true;
      const addresses: Addr[] = [];
      for (const name of await namesIn(sibling.dir).catch(() => [])) {
        if (slices.isOver) await slices.next();
        const address = addressOf(name);
        if (address) addresses.push(address);
      }
      sibling.addresses = addresses;
      sibling.mtime = mtime;
    }
    if (!isChanged) return;
    const taken = { 4: new Set<bigint>(), 6: new Set<bigint>() };
    for (const { addresses } of this.#all) {
      for (const { family, value } of addresses) {
        if (slices.isOver) await slices.next();
        taken[family].add(value);
      }
    }
    this.#taken = taken;
  }

  /** Look at all of them, whatever their clocks say. */
  async recheck(): Promise<void> {
    for (const sibling of this.#all) sibling.mtime = undefined;
    await this.refresh();
  }

  /** Does one of them seem to have it? */
  has({ family, value }: Addr): boolean {
    return this.#taken[family].has(value);
  }

  /** The store that has an address, as its files say now. */
  holding(address: Addr): string | undefined {
    const name = fileOf(address);
    const dir = this.#all.find((s) => existsSync(join(s.dir, name)))?.dir;
    if (dir === undefined) this.#taken[address.family].delete(address.value);
    else this.#taken[address.family].add(address.value);
    return dir;
  }

  /** True when there are others than before. A link to a directory is one; a link to our own is not. */
  #find(): boolean {
    const parent = dirname(this.#dir);
    const { mtimeNs } = statSync(parent, { bigint: true });
    if (mtimeNs === this.#mtime) return false;
    const known = new Map(this.#all.map((s) => [s.dir, s]));
    const own = statSync(this.#dir);
    this.#all = readdirSync(parent, { withFileTypes: true })
      .filter((e) => e.name !== basename(this.#dir) && (e.isDirectory() || e.isSymbolicLink()))
      .map((e) => join(parent, e.name))
      .filter((dir) => {
        const stat = statSync(dir, { throwIfNoEntry: false });
        return stat?.isDirectory() === true && !(stat.ino === own.ino && stat.dev === own.dev);
      })
      .map((dir) => known.get(dir) ?? { dir, mtime: undefined, addresses: [] });
    this.#mtime = mtimeNs;
    return true;
  }
}

/** One that is gone is empty. */
const mtimeOf = (dir: string): bigint =>
  statSync(dir, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n;
