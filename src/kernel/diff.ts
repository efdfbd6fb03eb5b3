import { isUsable, ownsAddress, standsInTheWay } from './address.ts';
import { type Conflict, localPrefixes } from './conflict.ts';
import { type DesiredState, deviceOf } from './desired.ts';
import { isUnicast, ownsFdb, sameFdb } from './fdb.ts';
import type { Doomed, Op } from './kernel.ts';
import { compareLink, isMakeable, ownsLink } from './link.ts';
import type { Rows } from './listing.ts';
import { ownsNeigh, sameNeigh } from './neigh.ts';
import type { ObservedFdb, ObservedRoute } from './observed.ts';
import { IPV6_MTU } from './podLink.ts';
import { IPV6_METRIC, isAdoptable, ownsRoute, sameNextHop, sameRoute } from './route.ts';
import type { ObservedState } from './state.ts';
import { isVacuous, sameValue } from './sysctl.ts';
import { type Fdb, type KernelObject, type Link, type Owner, objectKey, type Route } from './types.ts';

/** What to do about one object: its operations belong together and run in order. */
export interface Step {
  readonly kind: 'step';
  readonly key: string;
  /** `put`: the object is to be as desired. `delete`: it is ours and nobody wants it any more. */
  readonly aim: 'put' | 'delete';
  readonly object: KernelObject | Doomed;
  readonly ops: readonly Op[];
}

/** A desired object that cannot be put before its device is there. */
export interface Blocked {
  readonly kind: 'blocked';
  readonly key: string;
  readonly object: KernelObject;
  readonly dev: string;
}

/** A route of flanneld's that is taken as ours because one to the same next hop is desired. */
export interface Adopted {
  readonly kind: 'adopted';
  readonly key: string;
  readonly route: ObservedRoute;
}

export type PlanItem = Step | Blocked | Conflict | Adopted;

export interface PlanOptions {
  /** Delete what is ours and not desired. Only when `desired` is a whole view. */
  readonly prune: boolean;
  /** Routes adopted earlier, by key: deleted like ours once they are not desired. */
  readonly adopted?: ReadonlyMap<string, ObservedRoute>;
  /** Keys to leave alone this time (they wait for another attempt). */
  readonly held?: ((key: string) => boolean) | undefined;
}

/** After this many objects the plan takes breath: `undefined` is yielded, and the caller may let others run. */
const BREATH = 128;

/**
 * The operations that turn `observed` into `desired`, in the order they must run: puts from links to routes, then
 * deletes the other way round. Everything not mentioned is in sync. Pure; yields `undefined` now and then so that no
 * caller has to hold the event loop for a large state.
 *
 * What a change of a link silently takes with it is planned for: a link that is made anew gets everything that belongs
 * on it, one that gets another MAC its neighbours.
 */
export function* plan(
  observed: ObservedState,
  desired: DesiredState,
  owner: Owner,
  options: PlanOptions,
): Generator<PlanItem | undefined> {
  const differ = new Differ(observed, desired, owner, options);
  yield* differ.links();
  yield* differ.sysctls();
  yield* differ.addresses();
  yield* differ.neighs();
  yield* differ.fdb();
  yield* differ.routes();
  if (options.prune) yield* differ.doomed();
}

class Differ {
  readonly #observed: ObservedState;
  readonly #desired: DesiredState;
  readonly #owner: Owner;
  readonly #options: PlanOptions;
  readonly #held: PlanOptions['held'];
  /** Links this plan makes: nothing that was seen on their names counts. */
  readonly #fresh = new Set<string>();
  /** Links this plan gives another MAC: the kernel drops their neighbours. */
  readonly #newMac = new Set<string>();
  /** Links this plan gives an MTU that IPv6 can do with: their IPv6 sysctls are born with it. */
  readonly #newIpv6 = new Set<string>();
  /** Names of wanted links that others have: nothing of ours goes there. */
  readonly #foreign = new Set<string>();

  constructor(observed: ObservedState, desired: DesiredState, owner: Owner, options: PlanOptions) {
    this.#observed = observed;
    this.#desired = desired;
    this.#owner = owner;
    this.#options = options;
    this.#held = options.held;
  }

  /**
   * Runs over the desired objects of one kind. Nearly all are right as a rule: `isRight` sees that cheaply. Of the others
   * those are skipped that are held or have no device yet.
   */
  *#each<T extends KernelObject>(
    objects: ReadonlyMap<string, T>,
    isRight: (wanted: T, key: string) => boolean,
    look: (wanted: T, key: string) => Iterable<PlanItem> | PlanItem | undefined,
  ): Generator<PlanItem | undefined> {
    let count = 0;
    for (const [key, wanted] of objects) {
      if (++count % BREATH === 0) yield undefined;
      if (isRight(wanted, key) || this.#held?.(key)) continue;
      const dev = deviceOf(wanted);
      if (dev !== undefined && !this.#isThere(dev)) {
        yield { kind: 'blocked', key, object: wanted, dev };
        continue;
      }
      const found = look(wanted, key);
      if (!found) continue;
      if (Symbol.iterator in found) yield* found;
      else yield found;
    }
  }

  #isThere(dev: string): boolean {
    return this.#fresh.has(dev) || (this.#observed.link(dev) !== undefined && !this.#foreign.has(dev));
  }

  links = () => this.#each(this.#desired.link, notYet, (wanted, key) => this.#link(wanted, key));

  #link(wanted: Link, key: string): Step | Blocked | Conflict | undefined {
    const there = this.#observed.link(wanted.name);
    const verdict = there && compareLink(there, wanted, this.#observed);
    if (verdict === 'same') return undefined;
    const base = wanted.vxlan?.underlay ?? wanted.veth?.master;
    if (base !== undefined && !this.#isThere(base))
      return { kind: 'blocked', key, object: wanted, dev: base };
    const create: Op = { verb: 'create', object: wanted };
    if (!there || verdict === undefined) {
      // It comes with its other end, or not at all.
      if (!isMakeable(wanted)) return { kind: 'blocked', key, object: wanted, dev: wanted.name };
      this.#fresh.add(wanted.name);
      return put(key, wanted, create);
    }
    if (verdict === 'foreign') {
      this.#foreign.add(wanted.name);
      const text = `a device of type ${there.type ?? 'hardware'} of this name`;
      return { kind: 'conflict', key, object: wanted, with: text, withheld: true };
    }
    if (verdict === 'rebuild') {
      this.#fresh.add(wanted.name);
      return put(key, wanted, { verb: 'delete', object: there }, create);
    }
    if (verdict.mtu && there.mtu < IPV6_MTU && wanted.mtu >= IPV6_MTU) this.#newIpv6.add(wanted.name);
    if (verdict.mac) this.#newMac.add(wanted.name);
    return put(key, wanted, { verb: 'change', object: wanted, observed: there, change: verdict });
  }

  sysctls = () =>
    this.#each(this.#desired.sysctl, notYet, (wanted, key) => {
      const { read, value } = this.#observed.sysctl(wanted.path);
      const { dev } = wanted;
      const reset = dev !== undefined && (this.#fresh.has(dev) || this.#newIpv6.has(dev));
      if (read && !reset && (sameValue(value, wanted.value) || isVacuous(wanted, value))) return undefined;
      return put(key, wanted, { verb: 'put', object: wanted });
    });

  addresses = () =>
    this.#each(this.#desired.address, notYet, (wanted, key) => {
      const create: Op = { verb: 'create', object: wanted };
      if (this.#fresh.has(wanted.dev)) return put(key, wanted, create);
      const there = this.#observed.addressesAt(wanted.dev, key);
      if (there.some(isUsable)) return undefined;
      const inTheWay = [...this.#observed.addresses(wanted.dev)].filter((o) => standsInTheWay(o, wanted));
      return put(key, wanted, ...inTheWay.map((o): Op => ({ verb: 'delete', object: o })), create);
    });

  *neighs(): Generator<PlanItem | undefined> {
    const rowsOn = lastOf((dev) =>
      this.#fresh.has(dev) || this.#newMac.has(dev) ? undefined : this.#observed.neighs(dev),
    );
    yield* this.#each(
      this.#desired.neigh,
      (wanted, key) => {
        const there = rowsOn(wanted.dev)?.get(key);
        return there?.length === 1 && sameNeigh(there[0]!, wanted);
      },
      (wanted, key) => put(key, wanted, { verb: 'put', object: wanted }),
    );
  }

  *fdb(): Generator<PlanItem | undefined> {
    const rowsOn = lastOf((dev) => (this.#fresh.has(dev) ? undefined : this.#observed.fdb(dev)));
    yield* this.#each(
      this.#desired.fdb,
      (wanted, key) => {
        const there = rowsOn(wanted.dev)?.get(key);
        return there?.length === 1 && sameFdb(there[0]!, wanted);
      },
      (wanted, key) => this.#fdbEntry(wanted, key, rowsOn(wanted.dev)?.get(key) ?? []),
    );
  }

  /**
   * One MAC has one remote: with two, every packet would go twice. A unicast entry is moved in place by one
   * replacement, which changes its first remote; what there is besides is taken away before.
   */
  #fdbEntry(wanted: Fdb, key: string, there: readonly ObservedFdb[]): Step | undefined {
    const right = there.find((o) => sameFdb(o, wanted));
    const remove = (o: (typeof there)[number]): Op => ({ verb: 'delete', object: o });
    if (right) return put(key, wanted, ...there.filter((o) => o !== right).map(remove));
    if (isUnicast(wanted.mac))
      return put(key, wanted, ...there.slice(1).map(remove), { verb: 'put', object: wanted });
    return put(key, wanted, { verb: 'append', object: wanted }, ...there.map(remove));
  }

  *routes(): Generator<PlanItem | undefined> {
    const { taken, inside } = yield* localPrefixes(this.#observed, this.#owner, this.#desired.route);
    yield* this.#each(
      this.#desired.route,
      (wanted, key) => this.#isRouted(wanted, key) && !taken.has(key),
      (wanted, key) => this.#route(wanted, key, taken.get(key)),
    );
    yield* inside;
  }

  /** Is just the wanted route there, and nothing else in its place? */
  #isRouted(wanted: Route, key: string): boolean {
    const there = this.#observed.routesAt(key);
    const o = there[0];
    if (!o || there.length > 1 || !sameRoute(o, wanted) || !ownsRoute(o, this.#owner)) return false;
    return o.dev === undefined || !this.#fresh.has(o.dev);
  }

  *#route(wanted: Route, key: string, taken: string | undefined): Generator<PlanItem> {
    const there = this.#observed.routesAt(key).filter((o) => o.dev === undefined || !this.#fresh.has(o.dev));
    const mine = there.filter((o) => o.tos === 0 && ownsRoute(o, this.#owner));
    if (taken) {
      yield { kind: 'conflict', key, object: wanted, with: taken, withheld: true };
      // The kernel would let ours win over a connected route that came later: what is local stays local.
      if (mine.length > 0) yield { ...put(key, wanted, ...mine.map(removeRoute)), aim: 'delete' };
      return;
    }
    const foreign = there.find((o) => o.tos === 0 && !ownsRoute(o, this.#owner));
    const adoptable = there.find((o) => isAdoptable(o, wanted));
    if (adoptable && !mine.includes(adoptable)) yield { kind: 'adopted', key, route: adoptable };
    else if (foreign && foreign !== adoptable) {
      const text = `a route of protocol ${foreign.protocol} dev ${foreign.dev}`;
      yield { kind: 'conflict', key, object: wanted, with: text, withheld: mine.length === 0 };
    }
    // What is adopted stays as it is for as long as it is right, and is exchanged as one of ours when it is not.
    const outdated = adoptable && !mine.includes(adoptable) && !sameRoute(adoptable, wanted);
    const ours = outdated ? [...mine, adoptable] : mine;
    const right = mine.find((o) => sameRoute(o, wanted)) ?? (outdated ? undefined : adoptable);
    if (right) {
      const extra = ours.filter((o) => o !== right);
      if (extra.length > 0) yield put(key, wanted, ...extra.map(removeRoute));
    } else if (ours.length > 0) {
      yield put(key, wanted, ...replaceRoute(ours, wanted));
    } else if (!foreign) {
      yield put(key, wanted, { verb: 'create', object: wanted });
    }
  }

  /** What is ours and not desired, from routes back to links. What stands on a doomed link goes with it. */
  *doomed(): Generator<PlanItem | undefined> {
    const { link, address, neigh, fdb, route } = this.#desired;
    const links = [...this.#observed.links()].filter(
      (o) => ownsLink(o, this.#owner) && !link.has(linkKey(o.name)),
    );
    const goes = new Set<string | undefined>([...this.#fresh, ...links.map((o) => o.name)]);
    for (const rows of this.#observed.routeListings()) {
      for (const found of unwanted(rows, route)) {
        if (!found) yield undefined;
        else if (!goes.has(found.row.dev) && this.#isOurs(found.key, found.row)) yield* this.#drop(found);
      }
    }
    for (const dev of this.#observed.tunnels()) {
      if (goes.has(dev)) continue;
      for (const found of unwanted(this.#observed.fdb(dev), fdb)) {
        if (!found) yield undefined;
        else if (ownsFdb(found.row, this.#owner)) yield* this.#drop(found);
      }
      if (this.#newMac.has(dev)) continue;
      for (const found of unwanted(this.#observed.neighs(dev), neigh)) {
        if (!found) yield undefined;
        else if (ownsNeigh(found.row, this.#owner)) yield* this.#drop(found);
      }
    }
    for (const row of this.#observed.addresses()) {
      const key = objectKey(row);
      if (goes.has(row.dev) || address.has(key) || !ownsAddress(row, this.#owner)) continue;
      yield* this.#drop({ key, row });
    }
    for (const row of links) yield* this.#drop({ key: linkKey(row.name), row });
  }

  #isOurs(key: string, o: ObservedRoute): boolean {
    const adopted = this.#options.adopted?.get(key);
    return (
      ownsRoute(o, this.#owner) ||
      (adopted !== undefined && o.protocol === adopted.protocol && sameNextHop(o, adopted))
    );
  }

  *#drop({ key, row: object }: { readonly key: string; readonly row: Doomed }): Generator<Step> {
    if (!this.#held?.(key))
      yield { kind: 'step', key, aim: 'delete', object, ops: [{ verb: 'delete', object }] };
  }
}

/** For kinds of which there are few. */
const notYet = (): boolean => false;

/** `find`, but with the last answer remembered: thousands in a row ask for one device. */
function lastOf<T>(find: (dev: string) => T): (dev: string) => T | undefined {
  let last: string | undefined;
  let found: T | undefined;
  return (dev) => {
    if (dev !== last) {
      found = find(dev);
      last = dev;
    }
    return found;
  };
}

/** The rows that have no key of a desired object; `undefined` now and then, to take breath. */
function* unwanted<Row>(
  rows: Rows<Row>,
  desired: ReadonlyMap<string, unknown>,
): Generator<{ readonly key: string; readonly row: Row } | undefined> {
  let count = 0;
  for (const key of rows.keys()) {
    if (++count % BREATH === 0) yield undefined;
    if (!desired.has(key)) for (const row of rows.get(key)!) yield { key, row };
  }
}

const linkKey = (name: string): string => objectKey({ kind: 'link', name } as Link);

const put = (key: string, object: KernelObject, ...ops: Op[]): Step => ({
  kind: 'step',
  key,
  aim: 'put',
  object,
  ops,
});

const removeRoute = (object: ObservedRoute): Op => ({ verb: 'delete', object });

/**
 * The change of a route to the same prefix, without a moment in which packets find none (and never by NLM_F_REPLACE,
 * which takes whatever has the prefix, the connected route of a bridge included).
 *
 * IPv4: the new one is appended behind the old, which is then deleted.
 *
 * IPv6: appending makes a multipath route of the two if their next hops differ, and fails (EEXIST) if only the MTU
 * does. So the new way is first put with the next worse metric, then the old route is exchanged, then the spare one is
 * removed. The spare one is refused when its gateway lies in the prefix itself and the old route leads to another
 * device (net/ipv6/route.c ip6_route_check_nh_onlink): then, and only then, there is a gap of one message.
 */
function replaceRoute(old: readonly ObservedRoute[], wanted: Route): Op[] {
  const remove = old.map(removeRoute);
  if (wanted.dst.addr.family === 4) return [{ verb: 'append', object: wanted }, ...remove];
  const spare = { ...wanted, metric: (wanted.metric ?? IPV6_METRIC) + 1 };
  return [
    { verb: 'create', object: spare, optional: true },
    ...remove,
    { verb: 'create', object: wanted },
    { verb: 'delete', object: spare, optional: true },
  ];
}
