import { isUsable, ownsAddress, standsInTheWay } from './address.ts';
import { type Conflict, LocalPrefixes } from './conflict.ts';
import { type DesiredState, deviceOf } from './desired.ts';
import { isUnicast, ownsFdb, sameFdb } from './fdb.ts';
import type { Doomed, Op } from './kernel.ts';
import { compareLink, type LinkChange, ownsLink } from './link.ts';
import { ownsNeigh, sameNeigh } from './neigh.ts';
import type { ObservedRoute } from './observed.ts';
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

/** A route of flanneld's that is taken as ours because the very same is desired. */
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

  constructor(observed: ObservedState, desired: DesiredState, owner: Owner, options: PlanOptions) {
    this.#observed = observed;
    this.#desired = desired;
    this.#owner = owner;
    this.#options = options;
    this.#held = options.held;
  }

  /** Runs over the desired objects of one kind, skipping what is held and what has no device yet. */
  *#each<T extends KernelObject>(
    objects: ReadonlyMap<string, T>,
    look: (wanted: T, key: string) => Iterable<PlanItem> | PlanItem | undefined,
  ): Generator<PlanItem | undefined> {
    let count = 0;
    // Thousands in a row are on the same device.
    let dev: string | undefined;
    let isMissing = false;
    for (const [key, wanted] of objects) {
      if (++count % BREATH === 0) yield undefined;
      if (this.#held?.(key)) continue;
      if (deviceOf(wanted) !== dev) {
        dev = deviceOf(wanted);
        isMissing = dev !== undefined && !this.#fresh.has(dev) && !this.#observed.link(dev);
      }
      if (dev !== undefined && isMissing) {
        yield { kind: 'blocked', key, object: wanted, dev };
        continue;
      }
      const found = look(wanted, key);
      if (!found) continue;
      if (Symbol.iterator in found) yield* found;
      else yield found;
    }
  }

  links = () => this.#each(this.#desired.link, (wanted, key) => this.#link(wanted, key));

  #link(wanted: Link, key: string): Step | Blocked | undefined {
    const there = this.#observed.link(wanted.name);
    const verdict = there && compareLink(there, wanted, this.#observed);
    if (verdict === 'same') return undefined;
    if (!this.#observed.link(wanted.vxlan.underlay)) {
      return { kind: 'blocked', key, object: wanted, dev: wanted.vxlan.underlay };
    }
    if (!there || verdict === 'rebuild') this.#fresh.add(wanted.name);
    else if (verdict?.mac) this.#newMac.add(wanted.name);
    const create: Op = { verb: 'create', object: wanted };
    if (!there) return put(key, wanted, create);
    if (verdict === 'rebuild') return put(key, wanted, { verb: 'delete', object: there }, create);
    return put(key, wanted, {
      verb: 'change',
      object: wanted,
      observed: there,
      change: verdict as LinkChange,
    });
  }

  sysctls = () =>
    this.#each(this.#desired.sysctl, (wanted, key) => {
      const { read, value } = this.#observed.sysctl(wanted.path);
      const reset = wanted.dev !== undefined && this.#fresh.has(wanted.dev);
      if (read && !reset && (sameValue(value, wanted.value) || isVacuous(wanted, value))) return undefined;
      return put(key, wanted, { verb: 'put', object: wanted });
    });

  addresses = () =>
    this.#each(this.#desired.address, (wanted, key) => {
      const create: Op = { verb: 'create', object: wanted };
      if (this.#fresh.has(wanted.dev)) return put(key, wanted, create);
      const there = this.#observed.addressesAt(wanted.dev, key);
      if (there.some(isUsable)) return undefined;
      const inTheWay = [...this.#observed.addresses(wanted.dev)].filter((o) => standsInTheWay(o, wanted));
      return put(key, wanted, ...inTheWay.map((o): Op => ({ verb: 'delete', object: o })), create);
    });

  neighs = () =>
    this.#each(this.#desired.neigh, (wanted, key) => {
      const gone = this.#fresh.has(wanted.dev) || this.#newMac.has(wanted.dev);
      const there = gone ? undefined : this.#observed.neighs(wanted.dev).get(key);
      if (there?.some((o) => sameNeigh(o, wanted))) return undefined;
      return put(key, wanted, { verb: 'put', object: wanted });
    });

  fdb = () => this.#each(this.#desired.fdb, (wanted, key) => this.#fdbEntry(wanted, key));

  /**
   * One MAC has one remote: with two, every packet would go twice. A unicast entry is moved in place by one
   * replacement, which changes its first remote; what there is besides is taken away before.
   */
  #fdbEntry(wanted: Fdb, key: string): Step | undefined {
    const there = this.#fresh.has(wanted.dev) ? [] : (this.#observed.fdb(wanted.dev).get(key) ?? []);
    if (there.length === 1 && sameFdb(there[0]!, wanted)) return undefined;
    const right = there.find((o) => sameFdb(o, wanted));
    const remove = (o: (typeof there)[number]): Op => ({ verb: 'delete', object: o });
    if (right) {
      const extra = there.filter((o) => o !== right);
      return extra.length > 0 ? put(key, wanted, ...extra.map(remove)) : undefined;
    }
    if (isUnicast(wanted.mac))
      return put(key, wanted, ...there.slice(1).map(remove), { verb: 'put', object: wanted });
    return put(key, wanted, { verb: 'append', object: wanted }, ...there.map(remove));
  }

  *routes(): Generator<PlanItem | undefined> {
    const local = new LocalPrefixes(this.#observed, this.#owner);
    yield* this.#each(this.#desired.route, (wanted, key) =>
      this.#isInPlace(wanted, key, local) ? undefined : this.#route(wanted, key, local),
    );
    yield* local.inside(this.#desired.route);
  }

  /** The usual case, first and cheap: just what is wanted is there, and nothing else. */
  #isInPlace(wanted: Route, key: string, local: LocalPrefixes): boolean {
    const there = this.#observed.routesAt(key);
    const o = there[0];
    if (!o || there.length > 1 || !sameRoute(o, wanted) || !ownsRoute(o, this.#owner)) return false;
    return !(o.dev !== undefined && this.#fresh.has(o.dev)) && local.holder(wanted) === undefined;
  }

  *#route(wanted: Route, key: string, local: LocalPrefixes): Generator<PlanItem> {
    const there = this.#observed.routesAt(key).filter((o) => o.dev === undefined || !this.#fresh.has(o.dev));
    const mine = there.filter((o) => o.tos === 0 && ownsRoute(o, this.#owner));
    const taken = local.holder(wanted);
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
    const right = mine.find((o) => sameRoute(o, wanted)) ?? adoptable;
    if (right) {
      const extra = mine.filter((o) => o !== right);
      if (extra.length > 0) yield put(key, wanted, ...extra.map(removeRoute));
    } else if (mine.length > 0) {
      yield put(key, wanted, ...replaceRoute(mine, wanted));
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
    const goes = new Set([...this.#fresh, ...links.map((o) => o.name)]);
    let count = 0;
    for (const [key, rows] of this.#observed.routesByKey()) {
      if (++count % BREATH === 0) yield undefined;
      const isWanted = route.has(key);
      const adopted = this.#options.adopted?.get(key);
      for (const o of rows) {
        if ((isWanted && o.tos === 0) || (o.dev !== undefined && goes.has(o.dev))) continue;
        const isAdopted = adopted && o.protocol === adopted.protocol && sameNextHop(o, adopted);
        if (isAdopted || ownsRoute(o, this.#owner)) yield* this.#drop(key, o);
      }
    }
    for (const dev of this.#observed.tunnels()) {
      if (goes.has(dev)) continue;
      for (const [key, rows] of this.#observed.fdb(dev)) {
        if (++count % BREATH === 0) yield undefined;
        if (fdb.has(key)) continue;
        for (const o of rows) if (ownsFdb(o, this.#owner)) yield* this.#drop(key, o);
      }
      for (const [key, rows] of this.#observed.neighs(dev)) {
        if (++count % BREATH === 0) yield undefined;
        if (neigh.has(key) || this.#newMac.has(dev)) continue;
        for (const o of rows) if (ownsNeigh(o, this.#owner)) yield* this.#drop(key, o);
      }
    }
    for (const o of this.#observed.addresses()) {
      const key = objectKey(o);
      if (goes.has(o.dev)) continue;
      if (!address.has(key) && ownsAddress(o, this.#owner)) yield* this.#drop(key, o);
    }
    for (const o of links) yield* this.#drop(linkKey(o.name), o);
  }

  *#drop(key: string, object: Doomed): Generator<Step> {
    if (!this.#held?.(key))
      yield { kind: 'step', key, aim: 'delete', object, ops: [{ verb: 'delete', object }] };
  }
}

export const linkKey = (name: string): string => objectKey({ kind: 'link', name } as Link);

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
