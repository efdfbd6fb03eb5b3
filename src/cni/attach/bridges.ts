import type { Kernel } from '../../kernel/kernel.ts';
import { NO_CHANGE } from '../../kernel/link.ts';
import type { ObservedLink } from '../../kernel/observed.ts';
import { reconcileOnce } from '../../kernel/once.ts';
import type { BridgeLink } from '../../kernel/types.ts';
import { formatPrefix, network, type Prefix, samePrefix } from '../../net/prefix.ts';
import type { NodeChange } from '../engine.ts';
import { CniError } from '../errors.ts';
import type { Attachment } from '../types.ts';
import {
  type BridgePlan,
  type BridgeSight,
  type BridgeWish,
  bridgeWish,
  type InUse,
  planBridge,
} from './bridge.ts';
import { kernelFailure, named } from './failures.ts';
import { keepListening } from './listeners.ts';
import { BRIDGE_ALIAS, isHostAlias, isHostIfName } from './names.ts';
import type { Proxies } from './proxies.ts';

/** Milliseconds between two looks at a bridge that notifications ask for: they are no reason to fight over it. */
const REVIEW_INTERVAL = 1_000;

/** A bridge as far as it is known. */
interface Known {
  wish: BridgeWish;
  inUse: InUse;
  /** Settles when it is as wished; everybody who needs it waits for this one. */
  ready: Promise<ObservedLink>;
  ifindex: number | undefined;
  kept: readonly Prefix[];
  review: NodeJS.Timeout | undefined;
}

/**
 * The bridges of a host, each verified once and then trusted until a notification of it says otherwise, so that attaching a
 * pod costs no look at it. What runs here has a kernel socket of its own: its listings forget the numbers of devices that
 * are made meanwhile.
 */
export class Bridges {
  readonly #kernel: Kernel;
  readonly #proxies: Proxies;
  readonly #known = new Map<string, Known>();
  /** All work runs one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** Bridges of others whose MAC was made their own. */
  readonly #pinned = new Set<number>();
  /** What goes on in steps, between which the kernel must not be closed. */
  readonly #settling = new Set<Promise<void>>();
  #isClosed = false;

  constructor(kernel: Kernel, proxies: Proxies) {
    this.#kernel = kernel;
    this.#proxies = proxies;
  }

  /** Resolves to the bridge when it is as wished: at once if that is known. Throws {@link CniError}. */
  ensure(wish: BridgeWish, inUse: InUse): Promise<ObservedLink> {
    const known = this.#known.get(wish.name);
    if (known && sameWish(known.wish, wish)) {
      known.inUse = inUse;
      return known.ready;
    }
    clearTimeout(known?.review);
    const next: Known = {
      wish,
      inUse,
      ready: this.#queue(() => this.#put(next)),
      ifindex: undefined,
      kept: [],
      review: undefined,
    };
    this.#known.set(wish.name, next);
    next.ready.catch(() => this.#forget(next));
    return next.ready;
  }

  /** What was believed of a bridge has proved wrong: look again before the next use. */
  doubt(name: string): void {
    const known = this.#known.get(name);
    if (known) this.#forget(known);
  }

  /** A notification: of this device, or (undefined) maybe of any. What it is now is looked up soon; nobody waits for it. */
  hint(ifindex: number | undefined): void {
    for (const known of this.#known.values()) {
      if (known.ifindex === undefined || this.#isClosed) continue;
      if (ifindex !== undefined && ifindex !== known.ifindex) continue;
      known.review ??= setTimeout(() => this.#review(known), REVIEW_INTERVAL).unref();
    }
  }

  /**
   * Removes the gateways of earlier subnets that no pod uses any more: after a pod has gone, or (`changed`) the node's network
   * has changed, when every bridge of ours gets its gateways too. One that is not there is not made. Throws {@link CniError}.
   */
  settle(changed?: NodeChange): Promise<void> {
    const work = this.#settle(changed);
    const over = work.catch(() => {}).then(() => void this.#settling.delete(over));
    this.#settling.add(over);
    return work;
  }

  async #settle(changed: NodeChange | undefined): Promise<void> {
    if (changed) await this.#readdress(changed);
    for (const known of this.#known.values()) {
      if (known.kept.length === 0 || known.kept.every((p) => known.inUse(network(p)))) continue;
      await this.#queue(() => this.#put(known));
    }
    await this.#queue(() => this.#proxies.settle(this.#kernel));
  }

  /** An attachment has been made, on a bridge or beside them. Throws {@link CniError}. */
  async attached(a: Attachment): Promise<void> {
    await this.#proxies.attached(a).catch((cause: unknown) => {
      throw kernelFailure(`attach ${named(a)}`, cause);
    });
  }

  async #readdress({ node, inUse, bridges }: NodeChange): Promise<void> {
    const named = new Set(bridges);
    const links = await this.#queue(() => this.#kernel.links()).catch((cause: unknown) => {
      throw kernelFailure('list the bridges of this host', cause);
    });
    const ours = links.filter((o) => o.type === 'bridge' && (o.alias === BRIDGE_ALIAS || named.has(o.name)));
    const done = await Promise.allSettled(ours.map((o) => this.ensure(bridgeWish(o.name, node), inUse)));
    const failed = done.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  /** Addresses that stay only because pods use their prefixes. */
  kept(): readonly { readonly bridge: string; readonly address: Prefix }[] {
    return [...this.#known.values()].flatMap(({ wish, kept }) =>
      kept.map((address) => ({ bridge: wish.name, address })),
    );
  }

  /**
   * What is not as wished, in words; changes nothing. Throws {@link CniError} only when the kernel does not answer. `pod`: what an
   * attachment needs of it. What the node has got since comes with the next pod, and is not missed before.
   */
  differences(
    wish: BridgeWish,
    inUse: InUse,
    pod: Pick<BridgeWish, 'gateways' | 'mtu'>,
  ): Promise<readonly string[]> {
    return this.#queue(async () => {
      try {
        const sight = await this.#look(wish.name);
        const plan = planBridge(neededBy(pod, wish, sight), sight, inUse);
        const { differences } = await reconcileOnce(this.#kernel, plan.objects, { apply: false });
        return [
          ...differences,
          ...plan.remove.map((o) => `address ${formatPrefix(o.addr)} dev ${o.dev} too many`),
        ];
      } catch (cause) {
        if (cause instanceof CniError) return [cause.message];
        throw kernelFailure(`look at bridge ${wish.name}`, cause);
      }
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const known of this.#known.values()) clearTimeout(known.review);
    await Promise.all(this.#settling);
    await this.#last;
    this.#proxies.close();
    this.#kernel.close();
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  #forget(known: Known): void {
    clearTimeout(known.review);
    if (this.#known.get(known.wish.name) !== known) return;
    this.#known.delete(known.wish.name);
    this.#proxies.forget(known.wish.name);
  }

  #review(known: Known): void {
    known.review = undefined;
    // A bridge that is gone is made again by the next pod: whoever has removed it may have had a reason.
    void this.#queue(async () => {
      if (this.#isClosed || this.#known.get(known.wish.name) !== known) return;
      if (await this.#kernel.linkNamed(known.wish.name))
        known.ready = Promise.resolve(await this.#put(known));
      else this.#forget(known);
    }).catch(() => this.#forget(known));
  }

  async #look(name: string): Promise<BridgeSight> {
    const [links, addresses] = await Promise.all([this.#kernel.links(), this.#kernel.addresses()]);
    const link = links.find((o) => o.name === name);
    const ports = links
      .filter((o) => link !== undefined && o.master === link.ifindex)
      .map((o) => ({ name: o.name, isOurs: isHostAlias(o.alias) || isHostIfName(o.name) }));
    return { link, addresses, ports };
  }

  async #put(known: Known): Promise<ObservedLink> {
    const { wish } = known;
    try {
      const sight = await this.#look(wish.name);
      const plan = planBridge(wish, sight, known.inUse);
      await this.#apply(plan, sight);
      const link = await this.#kernel.linkNamed(wish.name);
      if (!link) throw new Error(`it has gone again`);
      known.ifindex = link.ifindex;
      known.kept = plan.kept;
      await this.#proxies.sync(this.#kernel, link, [...wish.gateways, ...plan.kept]);
      return link;
    } catch (cause) {
      throw kernelFailure(`set up bridge ${wish.name}`, cause);
    }
  }

  async #apply({ objects, remove }: BridgePlan, { link }: BridgeSight): Promise<void> {
    const fresh = link
      ? undefined
      : new Map([[objects[0]!.kind === 'link' ? objects[0]!.name : '', undefined]]);
    await keepListening(this.#kernel, objects);
    const { failures } = await reconcileOnce(this.#kernel, objects, {
      apply: true,
      ...(fresh ? { fresh } : {}),
    });
    if (failures[0]) throw failures[0];
    const results = await this.#kernel.apply(remove.map((object) => ({ verb: 'delete', object })));
    const failure = results.find((error) => error !== undefined && error.code !== 'EADDRNOTAVAIL');
    if (failure) throw failure;
    if (link && link.alias !== BRIDGE_ALIAS) await this.#pin(link, objects);
  }

  /**
   * A bridge that others have made may have the MAC of a port, and change it when that port goes. Telling it the MAC that it
   * has makes it its own (dev->addr_assign_type NET_ADDR_SET).
   */
  async #pin(link: ObservedLink, objects: BridgePlan['objects']): Promise<void> {
    const object = objects.find((o): o is BridgeLink => o.kind === 'link' && o.bridge === true);
    if (!object || this.#pinned.has(link.ifindex)) return;
    const [error] = await this.#kernel.apply([
      { verb: 'change', object, observed: link, change: { ...NO_CHANGE, mac: true } },
    ]);
    if (error) throw error;
    this.#pinned.add(link.ifindex);
  }
}

/** The pod's own gateways, and those of the node that are there; an MTU that is enough. */
function neededBy(
  { gateways, mtu }: Pick<BridgeWish, 'gateways' | 'mtu'>,
  wish: BridgeWish,
  { link, addresses }: BridgeSight,
): BridgeWish {
  const isThere = (g: Prefix) => addresses.some((o) => o.dev === wish.name && samePrefix(o.addr, g));
  const others = wish.gateways.filter((g) => isThere(g) && !gateways.some((own) => samePrefix(own, g)));
  const isEnough = link?.mtu !== undefined && link.mtu >= mtu;
  return { ...wish, gateways: [...gateways, ...others], mtu: isEnough ? link.mtu : mtu };
}

const sameWish = (a: BridgeWish, b: BridgeWish): boolean => wishText(a) === wishText(b);
const wishText = ({ name, mtu, gateways, networks }: BridgeWish): string =>
  [name, mtu, ...gateways.map(formatPrefix), ...networks.map(formatPrefix)].join(' ');
