import { isDeepStrictEqual } from 'node:util';
import { ROUTE_PROTOCOL } from '../contract.ts';
import { type Family, sameAddr } from '../net/addr.ts';
import { IFA_F_PERMANENT } from '../netlink/rtnl.ts';
import type { Entry } from './entry.ts';
import type { Doomed, Op } from './kernel.ts';
import { Listing, type Rows } from './listing.ts';
import type { ObservedAddress, ObservedFdb, ObservedLink, ObservedNeigh, ObservedRoute } from './observed.ts';
import { observedRoute, sameNextHop, sameRow } from './route.ts';
import { type Fdb, type KernelObject, keyOf, objectKey, type Route } from './types.ts';

/** As {@link objectKey}, for an entry that may have no destination. */
export const fdbKey = (row: Pick<Fdb, 'mac' | 'dev'>): string => objectKey(row as Fdb);

/**
 * As {@link objectKey}; a route for a type of service is another one, which can stand beside ours. Nobody ever wishes
 * for one.
 */
const routeKey = (row: Route | ObservedRoute): string =>
  'tos' in row && row.tos !== 0 ? `${objectKey(row)} tos ${row.tos}` : objectKey(row);

/** What the kernel is asked for at once: routes of one family and protocol. */
const question = (family: Family, protocol: number): number => family * 256 + protocol;

const listingOf = <K, Row>(all: Map<K, Listing<Row>>, key: K): Listing<Row> => {
  const listing = all.get(key) ?? new Listing<Row>();
  all.set(key, listing);
  return listing;
};

const sameNeighRow = (a: ObservedNeigh, b: ObservedNeigh): boolean =>
  a.mac === b.mac && a.ifindex === b.ifindex;

const sameFdbRow = (a: ObservedFdb, b: ObservedFdb): boolean =>
  a.ifindex === b.ifindex && sameAddr(a.dst, b.dst) && !a.odd && !b.odd;

const isJust = <Row>(
  rows: readonly Row[] | undefined,
  row: Row | undefined,
  isSame: (a: Row, b: Row) => boolean,
): boolean => (row === undefined ? rows === undefined : rows?.length === 1 && isSame(rows[0]!, row));

const NONE: Rows<never> = new Map<string, never>();

/**
 * The kernel as last seen. Filled by the observer, one listing at a time, each replaced as a whole; read by the diff
 * and by whoever makes host facts of it.
 *
 * What is kept: every link and every address (both are as many as the host's devices); neighbours and FDB entries of
 * our devices only; of the main routing table what `keepRoute` lets through.
 */
export class ObservedState {
  readonly #links = new Map<number, ObservedLink>();
  readonly #names = new Map<string, ObservedLink>();
  readonly #addresses = new Map<number, Listing<ObservedAddress>>();
  readonly #neighs = new Map<string, Listing<ObservedNeigh>>();
  readonly #fdb = new Map<string, Listing<ObservedFdb>>();
  readonly #routes = new Map<number, Listing<ObservedRoute>>();
  /** Those of them that are not empty, until the next change. */
  #filled: readonly Listing<ObservedRoute>[] | undefined;
  readonly #routeDevices = new Map<number, ReadonlySet<number>>();
  readonly #sysctls = new Map<string, string | undefined>();

  // Reading.

  links(): Iterable<ObservedLink> {
    return this.#links.values();
  }

  link(name: string): ObservedLink | undefined {
    return this.#names.get(name);
  }

  linkAt(ifindex: number): ObservedLink | undefined {
    return this.#links.get(ifindex);
  }

  /** All addresses, or those of one device. */
  *addresses(dev?: string): Generator<ObservedAddress> {
    for (const { rows } of this.#listingsOf(this.#addresses, dev))
      for (const those of rows.values()) yield* those;
  }

  addressesAt(dev: string, key: string): readonly ObservedAddress[] {
    const link = this.#names.get(dev);
    return (link && this.#addresses.get(link.ifindex)?.rows.get(key)) ?? [];
  }

  neighs(dev: string): Rows<ObservedNeigh> {
    return this.#neighs.get(dev)?.rows ?? NONE;
  }

  fdb(dev: string): Rows<ObservedFdb> {
    return this.#fdb.get(dev)?.rows ?? NONE;
  }

  /** Is this what is held already? */
  holds(entry: Entry): boolean {
    const { dev, key } = entry;
    return entry.kind === 'neigh'
      ? isJust(this.neighs(dev).get(key), entry.row, sameNeighRow)
      : isJust(this.fdb(dev).get(key), entry.row, sameFdbRow);
  }

  /** Devices whose neighbours or FDB entries are held here. */
  tunnels(): Iterable<string> {
    return new Set([...this.#neighs.keys(), ...this.#fdb.keys()]);
  }

  /** All the routes that are kept. */
  *routes(): Generator<ObservedRoute> {
    for (const rows of this.routeListings()) for (const those of rows.values()) yield* those;
  }

  /** Those of them that do not bear our protocol. */
  *othersRoutes(): Generator<ObservedRoute> {
    for (const [asked, { rows }] of this.#routes) {
      if (asked % 256 !== ROUTE_PROTOCOL) for (const those of rows.values()) yield* those;
    }
  }

  /** All by {@link routeKey}, one listing for each family and protocol. */
  routeListings(): Iterable<Rows<ObservedRoute>> {
    return Iterator.from(this.#routes.values()).map((listing) => listing.rows);
  }

  /** Routes with this key, in the kernel's order within one protocol. */
  routesAt(key: string): readonly ObservedRoute[] {
    let found: readonly ObservedRoute[] = [];
    this.#filled ??= [...this.#routes.values()].filter(({ rows }) => rows.size > 0);
    for (const { rows } of this.#filled) {
      const those = rows.get(key);
      if (those) found = found.length === 0 ? those : [...found, ...those];
    }
    return found;
  }

  /** Do routes that others have put, or the kernel, lead to this device? */
  hasRoutesTo(ifindex: number): boolean {
    for (const devices of this.#routeDevices.values()) if (devices.has(ifindex)) return true;
    return false;
  }

  /** Trimmed value; undefined when the file is missing. `read` false: nobody has looked. */
  sysctl(path: string): { readonly read: boolean; readonly value: string | undefined } {
    return { read: this.#sysctls.has(path), value: this.#sysctls.get(path) };
  }

  // Writing: the observer's, and the reconciler's after it has changed something.

  setLinks(links: Iterable<ObservedLink>): boolean {
    const left = new Set(this.#links.keys());
    let isChanged = false;
    for (const link of links) {
      left.delete(link.ifindex);
      isChanged = this.setLink(link.ifindex, link) || isChanged;
    }
    for (const ifindex of left) isChanged = this.setLink(ifindex, undefined) || isChanged;
    return isChanged;
  }

  /** One link anew; undefined: it is gone, and everything on it. */
  setLink(ifindex: number, link: ObservedLink | undefined): boolean {
    const old = this.#links.get(ifindex);
    if (isDeepStrictEqual(old, link)) return false;
    if (old && this.#names.get(old.name) === old) this.#names.delete(old.name);
    if (link) {
      // What stood on the last device of the name does not stand on this one.
      if (this.#names.get(link.name) && this.#names.get(link.name) !== old) this.forgetTunnel(link.name);
      this.#links.set(ifindex, link);
      this.#names.set(link.name, link);
    } else {
      this.#links.delete(ifindex);
      this.#addresses.delete(ifindex);
    }
    // Routes are listed anew instead: they come and go by rules of their own.
    if (old && !this.#names.has(old.name)) this.forgetTunnel(old.name);
    return true;
  }

  /** The addresses of one link, or of all. */
  async setAddresses(rows: readonly ObservedAddress[], ifindex?: number): Promise<boolean> {
    const byLink = Map.groupBy(rows, (row) => row.ifindex);
    let isChanged = false;
    for (const index of ifindex === undefined
      ? new Set([...this.#addresses.keys(), ...byLink.keys()])
      : [ifindex]) {
      const listing = listingOf(this.#addresses, index);
      isChanged = (await listing.renew(byLink.get(index) ?? [], objectKey, isDeepStrictEqual)) || isChanged;
      if (listing.rows.size === 0) this.#addresses.delete(index);
    }
    return isChanged;
  }

  setNeighs(dev: string, rows: readonly ObservedNeigh[]): Promise<boolean> {
    return listingOf(this.#neighs, dev).renew(rows, objectKey, sameNeighRow);
  }

  setFdb(dev: string, rows: readonly ObservedFdb[]): Promise<boolean> {
    return listingOf(this.#fdb, dev).renew(rows, fdbKey, sameFdbRow);
  }

  /** `devices`: where they lead, by ifindex. */
  async setRoutes(
    family: Family,
    protocol: number,
    rows: readonly ObservedRoute[],
    devices: ReadonlySet<number>,
  ): Promise<boolean> {
    const asked = question(family, protocol);
    this.#routeDevices.set(asked, devices);
    const isChanged = await listingOf(this.#routes, asked).renew(rows, routeKey, sameRow);
    this.#filled = undefined;
    return isChanged;
  }

  setSysctl(path: string, value: string | undefined): boolean {
    const isChanged = !this.#sysctls.has(path) || this.#sysctls.get(path) !== value;
    this.#sysctls.set(path, value);
    return isChanged;
  }

  /**
   * An operation of our own that the kernel has accepted: what it did, without looking again. Links are left to the
   * next listing, for what a change of a link does to everything on it is the kernel's business.
   */
  note(op: Op): void {
    if (op.verb === 'change') return;
    if (op.verb === 'delete') this.#noteGone(op.object);
    else this.#notePut(op.object, op.verb === 'append');
  }

  #notePut(o: KernelObject, appended: boolean): void {
    if (o.kind === 'link') {
      // Its sysctls are born with it: what was read of them before says nothing.
      for (const path of this.#sysctls.keys()) if (path.includes(`/${o.name}/`)) this.#sysctls.delete(path);
      return;
    }
    if (o.kind === 'sysctl') {
      this.#sysctls.set(o.path, o.value);
      return;
    }
    const key = keyOf(o);
    const ifindex = o.dev === undefined ? undefined : this.#names.get(o.dev)?.ifindex;
    if (o.kind === 'route') {
      this.#filled = undefined;
      this.#routes.get(question(o.dst.addr.family, o.protocol))?.append(key, observedRoute(o, ifindex));
    } else if (ifindex === undefined) {
      // On a device made just now, which is going to be looked at.
    } else if (o.kind === 'address') {
      listingOf(this.#addresses, ifindex).set(key, [{ ...o, ifindex, flags: IFA_F_PERMANENT, scope: 0 }]);
    } else if (o.kind === 'neigh') {
      const { kind, dev, addr, mac } = o;
      this.#neighs.get(dev)?.set(key, [{ kind, dev, ifindex, addr, mac }]);
    } else {
      const { kind, dev, mac, dst } = o;
      const row = { kind, dev, ifindex, mac, dst };
      if (appended) this.#fdb.get(dev)?.append(key, row);
      else this.#fdb.get(dev)?.set(key, [row]);
    }
  }

  #noteGone(o: Doomed): void {
    switch (o.kind) {
      case 'link':
        break;
      case 'route': {
        const listing = this.#routes.get(question(o.dst.addr.family, o.protocol));
        const there = listing?.rows.get(routeKey(o)) ?? [];
        const doomed = there.find((row) => row === o) ?? there.find((row) => sameNextHop(row, o));
        listing?.remove(routeKey(o), (row) => row === doomed);
        break;
      }
      case 'address':
        this.#addresses.get(o.ifindex)?.set(objectKey(o), []);
        break;
      case 'neigh':
        this.#neighs.get(o.dev)?.set(objectKey(o), []);
        break;
      case 'fdb':
        this.#fdb.get(o.dev)?.remove(fdbKey(o), (row) => row === o);
        break;
    }
  }

  forgetTunnel(dev: string): void {
    this.#neighs.delete(dev);
    this.#fdb.delete(dev);
  }

  #listingsOf<V>(all: ReadonlyMap<number, V>, dev: string | undefined): Iterable<V> {
    if (dev === undefined) return all.values();
    const link = this.#names.get(dev);
    const own = link && all.get(link.ifindex);
    return own === undefined ? [] : [own];
  }
}
