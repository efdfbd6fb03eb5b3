import type { Addr, Family } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { Address, Fdb, Neigh, Route } from './types.ts';

/**
 * What the kernel was seen to hold. An observed object is a desired one plus what only the kernel knows: the ifindex,
 * and whatever has no place in the desired type. Links are all kept, whoever made them: others' devices are facts.
 */

/** A VXLAN device's attributes as the kernel tells them. */
export interface ObservedVxlan {
  readonly vni: number;
  /** UDP port, host order. */
  readonly port: number;
  readonly local?: Addr;
  /** ifindex of the underlay device; names can change under us. */
  readonly underlay?: number;
  /** The default destination (`remote` or `group` of ip-link): ours never have one. */
  readonly remote?: Addr;
  readonly learning: boolean;
  readonly gbp: boolean;
  /** Does it fill in checksums that senders leave to it? Undefined: nobody has asked, or it cannot be told. */
  readonly txChecksum?: boolean;
}

/** A TUN or TAP device's attributes as the kernel tells them. */
export interface ObservedTun {
  /** A TUN, with all that ours have (see Tun in types.ts). */
  readonly suits: boolean;
  /** IFLA_TXQLEN, packets. */
  readonly txqlen: number;
}

/** Any link of the namespace. */
export interface ObservedLink {
  readonly kind: 'link';
  readonly ifindex: number;
  readonly name: string;
  /** IFLA_INFO_KIND, e.g. `vxlan`, `bridge`; undefined for hardware and `lo`. */
  readonly type?: string;
  /** Undefined when the device has no 48-bit address. */
  readonly mac?: Mac;
  /** Bytes. */
  readonly mtu: number;
  /** IFF_UP: what the administrator wants. */
  readonly up: boolean;
  /** IFF_LOWER_UP: what the wire says. */
  readonly carrier: boolean;
  readonly alias?: string;
  /** Present when `type` is `vxlan` and its attributes could be read. */
  readonly vxlan?: ObservedVxlan;
  /** Present when `type` is `tun` and its attributes could be read. */
  readonly tun?: ObservedTun;
  /** ifindex of the bridge (or bond, …) it is a port of. */
  readonly master?: number;
  /** Of a port of a bridge: frames may leave by where they came from. */
  readonly hairpin?: boolean;
  /** Of a veth: ifindex of its other end, in the namespace of that. */
  readonly peer?: number;
}

/** Any address of the namespace. */
export interface ObservedAddress extends Address {
  readonly ifindex: number;
  /** ifa_flags (linux/if_addr.h), e.g. IFA_F_PERMANENT 0x80, IFA_F_DEPRECATED 0x20, IFA_F_TENTATIVE 0x40. */
  readonly flags: number;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** The other end of a point-to-point address. */
  readonly peer?: Addr;
}

/** A PERMANENT neighbour on one of our devices. */
export interface ObservedNeigh extends Neigh {
  readonly ifindex: number;
}

/** One remote of a permanent FDB entry on one of our devices; a MAC with two remotes is two of these. */
export interface ObservedFdb extends Omit<Fdb, 'dst'> {
  readonly ifindex: number;
  /** Undefined when the entry has no destination address (a nexthop group). */
  readonly dst?: Addr;
  /** Present when it has a port, VNI or device (ifindex) of its own, which ours never have. */
  readonly odd?: {
    readonly port: number | undefined;
    readonly vni: number | undefined;
    readonly via: number | undefined;
  };
}

/** A route of the main table that matters to us; keepRoute (route.ts) says which do. */
export interface ObservedRoute extends Route {
  /** Of the outgoing device; undefined for IPv4 blackholes and multipath routes. */
  readonly ifindex?: number;
  /** RTN_* (linux/rtnetlink.h); `type` is `unicast` for anything but a blackhole. */
  readonly rtmType: number;
  /** RT_SCOPE_* (IPv4): 253 link is an on-link prefix. */
  readonly scope: number;
  /** Type of service; not 0 makes it another route than one of ours with the same key. */
  readonly tos: number;
  /** RTA_PREFSRC. */
  readonly src?: Addr;
  /** It has something ours never have: several next hops, an encapsulation, metrics other than the MTU, … */
  readonly odd: boolean;
}

/** Which routes of the main table to list; the kernel does the filtering (NETLINK_GET_STRICT_CHK). */
export interface RouteQuery {
  readonly family: Family;
  /** rtm_protocol; all if absent. */
  readonly protocol?: number;
  /** ifindex of the outgoing device; all if absent. */
  readonly oif?: number;
}
