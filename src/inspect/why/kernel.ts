import { KernelError } from '../../errors.ts';
import { NetlinkKernel } from '../../kernel/netlinkKernel.ts';
import type { ObservedAddress, ObservedLink } from '../../kernel/observed.ts';
import type { Addr, Family } from '../../net/addr.ts';
import { bits, formatAddr } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';
import { containsAddr } from '../../net/prefix.ts';
import {
  AF_BRIDGE,
  afOf,
  NTF_SELF,
  neigh,
  type RouteAttributes,
  RTM_F_CLONED,
  type Rtm,
  route,
} from '../../netlink/rtnl.ts';
import { type IpRule, readRule, rule } from './ipRules.ts';
import { type FoundRoute, NUD_STATES, REFUSALS, readRoute } from './kernelWords.ts';

/** Questions to the kernel, by netlink; each is one request, and none changes anything. */

/** What RTM_GETROUTE says: the route that is taken, or the kernel's own words why there is none. */
export type RouteAnswer =
  | { readonly route: FoundRoute }
  | { readonly refused: string; readonly code: string };

/** What a packet is, as far as a route depends on it. */
export interface Flow {
  readonly to: Addr;
  readonly from?: Addr | undefined;
  /** It comes in there; absent: it is this host's own. */
  readonly iif?: number | undefined;
  readonly mark?: number | undefined;
  readonly proto?: number | undefined;
}

/** A neighbour in any state. */
export interface FoundNeigh {
  readonly mac: Mac | undefined;
  /** NUD_* as `ip neigh` names them, e.g. `REACHABLE`. */
  readonly state: string;
}

/** An entry of a forwarding database. */
export interface FoundFdb {
  readonly dst: Addr | undefined;
  /** The port it is behind. */
  readonly port: string | undefined;
  readonly permanent: boolean;
}

/** linux/rtnetlink.h: tell the table, and the route as it was configured. */
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTM_F_FIB_MATCH = 0x2000;

/** The kernel of this host; close it at the end. */
export class Inquiry {
  readonly kernel: NetlinkKernel;
  #names = new Map<number, string>();

  constructor(kernel: NetlinkKernel = NetlinkKernel.open()) {
    this.kernel = kernel;
  }

  async links(): Promise<readonly ObservedLink[]> {
    const links = await this.kernel.links();
    this.#names = new Map(links.map((l) => [l.ifindex, l.name]));
    return links;
  }

  addresses(): Promise<readonly ObservedAddress[]> {
    return this.kernel.addresses();
  }

  /** Ask by which route a packet would go. Call {@link links} before. */
  async way({ to, from, iif, mark, proto }: Flow): Promise<RouteAnswer> {
    const whole = bits(to.family);
    const header: Partial<Rtm> = {
      rtm_family: afOf(to.family),
      rtm_dst_len: whole,
      ...(from ? { rtm_src_len: whole } : {}),
      // IPv6 always tells the table, and refuses to be asked for it.
      rtm_flags: to.family === 4 ? RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH : RTM_F_FIB_MATCH,
    };
    const attributes: RouteAttributes = {
      RTA_DST: to,
      ...(from ? { RTA_SRC: from } : {}),
      ...(iif === undefined ? {} : { RTA_IIF: iif }),
      ...(mark ? { RTA_MARK: mark } : {}),
      ...(proto === undefined ? {} : { RTA_IP_PROTO: proto }),
    };
    try {
      const message = await this.kernel.socket.get(route.get(header, attributes));
      if (message) return { route: readRoute(message, to.family, this.#names) };
      return { refused: `no route to ${formatAddr(to)}`, code: 'ESRCH' };
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return { refused: REFUSALS[error.code] ?? error.code, code: error.code };
    }
  }

  /** All configured routes that lead to an address, of all tables, the longest prefixes first. */
  async routesTo(to: Addr): Promise<readonly FoundRoute[]> {
    const found = await this.kernel.socket.dump(route.dump({ rtm_family: afOf(to.family) }), (message) => {
      const { header: h, attributes: a } = message;
      if ((h.rtm_flags & RTM_F_CLONED) !== 0) return undefined;
      const dst = a.RTA_DST ?? { family: to.family, value: 0n };
      return containsAddr({ addr: dst, len: h.rtm_dst_len }, to)
        ? readRoute(message, to.family, this.#names)
        : undefined;
    });
    return found.sort((a, b) => b.dst.len - a.dst.len || a.metric - b.metric);
  }

  async rules(family: Family): Promise<readonly IpRule[]> {
    const rules = await this.kernel.socket.dump(rule.dump({ family: afOf(family) }), readRule);
    return rules.sort((a, b) => a.priority - b.priority);
  }

  async neighbour(ifindex: number, addr: Addr): Promise<FoundNeigh | undefined> {
    const message = await this.kernel.socket.get(
      neigh.get({ ndm_family: afOf(addr.family), ndm_ifindex: ifindex }, { NDA_DST: addr }),
    );
    if (!message) return undefined;
    const { ndm_state: bitsSet } = message.header;
    return {
      mac: message.attributes.NDA_LLADDR,
      state: NUD_STATES.find(([bit]) => (bitsSet & bit) !== 0)?.[1] ?? 'NONE',
    };
  }

  /** Of a VXLAN device. */
  async vxlanFdb(ifindex: number, mac: Mac): Promise<FoundFdb | undefined> {
    return this.#fdb(
      { ndm_family: AF_BRIDGE, ndm_ifindex: ifindex, ndm_flags: NTF_SELF },
      { NDA_LLADDR: mac },
    );
  }

  /** Of a bridge. */
  async bridgeFdb(bridge: number, mac: Mac): Promise<FoundFdb | undefined> {
    return this.#fdb({ ndm_family: AF_BRIDGE }, { NDA_LLADDR: mac, NDA_MASTER: bridge });
  }

  async #fdb(...args: Parameters<typeof neigh.get>): Promise<FoundFdb | undefined> {
    const message = await this.kernel.socket.get(neigh.get(...args));
    if (!message) return undefined;
    return {
      dst: message.attributes.NDA_DST,
      port: this.#names.get(message.header.ndm_ifindex),
      permanent: (message.header.ndm_state & 0x80) !== 0,
    };
  }

  sysctl(path: string): Promise<string | undefined> {
    return this.kernel.sysctl(path);
  }

  close(): void {
    this.kernel.close();
  }
}
