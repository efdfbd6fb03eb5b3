import { memo } from '../memo.ts';
import type { Addr } from '../net/addr.ts';
import { formatAddr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import { formatPrefix, type Prefix } from '../net/prefix.ts';

/**
 * Kernel objects as plain values. Desired and observed state use the same types; devices are named, never numbered,
 * and the reconciler resolves names to ifindex at the last moment.
 */

/** VXLAN attributes (linux/if_link.h IFLA_VXLAN_*). `vni`, `port` and `gbp` are immutable: a change is delete + create. */
export interface Vxlan {
  readonly vni: number;
  /** Destination UDP port, host order. */
  readonly port: number;
  /** Outer source address. */
  readonly local: Addr;
  /** Name of the underlay device. */
  readonly underlay: string;
  readonly learning: boolean;
  readonly gbp: boolean;
}

/**
 * What can be wished of a TUN device. Always wished for, and immutable: TUN and not TAP, no packet information header,
 * virtio_net headers, many queues, persistent (linux/if_tun.h).
 */
export interface Tun {
  /** Packets that wait in each queue for somebody to read them (IFLA_TXQLEN). */
  readonly txqlen: number;
}

/** How the other end of a veth is made together with this one; from then on it is an object of the other namespace. */
export interface VethPeer {
  /** Descriptor of the namespace it is born in. */
  readonly netnsFd: number;
  readonly name: string;
  readonly mac: Mac;
  readonly mtu: number;
}

/** One end of a veth. */
export interface Veth {
  /** Absent: this end comes with the other, in another namespace, and is put right here, but never made. */
  readonly peer?: VethPeer;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** Of a port: frames may leave by where they came from (IFLA_BRPORT_MODE), so that a pod reaches itself by a service. */
  readonly hairpin?: boolean;
}

interface AnyLink {
  readonly kind: 'link';
  readonly name: string;
  /** Bytes of inner packet. */
  readonly mtu: number;
  readonly up: boolean;
  /** IFLA_IFALIAS; LINK_ALIAS marks a link as ours. */
  readonly alias: string;
}

export interface VxlanLink extends AnyLink {
  readonly mac: Mac;
  readonly vxlan: Vxlan;
  /** Does it fill in checksums that senders leave to it (tx-checksum-ip-generic of `ethtool -k`)? Absent: as it is. */
  readonly txChecksum?: boolean;
  readonly tun?: undefined;
  readonly bridge?: undefined;
  readonly veth?: undefined;
}

/** It carries bare IP packets: there is no MAC. */
export interface TunLink extends AnyLink {
  readonly tun: Tun;
  readonly vxlan?: undefined;
  readonly mac?: undefined;
  readonly bridge?: undefined;
  readonly veth?: undefined;
}

/** A bridge with a MAC of its own: without, it would take that of a port, and change it as ports come and go. */
export interface BridgeLink extends AnyLink {
  readonly mac: Mac;
  readonly bridge: true;
  readonly vxlan?: undefined;
  readonly tun?: undefined;
  readonly veth?: undefined;
}

export interface VethLink extends AnyLink {
  readonly mac: Mac;
  readonly veth: Veth;
  readonly vxlan?: undefined;
  readonly tun?: undefined;
  readonly bridge?: undefined;
}

export type Link = VxlanLink | TunLink | BridgeLink | VethLink;

/** An address on a device (rtm_newaddr). `addr` keeps its host bits. */
export interface Address {
  readonly kind: 'address';
  readonly dev: string;
  readonly addr: Prefix;
}

/** A PERMANENT neighbour: who has this address on the overlay segment. */
export interface Neigh {
  readonly kind: 'neigh';
  readonly dev: string;
  readonly addr: Addr;
  readonly mac: Mac;
}

/** A permanent `self` FDB entry of a VXLAN device: behind which VTEP this MAC lives. */
export interface Fdb {
  readonly kind: 'fdb';
  readonly dev: string;
  readonly mac: Mac;
  readonly dst: Addr;
}

/** A route in the main table. */
export interface Route {
  readonly kind: 'route';
  readonly type: 'unicast' | 'blackhole';
  readonly dst: Prefix;
  readonly via?: Addr;
  /** Absent for blackholes. */
  readonly dev?: string;
  readonly onlink: boolean;
  /** rtm_protocol. Desired routes carry ROUTE_PROTOCOL. */
  readonly protocol: number;
  /** RTA_PRIORITY; undefined is the kernel's default (0 for IPv4, 1024 for IPv6). */
  readonly metric?: number;
  /** RTAX_MTU lowered for this destination. */
  readonly mtu?: number;
  /** Parts of `dst` in which addresses on other devices of this host are in their place. Nothing of it goes to the kernel. */
  readonly home?: readonly Prefix[];
}

/** A value below /proc/sys, in the daemon's network namespace, e.g. `net/ipv6/conf/flannel.1/accept_ra`. */
export interface Sysctl {
  readonly kind: 'sysctl';
  readonly path: string;
  readonly value: string;
  /** The device whose creation resets it, if any. */
  readonly dev?: string;
}

export type KernelObject = Link | Address | Neigh | Fdb | Route | Sysctl;
export type KindName = KernelObject['kind'];

/** The device an object is, or stands on. */
export const subjectOf = (o: KernelObject): string | undefined => (o.kind === 'link' ? o.name : o.dev);

/** Put in this order, deleted in reverse. */
export const KIND_ORDER: readonly KindName[] = ['link', 'sysctl', 'address', 'neigh', 'fdb', 'route'];

/** What tells our objects from others'. */
export interface Owner {
  /** Devices this daemon makes or adopts, e.g. `flannel.1`. */
  readonly devices: ReadonlySet<string>;
  /** rtm_protocol of its routes. Absent: ROUTE_PROTOCOL, and what flanneld has left on the devices. */
  readonly protocols?: ReadonlySet<number>;
}

/** Identity of an object: two objects with one key cannot both exist in the kernel. */
export const objectKey = (o: KernelObject): string => keyWords(o).join(' ');

// Joined at once, for a text put together by `+` or a template holds on to its parts, and keys are kept by the thousand.
function keyWords(o: KernelObject): readonly unknown[] {
  switch (o.kind) {
    case 'link':
      return ['link', o.name];
    case 'address':
      return ['address', formatPrefix(o.addr), 'dev', o.dev];
    case 'neigh':
      return ['neigh', formatAddr(o.addr), 'dev', o.dev];
    case 'fdb':
      return ['fdb', o.mac, 'dev', o.dev];
    case 'route':
      return ['route', formatPrefix(o.dst), 'metric', o.metric ?? 0];
    case 'sysctl':
      return ['sysctl', o.path];
  }
}

/** The key of an object that is wished for again and again: it is made once for each object. */
export const keyOf = memo(objectKey);
