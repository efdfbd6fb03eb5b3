import type { Problem } from '../errors.ts';
import type { KernelObject, Route } from '../kernel/types.ts';
import type { Addr, Family } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { Prefix } from '../net/prefix.ts';
import type {
  BackendData,
  BackendType,
  Lease,
  LeaseView,
  NetworkConfig,
  SubnetKey,
} from '../subnet/types.ts';

/** The interface whose addresses peers send to. */
export interface Uplink {
  readonly name: string;
  readonly mtu: number;
  /** Addresses with their on-link prefix lengths. */
  readonly addrs: readonly Prefix[];
  /** `net.ipv6.conf.<name>.accept_ra` as found; undefined: not known, or the kernel has no IPv6. */
  readonly acceptRa?: number;
}

/** What a backend may know of this host. A value: facts that change make a new one. */
export interface HostFacts {
  readonly uplink: Uplink;
  /** The addresses peers reach us by (PublicIP, PublicIPv6): the uplink's unless set by option. */
  readonly publicAddrs: ReadonlyMap<Family, Addr>;
  /** Addresses on the uplink itself, by family: what a tunnel binds to. */
  readonly localAddrs: ReadonlyMap<Family, Addr>;
  /** The MAC a device of ours must have: the adopted one, else derived from node id and name. */
  readonly mac: (device: string) => Mac;
  /** True when the kernel would send to this address without a gateway, on the uplink. */
  readonly onLink: (a: Addr) => boolean;
  /** Addresses the underlay must go on reaching (gateways, etcd): no peer's subnet may cover one. */
  readonly reserved?: readonly Addr[];
}

/** Something about a peer that keeps it from being served; shown in status, logged once. */
export interface PeerProblem {
  readonly lease: Lease;
  readonly reason: string;
}

/** How packets get to one family of a peer that is served: what can be asked to see whether they do. */
export interface PeerPath {
  readonly key: SubnetKey;
  readonly family: Family;
  /** The peer's own end of the tunnel; where there is no tunnel its address on the underlay. */
  readonly addr: Addr;
  /** The device that carries packets to it, and bytes of the largest that this takes. */
  readonly dev: string;
  readonly mtu: number;
  /** Is that a device of ours that fills in checksums which senders leave to it? */
  readonly offloads: boolean;
  /** Where on the underlay packets to it go, and (vxlan) the MAC of its end. */
  readonly via: Addr;
  readonly mac?: Mac;
}

/** What a backend wants from the kernel: lazily, so that the caller can take slices of it. */
export type Desired = Iterable<KernelObject | { readonly kind: 'problem'; readonly problem: PeerProblem }>;

/** What our lease must tell peers. `type` undefined: no BackendType is written (udp, alloc). */
export interface Advertisement {
  readonly type: BackendType | undefined;
  readonly data: ReadonlyMap<Family, BackendData>;
}

/**
 * A checked Backend object, or all that is wrong with it. Keys that mean nothing here are told, not refused: the config is
 * shared with flannel nodes, which ignore them, and with newer versions.
 */
export type ParsedOptions<C> =
  | { readonly config: C; readonly unknown: readonly string[] }
  | { readonly problems: readonly Problem[] };

/** Who is where, for a forwarder in user space. */
export interface ForwarderTable {
  /** Of the TUN device, bytes of inner packet. */
  readonly mtu: number;
  /** What ICMP errors come from: the device's addresses, at most one of each family. */
  readonly tun: readonly Addr[];
  /** Our subnets, at most one of each family: what comes from peers must go there. */
  readonly own: readonly Prefix[];
  readonly peers: readonly ForwarderPeer[];
}

export interface ForwarderPeer {
  /** Its place in the statistics, 0 … 65535; no two peers have one. */
  readonly slot: number;
  /** Where its packets go to and come from, at most one of each family; IPv4 is preferred. */
  readonly endpoints: readonly Addr[];
  /** What it has of the overlay; disjoint from all others'. */
  readonly prefixes: readonly Prefix[];
}

/** What a backend wants of a forwarder in user space. */
export interface Forwarding {
  readonly device: string;
  /** UDP, where we and all peers listen. */
  readonly port: number;
  /** Where to listen: addresses of this host, at most one of each family. */
  readonly local: readonly Addr[];
  readonly table: ForwarderTable;
}

/** Which place in the statistics each peer has. A value: what was given before is passed in, the next comes out. */
export interface SlotBook {
  /** By a name that stays the peer's own. */
  readonly slots: ReadonlyMap<string, number>;
  /** The one given last; -1: none yet. */
  readonly last: number;
}

export const NO_SLOTS: SlotBook = { slots: new Map(), last: -1 };

/** A way of getting packets to peers. All of it is pure. */
export interface Backend<C = unknown> {
  /** The `Type` in the network config, lower case. */
  readonly type: BackendType;
  /** Check the Backend object (keys in any case). */
  parse(options: Readonly<Record<string, unknown>>): ParsedOptions<C>;
  /** Reasons why this backend cannot run on this host with this config; empty when it can. */
  check(config: C, families: readonly Family[], host: HostFacts, network: NetworkConfig): readonly Problem[];
  /** MTU for pods, bytes: the minimum over the families. */
  mtu(config: C, families: readonly Family[], host: HostFacts): number;
  /** The devices it makes: ours by name. */
  devices(config: C, families: readonly Family[]): readonly string[];
  advertise(config: C, families: readonly Family[], host: HostFacts): Advertisement;
  /** Everything the kernel should hold for this view. */
  desired(config: C, view: LeaseView, host: HostFacts): Desired;
  /**
   * The paths to all peers that are served; absent: there is none to be looked at. The same objects for as long as nothing of
   * them changes. Lazy: the caller may stop between any two; `undefined` stands for a peer that is not served.
   */
  paths?(config: C, view: LeaseView, host: HostFacts): Iterable<PeerPath | undefined>;
  /**
   * The route to a peer's subnet alone, for when there is something to say of it alone; absent: `desired` has one for each
   * peer. The same object for the same subnet.
   */
  ownRoute?(subnet: Prefix): Route;
  /**
   * What is to be forwarded in user space for this view, for backends that need that. `slots`: where peers were when it
   * was asked last; those of the result are for the next time. It yields now and then, so that the caller can take slices.
   */
  forwarding?(
    config: C,
    view: LeaseView,
    host: HostFacts,
    slots: SlotBook,
  ): Generator<void, { readonly forwarding: Forwarding; readonly slots: SlotBook }>;
}
