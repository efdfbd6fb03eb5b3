import { fstatSync, statSync } from 'node:fs';
import { KernelError } from '../../errors.ts';
import { describe } from '../../kernel/desired.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import { NetlinkKernel } from '../../kernel/netlinkKernel.ts';
import type { ObservedLink } from '../../kernel/observed.ts';
import { type OnceOptions, reconcileOnce } from '../../kernel/once.ts';
import type { KernelObject } from '../../kernel/types.ts';
import type { Family } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';
import type { Prefix } from '../../net/prefix.ts';
import { watchRoutes } from '../../netlink/monitor.ts';
import type { NodeChange } from '../engine.ts';
import { CniError, CODE } from '../errors.ts';
import type { Attachment, NodeNetwork } from '../types.ts';
import { activate } from './activate.ts';
import { bridgeWish, forwarding, type InUse } from './bridge.ts';
import { Bridges } from './bridges.ts';
import { differences } from './check.ts';
import { Deletions } from './deletions.ts';
import { hostObjects, NO_IPV6, podObjects, podRoutes } from './desired.ts';
import { kernelFailure, named } from './failures.ts';
import { Gate } from './gate.ts';
import { keepListening } from './listeners.ts';
import { isHostAlias, isHostIfName } from './names.ts';
import { openNetns, type PodNetns } from './netns.ts';
import { type PodEnd, removePodEnd } from './podEnd.ts';
import { Proxies } from './proxies.ts';

/** Pods that are attached at once: the kernel makes one device after the other anyway, and each has a thread meanwhile. */
const AT_ONCE = 8;

export interface AttacherOptions {
  /** Descriptor of the host's network namespace; the process's own if absent. Stays open as long as the attacher. */
  readonly hostNetnsFd?: number;
  /** For tests: a kernel that fails. `netnsFd` undefined: the host's. */
  readonly openKernel?: (netnsFd: number | undefined) => Kernel;
}

/** What is to be removed. */
export interface HostEnd {
  readonly hostIf: string;
  /** What it was made with, if that is known. */
  readonly hostMac?: Mac;
}

/** The node's prefix that stays on a bridge because pods of an earlier lease use it. */
export interface KeptGateway {
  readonly bridge: string;
  readonly address: Prefix;
}

/**
 * Makes attachments so in the kernel, and undoes them. Knows nothing of records and leases: whoever calls it sees to it that
 * one attachment is worked on by one call at a time. All methods throw {@link CniError}.
 */
export class Attacher {
  readonly #openKernel: (netnsFd: number | undefined) => Kernel;
  readonly #bridges: Bridges;
  readonly #deletions: Deletions;
  readonly #monitor: { close(): void };
  readonly #gate = new Gate(AT_ONCE);
  readonly #host: Kernel;
  readonly #hostNetnsFd: number | undefined;
  #forwards: string | undefined;

  private constructor(options: AttacherOptions) {
    const { hostNetnsFd } = options;
    this.#hostNetnsFd = hostNetnsFd;
    const netns = hostNetnsFd === undefined ? {} : { netnsFd: hostNetnsFd };
    this.#openKernel =
      options.openKernel ??
      ((fd = hostNetnsFd) =>
        NetlinkKernel.open(fd === undefined ? {} : { netnsFd: fd, later: fd !== hostNetnsFd }));
    this.#host = this.#openKernel(undefined);
    this.#bridges = new Bridges(this.#openKernel(undefined), new Proxies(netns));
    this.#deletions = new Deletions(netns);
    this.#monitor = watchRoutes(
      ['link', 'address'],
      (changes, overrun) => {
        if (overrun) this.#bridges.hint(undefined);
        for (const { ifindex } of changes) this.#bridges.hint(ifindex);
      },
      netns,
    );
  }

  /** Throws NativeError when there are no sockets to be had. */
  static open(options: AttacherOptions = {}): Attacher {
    return new Attacher(options);
  }

  /**
   * Attaches a container, and leaves nothing behind if that fails. `netns`: its namespace if the caller has opened it
   * already, which stays the caller's. `inUse`: do pods hold addresses of this prefix?
   */
  async add(
    a: Attachment,
    node: NodeNetwork,
    inUse: InUse,
    netns?: PodNetns,
  ): Promise<{ readonly bridgeMac: Mac | undefined }> {
    await this.#gate.enter();
    try {
      if (netns) return await this.#addTo(a, node, inUse, netns);
      using own = await openNetns(a.netns, 'ADD');
      return await this.#addTo(a, node, inUse, own);
    } finally {
      this.#gate.leave();
    }
  }

  async #addTo(
    a: Attachment,
    node: NodeNetwork,
    inUse: InUse,
    netns: PodNetns,
  ): Promise<{ readonly bridgeMac: Mac | undefined }> {
    for (let attempt = 1; ; attempt++) {
      const bridge = await this.#prepare(a, node, inUse);
      const failure = await this.#attach(a, netns, bridge);
      if (failure === undefined) return { bridgeMac: bridge?.mac };
      const again = attempt === 1 && (await this.#isCured(a, netns, failure));
      if (!again) throw kernelFailure(`attach ${named(a)}`, failure);
    }
  }

  /** What all pods of a mode share: the bridge, if there is one. Costs nothing as long as nothing has changed. */
  async #prepare(a: Attachment, node: NodeNetwork, inUse: InUse): Promise<ObservedLink | undefined> {
    if (a.mode === 'bridge') return await this.#bridges.ensure(bridgeWish(a.bridge!, node), inUse);
    const families = a.addresses.map(({ address }) => address.addr.family);
    const wanted = families.join();
    const routed = this.#route(families).then(
      () => {
        this.#forwards = wanted;
      },
      (cause: unknown) => {
        this.#forwards = undefined;
        throw kernelFailure('make this host a router', cause);
      },
    );
    // Once it was so, it is likely still so: nobody waits for the look, and what is wrong is put right beside the rest.
    if (this.#forwards === wanted) routed.catch(() => {});
    else await routed;
    return undefined;
  }

  async #route(families: readonly Family[]): Promise<void> {
    const wanted = forwarding(families);
    await keepListening(this.#host, wanted);
    const { failures } = await reconcileOnce(this.#host, wanted, { apply: true });
    if (failures[0]) throw failures[0];
  }

  /** Why it could not be done; whatever was made is gone again then. */
  async #attach(a: Attachment, netns: PodNetns, bridge: ObservedLink | undefined): Promise<unknown> {
    const made = Promise.withResolvers<ObservedLink | undefined>();
    let bare: ObservedLink | undefined;
    const host = put(this.#host, hostObjects(a, netns.fd), {
      fresh: new Map([[a.hostIf, undefined]]),
      known: new Map(bridge ? [[bridge.name, bridge.ifindex]] : []),
      onMade: (link) => {
        bare = link;
        made.resolve(link);
      },
    });
    void host.then(() => made.resolve(undefined));
    let pod: Kernel | undefined;
    let failure: unknown;
    try {
      // The namespace is entered while the kernel makes the veth.
      pod = this.#openKernel(netns.fd);
      const hasIpv6 = a.addresses.some(({ address }) => address.addr.family === 6);
      const [end, noIpv6] = await Promise.all([made.promise, hasIpv6 ? pod.sysctl(NO_IPV6) : undefined]);
      if (end?.peer !== undefined) failure = await this.#settlePod(pod, a, end.peer, noIpv6 === '0');
    } catch (cause) {
      failure = cause;
    }
    failure = (await host)[0] ?? failure;
    if (failure === undefined && pod) failure = await this.#activate(pod, a, bridge);
    pod?.close();
    if (failure !== undefined && bare) await this.#deletions.delete(bare).catch(() => {});
    return failure;
  }

  async #activate(pod: Kernel, a: Attachment, bridge: ObservedLink | undefined): Promise<unknown> {
    try {
      await Promise.all([
        activate(this.#host, a, 'gateway', bridge),
        activate(pod, a, 'pod'),
        this.#bridges.attached(a),
      ]);
      return undefined;
    } catch (cause) {
      return cause;
    }
  }

  async #settlePod(pod: Kernel, a: Attachment, ifindex: number, hasIpv6: boolean): Promise<unknown> {
    const routes = podRoutes(a);
    const spare = new Set(routes.map((o) => describe(o)));
    const fresh = new Map([[a.ifname, ifindex]]);
    const failures = await put(pod, [...podObjects(a, hasIpv6), ...routes], { fresh });
    return failures.find((e) => !(e instanceof KernelError && e.code === 'EEXIST' && spare.has(e.object)));
  }

  /** Was that something that can be put right? Throws what there is to tell about it if not. */
  async #isCured(a: Attachment, netns: PodNetns, failure: unknown): Promise<boolean> {
    if (!(failure instanceof KernelError)) return false;
    if (failure.code === 'EEXIST') return this.#isWayFree(a, netns);
    if (a.mode !== 'bridge' || !['ENODEV', 'ENXIO', 'EINVAL'].includes(failure.code)) return false;
    // The bridge is another one by now, or none.
    this.#bridges.doubt(a.bridge!);
    return true;
  }

  /** One of the names is taken. What an earlier attachment of this container has left on the host is removed. */
  async #isWayFree(a: Attachment, netns: PodNetns): Promise<boolean> {
    const pod = this.#openKernel(netns.fd);
    try {
      if (await pod.linkNamed(a.ifname)) {
        throw new CniError(
          CODE.invalidEnvironment,
          `cannot attach ${named(a)}: there is an interface ${a.ifname} in its network namespace ${a.netns} already. Detach it first ` +
            `(DEL), or choose another CNI_IFNAME`,
        );
      }
    } finally {
      pod.close();
    }
    const link = await this.#host.linkNamed(a.hostIf);
    if (!link) return true;
    if (!isOurs(link, a)) {
      throw new CniError(
        CODE.kernel,
        `cannot attach ${named(a)}: the host has a device ${a.hostIf} that is not of ours. Remove or rename it (ip link del ${a.hostIf})`,
      );
    }
    await this.#deletions.delete(link);
    return true;
  }

  /**
   * Detaches: removes the veth, and with it everything on both of its ends. Nothing to do if it is gone, e.g. with the
   * container's namespace.
   */
  async remove(end: HostEnd): Promise<void> {
    const { hostIf } = end;
    if (!isHostIfName(hostIf)) {
      throw new CniError(
        CODE.internal,
        `cannot remove ${JSON.stringify(hostIf)}: no veth of ours has such a name`,
      );
    }
    try {
      const link = await this.#host.linkNamed(hostIf);
      if (link?.type !== 'veth') return;
      // Never told as done: the pod may live, and its addresses would be given to another.
      if (!isOurs(link, end)) {
        throw new CniError(
          CODE.kernel,
          `cannot remove ${hostIf}: it is not known to be of ours, its alias is ${JSON.stringify(link.alias)}. Remove it ` +
            `(ip link del ${hostIf}) or its alias (ip link set ${hostIf} alias ""), then try again`,
        );
      }
      await this.#deletions.delete(link);
      // So that its number is forgotten here too; nobody waits for that.
      void this.#host.linkNamed(hostIf).catch(() => {});
    } catch (cause) {
      throw kernelFailure(`remove ${hostIf}`, cause);
    }
  }

  /** Removes an interface inside a container: see {@link removePodEnd}. Never one of this host, whoever asks. */
  async removeInside(end: PodEnd): Promise<boolean> {
    const own =
      this.#hostNetnsFd === undefined ? statSync('/proc/self/ns/net') : fstatSync(this.#hostNetnsFd);
    return await removePodEnd(this.#openKernel, end, `${own.dev}:${own.ino}`);
  }

  /** What is not as {@link add} made it, in words; [] if all is. Changes nothing. */
  async check(a: Attachment, node: NodeNetwork, inUse: InUse = () => true): Promise<readonly string[]> {
    using netns = await openNetns(a.netns, 'CHECK');
    const bridge =
      a.mode === 'bridge'
        ? await this.#bridges.differences(bridgeWish(a.bridge!, node), inUse, needs(a))
        : [];
    const host = this.#openKernel(undefined);
    try {
      const pod = this.#openKernel(netns.fd);
      try {
        return [...new Set([...bridge, ...(await differences(a, host, pod))])];
      } finally {
        pod.close();
      }
    } catch (cause) {
      throw kernelFailure(`check ${named(a)}`, cause);
    } finally {
      host.close();
    }
  }

  /**
   * Names of the host's ends that there are, whoever's: the name tells enough, and who takes a living pod for a dead one
   * gives its address away. An alias is an operator's, or lldpd's, to change.
   */
  async hostEnds(): Promise<ReadonlySet<string>> {
    const host = this.#openKernel(undefined);
    try {
      const links = await host.links();
      return new Set(links.filter((o) => o.type === 'veth' && isHostIfName(o.name)).map((o) => o.name));
    } catch (cause) {
      throw kernelFailure('list the devices of this host', cause);
    } finally {
      host.close();
    }
  }

  /** Gateways of earlier leases that bridges still have, for pods use them. */
  kept(): readonly KeptGateway[] {
    return this.#bridges.kept();
  }

  /**
   * To be called when a pod's address was released: the gateway of an earlier lease goes with its last user. And when the
   * node has another network, or the daemon has come to know it: bridges get its gateways before there is a pod for them.
   */
  async settle(changed?: NodeChange): Promise<void> {
    await this.#bridges.settle(changed);
  }

  /** Waits for what is under way. What is attached stays attached. */
  async close(): Promise<void> {
    await this.#gate.close();
    this.#monitor.close();
    await Promise.all([this.#deletions.close(), this.#bridges.close()]);
    this.#host.close();
  }
}

/** What an attachment needs of its bridge. */
const needs = ({ addresses, mtu }: Attachment) => ({
  gateways: addresses.map(({ address, gateway }) => ({ addr: gateway, len: address.len })),
  mtu,
});

/** An alias is told after the making: a daemon that was killed in between leaves none. Who has changed it has left the MAC. */
const isOurs = ({ type, alias, mac }: ObservedLink, { hostMac }: HostEnd): boolean =>
  type === 'veth' && (alias === undefined || isHostAlias(alias) || (mac !== undefined && mac === hostMac));

/** Puts objects where nobody has put any yet. Returns what went wrong. */
async function put(
  kernel: Kernel,
  objects: readonly KernelObject[],
  options: Omit<OnceOptions, 'apply'>,
): Promise<readonly unknown[]> {
  try {
    return (await reconcileOnce(kernel, objects, { ...options, apply: true })).failures;
  } catch (cause) {
    return [cause];
  }
}
