import { KernelError } from '../../src/errors.ts';
import { describe } from '../../src/kernel/desired.ts';
import { isUnicast } from '../../src/kernel/fdb.ts';
import type { Doomed, Hint, Kernel, Op, Watch, WayTo } from '../../src/kernel/kernel.ts';
import type { LinkChange } from '../../src/kernel/link.ts';
import type {
  ObservedAddress,
  ObservedFdb,
  ObservedLink,
  ObservedNeigh,
  ObservedRoute,
  RouteQuery,
} from '../../src/kernel/observed.ts';
import type { Address, Fdb, Link, Neigh, Route, Sysctl, TunLink, VxlanLink } from '../../src/kernel/types.ts';
import { type Addr, sameAddr } from '../../src/net/addr.ts';
import type { Mac } from '../../src/net/mac.ts';
import { containsAddr, network, type Prefix, samePrefix } from '../../src/net/prefix.ts';
import { ERRNO } from '../../src/netlink/errno.ts';
import { DEFAULT_METRIC, Fib, type FibRoute } from './fib.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Bytes that VXLAN adds to an inner frame, by the family of the outer packet (drivers/net/vxlan vxlan_headroom). */
const HEADROOM = { 4: 50, 6: 70 } as const;
/** drivers/net/tun.c: min_mtu, max_mtu. */
const isTunMtu = (mtu: number): boolean => mtu >= 68 && mtu <= 65_535;
/** RFC 8200. */
const IPV6_MTU = 1280;
const PROTOCOL_KERNEL = 2;
const SCOPE_LINK = 253;

const refusal = (op: Op, code: string): KernelError =>
  new KernelError({
    errno: ERRNO[code] ?? 0,
    code,
    op: `${op.verb} ${op.object.kind}`,
    object: describe(op.object),
  });

/**
 * A model of the kernel's behaviour, as far as Loden meets it: what it refuses, and what it silently takes along.
 * test/netns/kernel-model.test.ts holds it to the real one. Devices of others are made by {@link addDevice}; everything
 * else, whoever is meant to do it, by {@link apply}.
 */
export class FakeKernel implements Kernel {
  /** Everything that was applied and accepted, in order. */
  readonly log: Op[] = [];
  /** Asked before each operation: an errno name makes it fail and do nothing. */
  fault: (op: Op) => string | undefined = () => undefined;
  /** Number of questions asked. */
  reads = 0;
  readonly sysctls = new Map<string, string>();
  readonly #links = new Map<number, Mutable<ObservedLink>>();
  #addresses: { readonly ifindex: number; readonly addr: Prefix }[] = [];
  #neighs: { readonly ifindex: number; readonly addr: Addr; readonly mac: Mac }[] = [];
  #fdb: { readonly ifindex: number; readonly mac: Mac; readonly dst: Addr }[] = [];
  readonly #fib = new Fib({
    isUp: (ifindex) => this.#links.get(ifindex)?.up ?? false,
    hasIpv6: (ifindex) => this.#hasIpv6(ifindex),
    isLocal: (a, ifindex) =>
      this.#addresses.some(
        (o) => sameAddr(o.addr.addr, a) && (ifindex === undefined || o.ifindex === ifindex),
      ),
  });
  #nextIndex = 1;
  readonly #listeners = new Set<(hints: readonly Hint[], overrun: boolean) => void>();
  #pending: Hint[] = [];
  #isSilent = false;

  constructor() {
    this.addDevice('lo');
  }

  /** A device that is there by itself (an uplink, a bridge), up. Returns its ifindex. */
  addDevice(
    name: string,
    options: { readonly mac?: Mac; readonly mtu?: number; readonly type?: string } = {},
  ): number {
    const ifindex = this.#nextIndex++;
    const { mac, mtu = 1500, type } = options;
    this.#links.set(ifindex, {
      kind: 'link',
      ifindex,
      name,
      ...(type ? { type } : {}),
      ...(mac ? { mac } : {}),
      mtu,
      up: true,
      carrier: true,
    });
    this.#hint({ kind: 'link', ifindex });
    return ifindex;
  }

  // Questions.

  async links(ifindex?: number): Promise<readonly ObservedLink[]> {
    this.reads++;
    return [...this.#links.values()]
      .filter((o) => ifindex === undefined || o.ifindex === ifindex)
      .map((o) => ({ ...o }));
  }

  async linkNamed(name: string): Promise<ObservedLink | undefined> {
    this.reads++;
    const ifindex = this.#index(name);
    return ifindex === undefined ? undefined : { ...this.#links.get(ifindex)! };
  }

  async activate(): Promise<void> {}

  remember(): void {}

  async addresses(ifindex?: number): Promise<readonly ObservedAddress[]> {
    this.reads++;
    return this.#addresses
      .filter((o) => ifindex === undefined || o.ifindex === ifindex)
      .map((o) => ({ kind: 'address', dev: this.#name(o.ifindex), flags: 0x80, scope: 0, ...o }));
  }

  async neighs(ifindex: number): Promise<readonly ObservedNeigh[]> {
    this.reads++;
    return this.#neighs
      .filter((o) => o.ifindex === ifindex)
      .map((o) => ({ kind: 'neigh', dev: this.#name(ifindex), ...o }));
  }

  async fdb(ifindex: number): Promise<readonly ObservedFdb[]> {
    this.reads++;
    return this.#fdb
      .filter((o) => o.ifindex === ifindex)
      .map((o) => ({ kind: 'fdb', dev: this.#name(ifindex), ...o }));
  }

  async routes(
    query: RouteQuery,
    keep: (route: ObservedRoute) => boolean,
  ): Promise<readonly ObservedRoute[]> {
    this.reads++;
    return this.#fib.routes
      .filter((r) => r.dst.addr.family === query.family)
      .filter((r) => query.protocol === undefined || r.protocol === query.protocol)
      .filter((r) => query.oif === undefined || r.oif === query.oif)
      .map((r) => this.#shown(r))
      .filter(keep);
  }

  async wayTo(to: Addr): Promise<WayTo | undefined> {
    const dev = this.#addresses.find((o) => containsAddr(o.addr, to));
    return dev && { dev: this.#name(dev.ifindex), src: dev.addr.addr };
  }

  async sysctl(path: string): Promise<string | undefined> {
    this.reads++;
    return this.sysctls.get(path);
  }

  watch(onHints: (hints: readonly Hint[], overrun: boolean) => void): Watch {
    this.#listeners.add(onHints);
    return { close: () => this.#listeners.delete(onHints) };
  }

  /** Tell all watchers that notifications were lost. */
  overrun(): void {
    for (const listener of this.#listeners) listener([], true);
  }

  /** Whatever `work` does is not notified. */
  silent(work: () => void): void {
    this.#isSilent = true;
    work();
    this.#isSilent = false;
  }

  close(): void {}

  // Changes.

  async apply(ops: readonly Op[]): Promise<readonly (KernelError | undefined)[]> {
    const unmade = new Set<string>();
    return ops.map((op) => {
      const { object } = op;
      const dev = object.kind === 'link' ? undefined : object.dev;
      if (dev !== undefined && unmade.has(dev)) return refusal(op, 'ENODEV');
      const error = this.applyOne(op);
      if (error && op.verb === 'create' && object.kind === 'link') unmade.add(object.name);
      return error;
    });
  }

  /** One operation, at once. */
  applyOne(op: Op): KernelError | undefined {
    const code = this.fault(op) ?? this.#do(op);
    if (code === undefined) {
      this.log.push(op);
      return undefined;
    }
    return refusal(op, code);
  }

  #do(op: Op): string | undefined {
    switch (op.verb) {
      case 'create':
        if (op.object.kind === 'link') return this.#createLink(op.object);
        if (op.object.kind === 'address') return this.#createAddress(op.object);
        return this.#addRoute(op.object, 'create');
      case 'append':
        return op.object.kind === 'route' ? this.#addRoute(op.object, 'append') : this.#appendFdb(op.object);
      case 'put':
        return this.#put(op.object);
      case 'change':
        return this.#changeLink(op.object, op.observed.ifindex, op.change);
      case 'delete':
        return this.#delete(op.object);
    }
  }

  #createLink(o: Link): string | undefined {
    if (o.bridge || o.veth)
      throw new Error('bridges and veths are not modelled: test them on the real kernel');
    return o.tun ? this.#createTun(o) : this.#createVxlan(o);
  }

  /** Nobody reads from it: it has no carrier. */
  #createTun({ name, mtu, up, alias, tun }: TunLink): string | undefined {
    if (this.#index(name) !== undefined) return 'EEXIST';
    const ifindex = this.#nextIndex++;
    const bare = { kind: 'link', ifindex, name, type: 'tun', carrier: false } as const;
    // What it shall be is told it once it is there.
    const isPossible = isTunMtu(mtu);
    this.#links.set(
      ifindex,
      isPossible
        ? { ...bare, mtu, up, alias, tun: { suits: true, txqlen: tun.txqlen } }
        : { ...bare, mtu: 1500, up: false, tun: { suits: true, txqlen: 500 } },
    );
    this.#hint({ kind: 'link', ifindex });
    return isPossible ? undefined : 'EINVAL';
  }

  #createVxlan(o: VxlanLink): string | undefined {
    const underlay = this.#index(o.vxlan.underlay);
    if (underlay === undefined) return 'ENODEV';
    if (this.#index(o.name) !== undefined) return 'EEXIST';
    const { vni, port, local, learning, gbp } = o.vxlan;
    for (const { vxlan } of this.#links.values()) {
      if (vxlan?.vni === vni && vxlan.port === port && vxlan.local?.family === local.family) return 'EEXIST';
    }
    const ifindex = this.#nextIndex++;
    this.#links.set(ifindex, {
      kind: 'link',
      ifindex,
      name: o.name,
      type: 'vxlan',
      mac: o.mac,
      // At birth more than fits is cut without a word; later it is refused.
      mtu: Math.min(o.mtu, this.#links.get(underlay)!.mtu - HEADROOM[local.family]),
      up: o.up,
      carrier: o.up,
      alias: o.alias,
      vxlan: { vni, port, local, underlay, learning, gbp, txChecksum: o.txChecksum ?? true },
    });
    this.#hint({ kind: 'link', ifindex });
    return undefined;
  }

  #changeLink(o: Link, ifindex: number, change: LinkChange) {
    const link = this.#links.get(ifindex);
    if (!link) return 'ENODEV';
    if (change.vxlan && link.vxlan && o.vxlan) {
      const underlay = this.#index(o.vxlan.underlay);
      if (underlay === undefined) return 'ENODEV';
      const { vni, local, learning } = o.vxlan;
      if (link.vxlan.vni !== vni) return 'EOPNOTSUPP';
      if (link.vxlan.local && link.vxlan.local.family !== local.family) return 'EOPNOTSUPP';
      link.vxlan = { ...link.vxlan, local, learning, underlay };
      link.mtu = Math.min(link.mtu, this.#links.get(underlay)!.mtu - HEADROOM[local.family]);
    }
    if (change.mac && o.mac !== undefined) {
      link.mac = o.mac;
      this.#neighs = this.#neighs.filter((n) => n.ifindex !== ifindex);
    }
    this.#hint({ kind: 'link', ifindex });
    if (change.mtu) {
      const lower = link.vxlan?.underlay === undefined ? undefined : this.#links.get(link.vxlan.underlay);
      if (lower && o.mtu > lower.mtu - HEADROOM[link.vxlan!.local?.family ?? 4]) return 'EINVAL';
      if (link.tun && !isTunMtu(o.mtu)) return 'EINVAL';
      link.mtu = o.mtu;
      if (o.mtu < IPV6_MTU) this.#endIpv6(ifindex);
    }
    if (change.txqlen && o.tun && link.tun) link.tun = { ...link.tun, txqlen: o.tun.txqlen };
    if (change.txChecksum && o.vxlan && link.vxlan && o.txChecksum !== undefined)
      link.vxlan = { ...link.vxlan, txChecksum: o.txChecksum };
    if (change.alias) link.alias = o.alias;
    if (change.up && link.up !== o.up) this.#setUp(link, o.up);
    return undefined;
  }

  #setUp(link: Mutable<ObservedLink>, up: boolean): void {
    const { ifindex } = link;
    link.up = up;
    link.carrier = up && !link.tun;
    if (up) {
      for (const { addr } of this.#addresses.filter((o) => o.ifindex === ifindex))
        this.#connect(ifindex, addr);
      return;
    }
    this.#neighs = this.#neighs.filter((n) => n.ifindex !== ifindex);
    this.#addresses = this.#addresses.filter((o) => o.ifindex !== ifindex || o.addr.addr.family === 4);
    this.#fib.drop((r) => r.oif === ifindex);
  }

  #hasIpv6(ifindex: number): boolean {
    return this.#links.get(ifindex)!.mtu >= IPV6_MTU;
  }

  /** An MTU below IPv6's least takes IPv6 away from a device. */
  #endIpv6(ifindex: number): void {
    this.#addresses = this.#addresses.filter((o) => o.ifindex !== ifindex || o.addr.addr.family === 4);
    this.#neighs = this.#neighs.filter((n) => n.ifindex !== ifindex || n.addr.family === 4);
    this.#fib.drop((r) => r.oif === ifindex && r.dst.addr.family === 6);
  }

  /** The route to an address's own prefix: IPv6 makes one for a host address too, IPv4 does not. */
  #connect(ifindex: number, addr: Prefix): void {
    const { family } = addr.addr;
    if (!this.#links.get(ifindex)!.up || (family === 4 && addr.len === 32)) return;
    this.#fib.connect({
      type: 'unicast',
      dst: network(addr),
      via: undefined,
      oif: ifindex,
      onlink: false,
      protocol: PROTOCOL_KERNEL,
      metric: family === 4 ? 0 : 256,
      mtu: undefined,
      src: family === 4 ? addr.addr : undefined,
      scope: family === 4 ? SCOPE_LINK : 0,
    });
  }

  #createAddress({ dev, addr }: Address): string | undefined {
    const ifindex = this.#index(dev);
    if (ifindex === undefined) return 'ENODEV';
    const { family } = addr.addr;
    if (family === 6 && !this.#hasIpv6(ifindex)) return 'EINVAL';
    const taken = this.#addresses.some(
      (o) =>
        o.ifindex === ifindex &&
        sameAddr(o.addr.addr, addr.addr) &&
        (family === 6 || o.addr.len === addr.len),
    );
    if (taken) return 'EEXIST';
    this.#addresses.push({ ifindex, addr });
    this.#connect(ifindex, addr);
    this.#hint({ kind: 'address', ifindex, family });
    return undefined;
  }

  #deleteAddress({ ifindex, addr }: ObservedAddress): string | undefined {
    if (!this.#links.has(ifindex)) return 'ENODEV';
    const index = this.#addresses.findIndex((o) => o.ifindex === ifindex && samePrefix(o.addr, addr));
    if (index < 0) return 'EADDRNOTAVAIL';
    this.#addresses.splice(index, 1);
    const { family } = addr.addr;
    const left = this.#addresses.filter((o) => o.ifindex === ifindex && o.addr.addr.family === family);
    this.#fib.drop(
      (r) =>
        r.oif === ifindex &&
        r.protocol === PROTOCOL_KERNEL &&
        samePrefix(r.dst, network(addr)) &&
        !left.some((o) => samePrefix(network(o.addr), r.dst)),
    );
    // The last IPv4 address: IPv4 is over on this device.
    if (family === 4 && left.length === 0) {
      this.#fib.drop((r) => r.oif === ifindex && r.dst.addr.family === 4);
      this.#neighs = this.#neighs.filter((n) => n.ifindex !== ifindex || n.addr.family === 6);
    }
    this.#hint({ kind: 'address', ifindex, family });
    return undefined;
  }

  #put(o: Neigh | Fdb | Sysctl): string | undefined {
    if (o.kind === 'sysctl') {
      if (!this.sysctls.has(o.path)) return 'ENOENT';
      this.sysctls.set(o.path, o.value);
      return undefined;
    }
    const ifindex = this.#index(o.dev);
    if (ifindex === undefined) return 'ENODEV';
    if (o.kind === 'neigh') {
      this.#neighs = this.#neighs.filter((n) => n.ifindex !== ifindex || !sameAddr(n.addr, o.addr));
      this.#neighs.push({ ifindex, addr: o.addr, mac: o.mac });
      this.#hint({ kind: 'neigh', ifindex, family: o.addr.family });
      return undefined;
    }
    if (!this.#takesFdb(ifindex, o.dst)) return 'EAFNOSUPPORT';
    if (!isUnicast(o.mac)) return 'EOPNOTSUPP';
    const there = this.#fdb.find((e) => e.ifindex === ifindex && e.mac === o.mac);
    this.#fdb = this.#fdb.filter((e) => e !== there);
    this.#fdb.push({ ifindex, mac: o.mac, dst: o.dst });
    this.#hint({ kind: 'fdb', ifindex });
    return undefined;
  }

  #appendFdb({ dev, mac, dst }: Fdb): string | undefined {
    const ifindex = this.#index(dev);
    if (ifindex === undefined) return 'ENODEV';
    if (!this.#takesFdb(ifindex, dst)) return 'EAFNOSUPPORT';
    const there = this.#fdb.filter((e) => e.ifindex === ifindex && e.mac === mac);
    // To a unicast MAC nothing is appended, and nothing is said about it.
    const isNew = there.length === 0 || (!isUnicast(mac) && !there.some((e) => sameAddr(e.dst, dst)));
    if (isNew) this.#fdb.push({ ifindex, mac, dst });
    this.#hint({ kind: 'fdb', ifindex });
    return undefined;
  }

  #takesFdb(ifindex: number, dst: Addr): boolean {
    const { vxlan } = this.#links.get(ifindex)!;
    return vxlan !== undefined && (vxlan.local?.family ?? 4) === dst.family;
  }

  #addRoute(o: Route, how: 'create' | 'append'): string | undefined {
    const r = this.#fibRoute(o);
    if (!r) return 'ENODEV';
    const refusal = this.#fib.add(r, how);
    if (!refusal) this.#hint({ kind: 'route', ifindex: r.oif ?? 0, family: o.dst.addr.family });
    return refusal;
  }

  #delete(o: Doomed): string | undefined {
    switch (o.kind) {
      case 'link':
        if (!this.#links.has(o.ifindex)) return 'ENODEV';
        this.deleteDevice(o.ifindex);
        return undefined;
      case 'address':
        return this.#deleteAddress(o);
      case 'neigh': {
        if (!this.#links.has(o.ifindex)) return 'ENODEV';
        const left = this.#neighs.filter((n) => n.ifindex !== o.ifindex || !sameAddr(n.addr, o.addr));
        if (left.length === this.#neighs.length) return 'ENOENT';
        this.#neighs = left;
        this.#hint({ kind: 'neigh', ifindex: o.ifindex, family: o.addr.family });
        return undefined;
      }
      case 'fdb': {
        if (!this.#links.has(o.ifindex)) return 'ENODEV';
        const same = this.#fdb.filter((e) => e.ifindex === o.ifindex && e.mac === o.mac);
        if (same.length === 0) return 'ENOENT';
        // A remote that the MAC does not have is deleted successfully.
        const left = this.#fdb.filter((e) => !same.includes(e) || !sameAddr(e.dst, o.dst));
        this.#fdb = left;
        this.#hint({ kind: 'fdb', ifindex: o.ifindex });
        return undefined;
      }
      case 'route': {
        const r = this.#fibRoute(o);
        if (!r) return 'ENODEV';
        const refusal = this.#fib.remove(r);
        if (!refusal) this.#hint({ kind: 'route', ifindex: r.oif ?? 0, family: o.dst.addr.family });
        return refusal;
      }
    }
  }

  /** A device goes, with all that stands on it and the VXLAN devices above it. */
  deleteDevice(ifindex: number): void {
    for (const { ifindex: upper, vxlan } of [...this.#links.values()]) {
      if (vxlan?.underlay === ifindex) this.deleteDevice(upper);
    }
    this.#links.delete(ifindex);
    this.#addresses = this.#addresses.filter((o) => o.ifindex !== ifindex);
    this.#neighs = this.#neighs.filter((o) => o.ifindex !== ifindex);
    this.#fdb = this.#fdb.filter((o) => o.ifindex !== ifindex);
    this.#fib.drop((r) => r.oif === ifindex);
    this.#hint({ kind: 'link', ifindex });
  }

  #fibRoute(o: Route | ObservedRoute): FibRoute | undefined {
    const { family } = o.dst.addr;
    const isBlackhole = o.type === 'blackhole';
    const oif = isBlackhole || o.dev === undefined ? undefined : this.#index(o.dev);
    if (oif === undefined && !isBlackhole) return undefined;
    return {
      type: o.type,
      dst: o.dst,
      via: o.via,
      oif,
      onlink: o.onlink,
      protocol: o.protocol,
      metric: o.metric ?? DEFAULT_METRIC[family],
      mtu: o.mtu,
      src: undefined,
      scope: family === 4 && !isBlackhole && !o.via ? SCOPE_LINK : 0,
    };
  }

  #shown(r: FibRoute): ObservedRoute {
    const { family } = r.dst.addr;
    return {
      kind: 'route',
      type: r.type,
      dst: r.dst,
      ...(r.via ? { via: r.via } : {}),
      ...(r.oif === undefined ? {} : { dev: this.#name(r.oif), ifindex: r.oif }),
      onlink: r.onlink,
      protocol: r.protocol,
      ...(r.metric === DEFAULT_METRIC[family] ? {} : { metric: r.metric }),
      ...(r.mtu === undefined ? {} : { mtu: r.mtu }),
      rtmType: r.type === 'blackhole' ? 6 : 1,
      scope: r.scope,
      tos: 0,
      ...(r.src ? { src: r.src } : {}),
      odd: r.src !== undefined,
    };
  }

  #index(name: string): number | undefined {
    for (const link of this.#links.values()) if (link.name === name) return link.ifindex;
    return undefined;
  }

  #name(ifindex: number): string {
    return this.#links.get(ifindex)?.name ?? `gone${ifindex}`;
  }

  /** Notifications come later, and only for what was asked for: what goes along goes silently. */
  #hint(hint: Hint): void {
    if (this.#isSilent) return;
    this.#pending.push(hint);
    if (this.#pending.length > 1) return;
    setImmediate(() => {
      const hints = this.#pending;
      this.#pending = [];
      for (const listener of this.#listeners) listener(hints, false);
    });
  }
}
