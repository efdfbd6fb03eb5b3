import { type Addr, sameAddr } from '../../src/net/addr.ts';
import { containsAddr, type Prefix, samePrefix } from '../../src/net/prefix.ts';

/** One route of the model's main table. */
export interface FibRoute {
  readonly type: 'unicast' | 'blackhole';
  readonly dst: Prefix;
  readonly via: Addr | undefined;
  /** ifindex; undefined for blackholes. */
  readonly oif: number | undefined;
  readonly onlink: boolean;
  readonly protocol: number;
  /** As the kernel has it: 0 for IPv4's default, 1024 for IPv6's. */
  readonly metric: number;
  readonly mtu: number | undefined;
  readonly src: Addr | undefined;
  readonly scope: number;
}

/** What the routing code asks of the rest of the model. */
export interface FibHost {
  isUp(ifindex: number): boolean;
  /** Is there IPv6 on the device? */
  hasIpv6(ifindex: number): boolean;
  /** Is this one of the host's own addresses (on this device, if one is named)? */
  isLocal(a: Addr, ifindex?: number): boolean;
}

export const DEFAULT_METRIC = { 4: 0, 6: 1024 } as const;

const sameKey = (a: FibRoute, b: { dst: Prefix; metric: number }): boolean =>
  samePrefix(a.dst, b.dst) && a.metric === b.metric;

const sameInfo = (a: FibRoute, b: FibRoute): boolean =>
  a.type === b.type &&
  sameAddr(a.via, b.via) &&
  a.oif === b.oif &&
  a.onlink === b.onlink &&
  a.protocol === b.protocol &&
  a.mtu === b.mtu &&
  a.scope === b.scope;

/** The main tables of both families, with the kernel's own refusals; errors are errno names. */
export class Fib {
  readonly routes: FibRoute[] = [];
  readonly #host: FibHost;

  constructor(host: FibHost) {
    this.#host = host;
  }

  /** net/ipv4/fib_semantics.c fib_check_nh, net/ipv6/route.c ip6_route_check_nh(_onlink), ip6_validate_gw. */
  #refusal(r: FibRoute): string | undefined {
    if (r.type === 'blackhole' || r.oif === undefined) return undefined;
    if (r.dst.addr.family === 6 && !this.#host.hasIpv6(r.oif)) return 'ENODEV';
    // A gateway that is not on the link by decree is looked for first, the state of its device comes last.
    const early = r.via && r.onlink ? this.#down(r.oif) : undefined;
    return early ?? (r.via && this.#gatewayRefusal(r.via, r.oif, r.onlink)) ?? this.#down(r.oif);
  }

  #down(ifindex: number): string | undefined {
    return this.#host.isUp(ifindex) ? undefined : 'ENETDOWN';
  }

  #gatewayRefusal(via: Addr, oif: number, onlink: boolean): string | undefined {
    const connected = () => this.routes.some((o) => !o.via && o.oif === oif && containsAddr(o.dst, via));
    if (via.family === 4) {
      if (onlink) return this.#host.isLocal(via) ? 'EINVAL' : undefined;
      return this.#host.isLocal(via, oif) || connected() ? undefined : 'ENETUNREACH';
    }
    if (this.#host.isLocal(via)) return 'EINVAL';
    if (!onlink) return connected() ? undefined : 'EHOSTUNREACH';
    const covering = this.#best(via);
    const elsewhere = covering.filter((o) => o.dst.len > 0 && o.type === 'unicast' && o.oif !== oif);
    // Of several equal ones the lookup prefers the one on the device.
    return elsewhere.length > 0 && elsewhere.length === covering.length ? 'EINVAL' : undefined;
  }

  /** The routes of the longest prefix that covers an address, those of the least metric. */
  #best(a: Addr): readonly FibRoute[] {
    const covering = this.routes.filter((r) => containsAddr(r.dst, a));
    const len = Math.max(...covering.map((r) => r.dst.len));
    const longest = covering.filter((r) => r.dst.len === len);
    const metric = Math.min(...longest.map((r) => r.metric));
    return longest.filter((r) => r.metric === metric);
  }

  /** NLM_F_CREATE with NLM_F_EXCL or NLM_F_APPEND. */
  add(r: FibRoute, how: 'create' | 'append'): string | undefined {
    const refusal = this.#refusal(r);
    if (refusal) return refusal;
    const rivals = this.routes.filter((o) => sameKey(o, r));
    if (how === 'create' && rivals.length > 0) return 'EEXIST';
    if (rivals.some((o) => sameInfo(o, r))) return 'EEXIST';
    this.routes.push(r);
    return undefined;
  }

  /** What the kernel puts by itself, beside whatever has the prefix. */
  connect(r: FibRoute): void {
    if (!this.routes.some((o) => sameKey(o, r) && sameInfo(o, r))) this.routes.push(r);
  }

  /** The first match goes; what is not given matches anything, a metric of 0 in IPv4 too. */
  remove(r: FibRoute): string | undefined {
    const { family } = r.dst.addr;
    const matching = this.routes.filter(
      (o) =>
        samePrefix(o.dst, r.dst) &&
        o.protocol === r.protocol &&
        (o.metric === r.metric || (family === 4 && r.metric === 0)) &&
        (r.via === undefined || sameAddr(o.via, r.via)) &&
        (r.oif === undefined || o.oif === r.oif) &&
        (family === 6 || (o.type === r.type && (r.mtu === undefined || o.mtu === r.mtu))),
    );
    // Aliases of one prefix are ordered by metric, then by age.
    matching.sort((a, b) => a.metric - b.metric);
    const victim = matching[0];
    if (!victim) return 'ESRCH';
    this.routes.splice(this.routes.indexOf(victim), 1);
    return undefined;
  }

  drop(doomed: (r: FibRoute) => boolean): void {
    for (let i = this.routes.length - 1; i >= 0; i--) if (doomed(this.routes[i]!)) this.routes.splice(i, 1);
  }
}
