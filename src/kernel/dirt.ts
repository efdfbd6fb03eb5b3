import type { Family } from '../net/addr.ts';
import type { Hint } from './kernel.ts';
import type { ObservedLink } from './observed.ts';
import type { ObservedState } from './state.ts';
import type { KindName } from './types.ts';

/** One listing to be renewed. */
export type Job =
  | { readonly what: 'links' }
  | { readonly what: 'link'; readonly ifindex: number }
  | { readonly what: 'addresses'; readonly ifindex?: number }
  | { readonly what: 'neighs' | 'fdb'; readonly ifindex: number }
  | { readonly what: 'routes'; readonly family: Family }
  | { readonly what: 'sysctls' };

/** A routing daemon on this host may change foreign routes all day: for those we look seldom, and the less the dearer. */
const LAZY = { atLeast: 1000, timesCost: 50, atMost: 30_000 } as const;

/**
 * What of the observed state is doubtful. Knows how far the kernel's silent consequences reach, for which it sends no
 * notification (seen with Linux 6.18):
 *
 * - a changed MAC deletes all neighbours of the device, PERMANENT ones too; so does taking it down;
 * - taking a device down deletes the IPv4 routes through it (without RTM_DELROUTE), its IPv6 routes and addresses;
 *   bringing it up again restores none of ours; FDB entries survive both;
 * - deleting the last IPv4 address of a device deletes its IPv4 routes and neighbours;
 * - deleting an underlay deletes the VXLAN devices on it.
 *
 * So an event on a link makes everything on it doubtful, and one on an address its neighbours and routes.
 */
export class Dirt {
  /** Our own devices. */
  devices: ReadonlySet<string> = new Set();
  /** Others' devices that routes of ours lead through. */
  carriers: ReadonlySet<string> = new Set();
  sysctls = false;
  /** Milliseconds the last look at routes took. */
  routeCost = 0;
  readonly #state: ObservedState;
  readonly #links = new Set<number>();
  #allLinks = false;
  readonly #addresses = new Set<number>();
  #allAddresses = false;
  readonly #neighs = new Set<number>();
  readonly #fdb = new Set<number>();
  /** By family, the monotonic milliseconds at which to look. */
  readonly #routes = new Map<Family, number>();

  constructor(state: ObservedState) {
    this.#state = state;
  }

  all(): void {
    this.#allLinks = true;
    this.#allAddresses = true;
    this.sysctls = true;
    this.#anyRoutes();
  }

  /** Is this a link of ours, or one our routes need? */
  matters(link: ObservedLink | undefined): boolean {
    return (
      link !== undefined &&
      (this.devices.has(link.name) || this.carriers.has(link.name) || this.#state.hasRoutesTo(link.ifindex))
    );
  }

  /** Everything on a link. */
  device(ifindex: number): void {
    this.#addresses.add(ifindex);
    this.tunnel(ifindex);
    this.#anyRoutes();
    this.sysctls = true;
  }

  /** What only our own devices have. */
  tunnel(ifindex: number): void {
    this.#neighs.add(ifindex);
    this.#fdb.add(ifindex);
  }

  /** What an object of this kind stands on. */
  object(kind: KindName, dev: string | undefined): void {
    const link = dev === undefined ? undefined : this.#state.link(dev);
    if (kind === 'sysctl') this.sysctls = true;
    else if (kind === 'link' || (dev !== undefined && !link)) this.#allLinks = true;
    if (kind === 'route' || kind === 'link') this.#anyRoutes();
    if (link) {
      this.#links.add(link.ifindex);
      if (kind === 'address') this.#addresses.add(link.ifindex);
      else if (kind === 'neigh') this.#neighs.add(link.ifindex);
      else if (kind === 'fdb') this.#fdb.add(link.ifindex);
    }
  }

  hint({ kind, ifindex, family, entry }: Hint, now: number): void {
    const link = this.#state.linkAt(ifindex);
    const ours = link !== undefined && this.devices.has(link.name);
    switch (kind) {
      case 'link':
        this.#links.add(ifindex);
        this.#addresses.add(ifindex);
        break;
      case 'address':
        this.#addresses.add(ifindex);
        if (this.matters(link)) this.#anyRoutes();
        if (ours) this.#neighs.add(ifindex);
        break;
      case 'neigh':
      case 'fdb': {
        // Mostly it was us.
        const heard = ours ? entry?.() : undefined;
        if (ours && !(heard && this.#state.holds(heard)))
          (kind === 'neigh' ? this.#neighs : this.#fdb).add(ifindex);
        break;
      }
      case 'route': {
        if (family === undefined) return;
        const lazy = Math.min(Math.max(LAZY.atLeast, LAZY.timesCost * this.routeCost), LAZY.atMost);
        const soon = ours || link === undefined || this.carriers.has(link.name);
        this.#routesAt(family, soon ? 0 : now + lazy);
        break;
      }
      case 'sysctl':
        this.sysctls = true;
        break;
    }
  }

  /** The first moment at which there is something to do: 0 for now; undefined for never. */
  due(): number | undefined {
    if (this.#allLinks || this.#allAddresses || this.sysctls) return 0;
    if (this.#links.size + this.#addresses.size + this.#neighs.size + this.#fdb.size > 0) return 0;
    return this.#routes.size === 0 ? undefined : Math.min(...this.#routes.values());
  }

  /** Takes out all that is due, so that what comes meanwhile is another matter. */
  split(now: number): Dirt {
    const due = new Dirt(this.#state);
    due.devices = this.devices;
    due.carriers = this.carriers;
    due.absorb(this);
    this.#allLinks = false;
    this.#allAddresses = false;
    this.sysctls = false;
    for (const set of [this.#links, this.#addresses, this.#neighs, this.#fdb]) set.clear();
    for (const [family, at] of due.#routes) (at <= now ? this : due).#routes.delete(family);
    return due;
  }

  /** Takes everything over from another. */
  absorb(other: Dirt): void {
    this.#allLinks ||= other.#allLinks;
    this.#allAddresses ||= other.#allAddresses;
    this.sysctls ||= other.sysctls;
    for (const ifindex of other.#links) this.#links.add(ifindex);
    for (const ifindex of other.#addresses) this.#addresses.add(ifindex);
    for (const ifindex of other.#neighs) this.#neighs.add(ifindex);
    for (const ifindex of other.#fdb) this.#fdb.add(ifindex);
    for (const [family, at] of other.#routes) this.#routesAt(family, at);
  }

  /** The next job; links before what stands on them. Undefined: all is done. */
  take(): Job | undefined {
    if (this.#allLinks) {
      this.#allLinks = false;
      this.#links.clear();
      return { what: 'links' };
    }
    for (const ifindex of drain(this.#links)) return { what: 'link', ifindex };
    if (this.#allAddresses) {
      this.#allAddresses = false;
      this.#addresses.clear();
      return { what: 'addresses' };
    }
    for (const ifindex of drain(this.#addresses)) return { what: 'addresses', ifindex };
    for (const ifindex of drain(this.#neighs)) return { what: 'neighs', ifindex };
    for (const ifindex of drain(this.#fdb)) return { what: 'fdb', ifindex };
    for (const family of this.#routes.keys()) {
      this.#routes.delete(family);
      return { what: 'routes', family };
    }
    if (this.sysctls) {
      this.sysctls = false;
      return { what: 'sysctls' };
    }
    return undefined;
  }

  /** The job could not be done. */
  giveBack(job: Job): void {
    if (job.what === 'links') this.#allLinks = true;
    else if (job.what === 'link') this.#links.add(job.ifindex);
    else if (job.what === 'addresses' && job.ifindex === undefined) this.#allAddresses = true;
    else if (job.what === 'addresses') this.#addresses.add(job.ifindex!);
    else if (job.what === 'neighs') this.#neighs.add(job.ifindex);
    else if (job.what === 'fdb') this.#fdb.add(job.ifindex);
    else if (job.what === 'routes') this.#routesAt(job.family, 0);
    else this.sysctls = true;
  }

  #routesAt(family: Family, at: number): void {
    this.#routes.set(family, Math.min(at, this.#routes.get(family) ?? Number.POSITIVE_INFINITY));
  }

  #anyRoutes(): void {
    this.#routes.set(4, 0);
    this.#routes.set(6, 0);
  }
}

/** Takes one element out. */
function* drain(set: Set<number>): Generator<number> {
  for (const value of set) {
    set.delete(value);
    yield value;
  }
}
