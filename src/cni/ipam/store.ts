import { join } from 'node:path';
import { Slices } from '../../kernel/slices.ts';
import { type Addr, formatAddr } from '../../net/addr.ts';
import { containsAddr, formatPrefix } from '../../net/prefix.ts';
import { CniError, CODE } from '../errors.ts';
import type { Spares } from '../spares.ts';
import type { AttachmentId } from '../types.ts';
import { type AddressRange, capacity, choose, matchRequests } from './choose.ts';
import { describeOwner, fileOf, ownerText, readEntry, type StoreEntry } from './entry.ts';
import { createExclusively, readLast, removeFile, writeLast } from './files.ts';
import { StoreIndex } from './index.ts';
import { StoreLock, storeError } from './lock.ts';
import { Siblings } from './siblings.ts';

/** Owners named in a message about a full subnet. */
const NAMED = 8;

/** What is asked of a store. */
export interface Reservation {
  readonly owner: AttachmentId;
  /** One for each family; the place in this list is that of the range set in host-local's `ranges`. */
  readonly ranges: readonly AddressRange[];
  /** At most one for each family. */
  readonly requested: readonly Addr[];
}

/** Who has an address beside this store's files, in words. */
export type Elsewhere = (address: Addr) => string | undefined;

/**
 * One network's addresses, in the files of host-local (containernetworking/plugins, backend/disk): shared with every
 * host-local process, by its lock.
 */
export class Store {
  readonly dir: string;
  readonly #lock: StoreLock;
  readonly #index: StoreIndex;
  readonly #siblings: Siblings;
  readonly #elsewhere: Elsewhere;
  readonly #spares: Spares | undefined;
  /** Given away last, by range set: as long as nobody else has made a file here. */
  readonly #last = new Map<number, Addr>();

  constructor(dir: string, elsewhere: Elsewhere, spares?: Spares) {
    this.dir = dir;
    this.#spares = spares;
    this.#lock = new StoreLock(dir);
    this.#index = new StoreIndex(dir);
    this.#siblings = new Siblings(dir);
    this.#elsewhere = elsewhere;
  }

  /**
   * Take an address of each range, or none at all. `onTaken` gets them before anybody else can run. Throws {@link CniError}:
   * 100 when there is none, 103 when an address cannot be had or the owner has one already, 7 for addresses nobody can have.
   */
  reserve(what: Reservation, onTaken: (addresses: readonly Addr[]) => void): Promise<readonly Addr[]> {
    const wanted = matchRequests(what.ranges, what.requested);
    if (typeof wanted === 'string') return Promise.reject(new CniError(CODE.invalidConfig, wanted));
    return this.#locked('write', async () => {
      if (await this.#index.refresh()) this.#last.clear();
      await this.#siblings.refresh();
      this.#refuseDuplicate(what);
      const done: StoreEntry[] = [];
      try {
        for (const [set, range] of what.ranges.entries())
          done.push(await this.#take(what.owner, set, range, wanted[set]));
      } catch (error) {
        for (const entry of done) this.#drop(entry);
        throw error;
      } finally {
        this.#index.changed();
      }
      const addresses = done.map((e) => e.address);
      onTaken(addresses);
      return addresses;
    });
  }

  /**
   * Give back all that an owner has; resolves to what that was. `exact` false: as host-local does, what was written
   * without an interface's name too, if there is nothing else.
   */
  release(owner: AttachmentId, exact: boolean): Promise<readonly Addr[]> {
    return this.#locked('write', async () => {
      const fresh = await this.#index.refresh();
      const texts = exact ? [ownerText(owner)] : [ownerText(owner), owner.containerId];
      for (const text of texts) {
        const freed = this.#releaseAll(text);
        if (freed.length > 0) return freed;
      }
      // The usual second DEL.
      if (!fresh) await this.#index.recheck();
      for (const text of texts) {
        const freed = this.#releaseAll(text);
        if (freed.length > 0) return freed;
      }
      return [];
    });
  }

  /** All reservations, as the files say. */
  list(): Promise<readonly StoreEntry[]> {
    return this.#locked('read', async () => {
      await this.#index.read();
      return [...this.#index.all()];
    });
  }

  /** What it holds, as far as that is known without a look; undefined: it is not. */
  known(): Iterable<StoreEntry> | undefined {
    try {
      return this.#index.isCurrent ? this.#index.all() : undefined;
    } catch {
      return undefined;
    }
  }

  /** Give back those entries that are still as they were listed; resolves to their addresses. */
  drop(entries: readonly StoreEntry[]): Promise<readonly Addr[]> {
    return this.#locked('write', async () => {
      await this.#index.refresh();
      const freed: StoreEntry[] = [];
      const slices = new Slices();
      for (const entry of entries) {
        if (slices.isOver) await slices.next();
        if (readEntry(`${this.dir}/${entry.name}`)?.text !== entry.owner) continue;
        this.#drop(entry);
        freed.push(entry);
      }
      this.#index.changed();
      return freed.map((e) => e.address);
    });
  }

  async #take(
    owner: AttachmentId,
    set: number,
    range: AddressRange,
    wanted: Addr | undefined,
  ): Promise<StoreEntry> {
    const { family } = range.subnet.addr;
    const last = this.#last.get(set) ?? readLast(this.dir, set);
    const text = ownerText(owner);
    for (let isSure = false; ; ) {
      const taken = this.#index.of(family);
      const isTaken = (value: bigint) =>
        taken.has(value) ||
        this.#siblings.has({ family, value }) ||
        this.#elsewhere({ family, value }) !== undefined;
      const address = wanted ?? choose(range, last, isTaken);
      if (!address) {
        if (isSure) throw this.#usedUp(range);
        isSure = true;
        await this.#siblings.recheck();
        continue;
      }
      const holder = taken.has(address.value)
        ? describeOwner(taken.get(address.value)!.owner)
        : this.#holder(address);
      const name = fileOf(address);
      if (holder === undefined && createExclusively(this.dir, name, text, this.#spares)) {
        const entry = { address, owner: text, name, mtimeMs: Date.now() };
        this.#index.add(entry);
        try {
          writeLast(this.dir, set, address, last);
          this.#last.set(set, address);
        } catch (cause) {
          this.#drop(entry);
          throw cause;
        }
        return entry;
      }
      if (wanted) {
        const by = holder ?? describeOwner(readEntry(`${this.dir}/${name}`)?.text ?? '');
        throw new CniError(CODE.addressTaken, `address ${formatAddr(wanted)} is asked for, but ${by} has it`);
      }
      // Another network, a moment ago: it is known now.
      if (holder !== undefined) continue;
      // Somebody who does not know of the lock, or was quicker than the directory's clock.
      await this.#index.read();
      this.#index.add({ address, owner: readEntry(`${this.dir}/${name}`)?.text ?? '', name, mtimeMs: 0 });
    }
  }

  /** Who has an address that is free in this store. */
  #holder(address: Addr): string | undefined {
    const dir = this.#siblings.holding(address);
    return dir === undefined ? this.#elsewhere(address) : `another network (${join(dir, fileOf(address))})`;
  }

  /** An interface is added once (host-local says so too). */
  #refuseDuplicate({ owner, ranges }: Reservation): void {
    const text = ownerText(owner);
    for (const entry of this.#index.all()) {
      if (entry.owner !== text || !ranges.some((r) => containsAddr(r.subnet, entry.address))) continue;
      throw new CniError(
        CODE.addressTaken,
        `${formatAddr(entry.address)} has been allocated to ${owner.containerId}, duplicate allocation is not allowed: ` +
          `interface ${owner.ifname} was added before; delete it first`,
      );
    }
  }

  #usedUp(range: AddressRange): CniError {
    const inside = [...this.#index.of(range.subnet.addr.family).values()].filter((e) =>
      containsAddr(range.subnet, e.address),
    );
    const all = capacity(range);
    const more = inside.length > NAMED ? `, and ${inside.length - NAMED} more` : '';
    const owners = inside.slice(0, NAMED).map((e) => `${formatAddr(e.address)}: ${describeOwner(e.owner)}`);
    return new CniError(
      CODE.usedUp,
      `no free address in this node's subnet ${formatPrefix(range.subnet)}: all ${all} are taken, ${inside.length} of them in ${this.dir}; ` +
        'remove pods, or give nodes larger subnets (SubnetLen in the network config)',
      `${owners.join('; ')}${more}`,
    );
  }

  #releaseAll(text: string): readonly Addr[] {
    const freed: Addr[] = [];
    for (const entry of [...this.#index.all()]) {
      // Read again: it may be another's by now.
      if (entry.owner !== text || readEntry(`${this.dir}/${entry.name}`)?.text !== text) continue;
      this.#drop(entry);
      freed.push(entry.address);
    }
    // Otherwise the change is another's.
    if (freed.length > 0) this.#index.changed();
    return freed;
  }

  #drop(entry: StoreEntry): void {
    if (this.#spares) this.#spares.put(`${this.dir}/${entry.name}`);
    else removeFile(this.dir, entry.name);
    this.#index.remove(entry);
  }

  async #locked<T>(what: 'read' | 'write', job: () => Promise<T>): Promise<T> {
    return await this.#lock.run(async () => {
      try {
        return await job();
      } catch (cause) {
        // What was half done is looked at anew.
        this.#index.forget();
        this.#last.clear();
        throw cause instanceof CniError ? cause : storeError(this.dir, what, cause);
      }
    });
  }
}
