import type { Family } from '../net/addr.ts';
import { IFA_F_PERMANENT } from '../netlink/rtnl.ts';
import type { Doomed, Op } from './kernel.ts';
import type { ObservedAddress, ObservedFdb, ObservedLink, ObservedNeigh, ObservedRoute } from './observed.ts';
import { observedRoute, sameNextHop } from './route.ts';
import { type Fdb, type KernelObject, objectKey } from './types.ts';

/** Rows by the identity of the object they are (or compete for): mostly one for each key. */
type Keyed<Row> = ReadonlyMap<string, readonly Row[]>;
type Rows<Row> = Map<string, readonly Row[]>;

const EMPTY: ReadonlyMap<string, never> = new Map<string, never>();

function keyed<Row>(rows: Iterable<Row>, key: (row: Row) => string): Rows<Row> {
  const out: Rows<Row> = new Map();
  for (const row of rows) {
    const k = key(row);
    const others = out.get(k);
    out.set(k, others ? [...others, row] : [row]);
  }
  return out;
}

function remove<Row>(rows: Rows<Row>, key: string, doomed: (row: Row) => boolean): void {
  const left = (rows.get(key) ?? []).filter((row) => !doomed(row));
  if (left.length > 0) rows.set(key, left);
  else rows.delete(key);
}

/** As {@link objectKey}, for an entry that may have no destination. */
export const fdbKey = (row: Pick<Fdb, 'mac' | 'dev'>): string => objectKey(row as Fdb);

/** One listing of routes that is renewed as a whole: the family and protocol asked for. */
const listing = (family: Family, protocol: number): string => `${family} ${protocol}`;

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
  readonly #addresses = new Map<number, Rows<ObservedAddress>>();
  readonly #neighs = new Map<string, Rows<ObservedNeigh>>();
  readonly #fdb = new Map<string, Rows<ObservedFdb>>();
  readonly #routes = new Map<string, Rows<ObservedRoute>>();
  #routeDevices: ReadonlySet<number> | undefined;
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
    for (const rows of this.#listingsOf(this.#addresses, dev)) for (const row of rows.values()) yield* row;
  }

  addressesAt(dev: string, key: string): readonly ObservedAddress[] {
    const link = this.#names.get(dev);
    return (link && this.#addresses.get(link.ifindex)?.get(key)) ?? [];
  }

  neighs(dev: string): Keyed<ObservedNeigh> {
    return this.#neighs.get(dev) ?? EMPTY;
  }

  fdb(dev: string): Keyed<ObservedFdb> {
    return this.#fdb.get(dev) ?? EMPTY;
  }

  /** Devices whose neighbours or FDB entries are held here. */
  tunnels(): Iterable<string> {
    return new Set([...this.#neighs.keys(), ...this.#fdb.keys()]);
  }

  /** All the routes that are kept. */
  *routes(): Generator<ObservedRoute> {
    for (const rows of this.#routes.values()) for (const row of rows.values()) yield* row;
  }

  /** Routes with this {@link objectKey}, in the kernel's order within one protocol. */
  routesAt(key: string): readonly ObservedRoute[] {
    let found: readonly ObservedRoute[] = [];
    for (const rows of this.#routes.values()) {
      const row = rows.get(key);
      if (row) found = found.length === 0 ? row : [...found, ...row];
    }
    return found;
  }

  /** Devices that routes seen here lead to. */
  routeDevices(): ReadonlySet<number> {
    this.#routeDevices ??= new Set(Iterator.from(this.routes()).map((r) => r.ifindex ?? 0));
    return this.#routeDevices;
  }

  /** Trimmed value; undefined when the file is missing. `read` false: nobody has looked. */
  sysctl(path: string): { readonly read: boolean; readonly value: string | undefined } {
    return { read: this.#sysctls.has(path), value: this.#sysctls.get(path) };
  }

  // Writing: the observer's, and the reconciler's after it has changed something.

  setLinks(links: Iterable<ObservedLink>): void {
    this.#links.clear();
    this.#names.clear();
    for (const link of links) {
      this.#links.set(link.ifindex, link);
      this.#names.set(link.name, link);
    }
    this.#forgetOrphans();
  }

  /** One link anew; undefined: it is gone, and everything on it. */
  setLink(ifindex: number, link: ObservedLink | undefined): void {
    const old = this.#links.get(ifindex);
    if (old && this.#names.get(old.name)?.ifindex === ifindex) this.#names.delete(old.name);
    if (link) {
      this.#links.set(ifindex, link);
      this.#names.set(link.name, link);
      if (old && old.name === link.name) return;
    } else {
      this.#links.delete(ifindex);
    }
    this.#forgetOrphans();
  }

  /** The addresses of one link, or of all. */
  setAddresses(rows: readonly ObservedAddress[], ifindex?: number): void {
    if (ifindex !== undefined) {
      if (rows.length > 0) this.#addresses.set(ifindex, keyed(rows, objectKey));
      else this.#addresses.delete(ifindex);
      return;
    }
    this.#addresses.clear();
    for (const [index, of] of Map.groupBy(rows, (row) => row.ifindex)) this.setAddresses(of, index);
  }

  setNeighs(dev: string, rows: Iterable<ObservedNeigh>): void {
    this.#neighs.set(dev, keyed(rows, objectKey));
  }

  setFdb(dev: string, rows: Iterable<ObservedFdb>): void {
    this.#fdb.set(dev, keyed(rows, fdbKey));
  }

  setRoutes(family: Family, protocol: number, rows: Iterable<ObservedRoute>): void {
    this.#routes.set(listing(family, protocol), keyed(rows, objectKey));
    this.#routeDevices = undefined;
  }

  setSysctl(path: string, value: string | undefined): void {
    this.#sysctls.set(path, value);
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
    if (o.kind === 'link') return;
    if (o.kind === 'sysctl') {
      this.#sysctls.set(o.path, o.value);
      return;
    }
    const key = objectKey(o);
    const ifindex = o.dev === undefined ? undefined : this.#names.get(o.dev)?.ifindex;
    if (o.kind === 'route') {
      const rows = this.#routes.get(listing(o.dst.addr.family, o.protocol));
      rows?.set(key, [...(rows.get(key) ?? []), observedRoute(o, ifindex)]);
    } else if (ifindex === undefined) {
      // On a device made just now, which is going to be looked at.
    } else if (o.kind === 'address') {
      const rows = this.#addresses.get(ifindex) ?? new Map<string, readonly ObservedAddress[]>();
      this.#addresses.set(ifindex, rows.set(key, [{ ...o, ifindex, flags: IFA_F_PERMANENT, scope: 0 }]));
    } else if (o.kind === 'neigh') {
      this.#neighs.get(o.dev)?.set(key, [{ ...o, ifindex }]);
    } else {
      const rows = this.#fdb.get(o.dev);
      rows?.set(key, [...(appended ? (rows.get(key) ?? []) : []), { ...o, ifindex }]);
    }
  }

  #noteGone(o: Doomed): void {
    if (o.kind === 'link') return;
    if (o.kind === 'route') {
      const rows = this.#routes.get(listing(o.dst.addr.family, o.protocol));
      const there = rows?.get(objectKey(o)) ?? [];
      const doomed = there.find((row) => row === o) ?? there.find((row) => sameNextHop(row, o));
      if (rows) remove(rows, objectKey(o), (row) => row === doomed);
    } else if (o.kind === 'address') {
      this.#addresses.get(o.ifindex)?.delete(objectKey(o));
    } else if (o.kind === 'neigh') {
      this.#neighs.get(o.dev)?.delete(objectKey(o));
    } else {
      const rows = this.#fdb.get(o.dev);
      if (rows) remove(rows, fdbKey(o), (row) => row === o);
    }
  }

  forgetTunnel(dev: string): void {
    this.#neighs.delete(dev);
    this.#fdb.delete(dev);
  }

  /** What stood on links that are no more. Routes are listed anew instead: they go and stay by rules of their own. */
  #forgetOrphans(): void {
    for (const ifindex of this.#addresses.keys())
      if (!this.#links.has(ifindex)) this.#addresses.delete(ifindex);
    for (const dev of this.tunnels()) if (!this.#names.has(dev)) this.forgetTunnel(dev);
  }

  #listingsOf<V>(all: ReadonlyMap<number, V>, dev: string | undefined): Iterable<V> {
    if (dev === undefined) return all.values();
    const link = this.#names.get(dev);
    const own = link && all.get(link.ifindex);
    return own === undefined ? [] : [own];
  }
}
