import { existsSync, readdirSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { CNI } from '../../contract.ts';
import type { Addr } from '../../net/addr.ts';
import { CniError, CODE } from '../errors.ts';
import { Spares } from '../spares.ts';
import type { AttachmentId } from '../types.ts';
import { addressOf, type StoreEntry } from './entry.ts';
import { type Reservation, Store } from './store.ts';

/** A host-local store. */
export interface StoreName {
  /** An absolute path. */
  readonly dataDir: string;
  /** The network's name. */
  readonly network: string;
}

/** Stores that are kept open; more networks than this on one node are opened anew each time. */
const MOST_STORES = 256;

/** The addresses of pods on this node, in host-local's stores. */
export class Ipam {
  readonly #stores = new Map<string, Store>();
  /** Addresses given away here, whatever the store, by family and value. */
  readonly #given = { 4: new Map<bigint, string>(), 6: new Map<bigint, string>() };
  /** Stores as they were seen, by directory. */
  readonly #seen = new Map<
    string,
    { readonly mtime: bigint; readonly addresses: readonly { readonly address: Addr }[] }
  >();
  readonly #spares: Spares | undefined;
  readonly #paths = new Map<string, string>();

  /** `spares`: a directory of our own for files that are used again, on the file system of the stores. */
  constructor(spares?: string) {
    this.#spares = spares === undefined ? undefined : new Spares(spares);
  }

  /**
   * Take an address of each range for an owner, or none at all. Throws {@link CniError}; see {@link Store.reserve}.
   */
  reserve(at: StoreName, what: Reservation): Promise<readonly Addr[]> {
    const store = this.#store(at);
    return store.reserve(what, (addresses) => this.adopt(at, what.owner, addresses));
  }

  /** Addresses that an attachment has. */
  adopt(at: StoreName, owner: AttachmentId, addresses: readonly Addr[]): void {
    for (const { family, value } of addresses)
      this.#given[family].set(value, `container ${owner.containerId} in network ${at.network}`);
  }

  /**
   * Give back what an owner has; resolves to what that was. `exact` false: also what an old host-local wrote, which noted only the
   * container.
   */
  async release(at: StoreName, owner: AttachmentId, exact: boolean): Promise<readonly Addr[]> {
    if (!existsSync(this.#path(at))) return [];
    return this.#forget(await this.#store(at).release(owner, exact));
  }

  /** Everything in a store; nothing when there is none. */
  async list(at: StoreName): Promise<readonly StoreEntry[]> {
    return existsSync(this.#path(at)) ? await this.#store(at).list() : [];
  }

  /** Give back entries of {@link list} that are still as they were. */
  async drop(at: StoreName, entries: readonly StoreEntry[]): Promise<readonly Addr[]> {
    if (entries.length === 0 || !existsSync(this.#path(at))) return [];
    return this.#forget(await this.#store(at).drop(entries));
  }

  /** An attachment is gone, whatever its files say. */
  disown(addresses: readonly Addr[]): void {
    this.#forget(addresses);
  }

  /** The networks that have a store in a directory. */
  async networks(dataDir: string): Promise<readonly string[]> {
    const entries = await readdir(dataDir, { withFileTypes: true }).catch(() => []);
    return entries.filter((e) => e.isDirectory()).map((e) => e.name);
  }

  /** Is there an address like this in any network's store in these directories, or in the usual one? */
  holds(dataDirs: Iterable<string>, like: (a: Addr) => boolean): boolean {
    for (const dataDir of new Set([CNI.dataDir, ...dataDirs])) {
      for (const name of list(dataDir)) {
        const path = join(dataDir, name);
        for (const { address } of this.#stores.get(path)?.known() ?? this.#look(path))
          if (like(address)) return true;
      }
    }
    return false;
  }

  /** The addresses in a store that is not ours to write, or that others have changed; read again only when it has changed. */
  #look(path: string): Iterable<{ readonly address: Addr }> {
    const mtime = statSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
    if (mtime === undefined) return [];
    let seen = this.#seen.get(path);
    if (seen?.mtime !== mtime) {
      const addresses = list(path).flatMap((name) => {
        const address = addressOf(name);
        return address ? [{ address }] : [];
      });
      seen = { mtime, addresses };
      if (this.#seen.size < MOST_STORES || this.#seen.has(path)) this.#seen.set(path, seen);
    }
    return seen.addresses;
  }

  #forget(addresses: readonly Addr[]): readonly Addr[] {
    for (const { family, value } of addresses) this.#given[family].delete(value);
    return addresses;
  }

  #store(at: StoreName): Store {
    const path = this.#path(at);
    let store = this.#stores.get(path);
    if (!store) {
      store = new Store(path, ({ family, value }) => this.#given[family].get(value), this.#spares);
      if (this.#stores.size < MOST_STORES) this.#stores.set(path, store);
    }
    return store;
  }

  #path(at: StoreName): string {
    // Neither has a zero byte in it when it is good.
    const key = `${at.network}\0${at.dataDir}`;
    let path = this.#paths.get(key);
    if (path === undefined) {
      path = pathOf(at);
      if (this.#paths.size < MOST_STORES) this.#paths.set(key, path);
    }
    return path;
  }
}

/** Where a store is. Throws {@link CniError} when it cannot be. */
function pathOf({ dataDir, network }: StoreName): string {
  const path = join(dataDir, network);
  if (
    !isAbsolute(dataDir) ||
    dataDir.includes('\0') ||
    !/^[^/\0]+$/.test(network) ||
    dirname(path) !== normalize(dataDir).replace(/(?<=.)\/+$/, '')
  )
    throw new CniError(
      CODE.invalidConfig,
      `network ${JSON.stringify(network).slice(0, 100)} cannot have an address store in ${JSON.stringify(dataDir).slice(0, 200)}: ` +
        'ipam.dataDir must be an absolute path, and the name a plain file name',
    );
  return path;
}

/** What is in a directory; nothing when there is none. */
function list(dir: string): readonly string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
