import type { EventKind } from './eventKinds.ts';
import type { LeaseJson } from './leases.ts';
import type { ObjectState } from './objectStates.ts';

/**
 * What the control API answers, as types: one place for the daemon that makes it, the CLI and the page that show it. The words
 * are in docs/openapi.json, which a test holds to the running daemon. Times are RFC 3339, durations milliseconds unless the name
 * says otherwise, 64-bit numbers decimal text.
 */

export type { EventKind } from './eventKinds.ts';
export type { LeaseJson, LeasesJson } from './leases.ts';
export type { ObjectState } from './objectStates.ts';

/** How a peer's overlay address answered lately. `unprobed`: nobody has asked yet, or there is nothing to ask. */
export type PathHealth = 'unprobed' | 'reachable' | 'lossy' | 'unreachable';

/** The path through the tunnel to one address family of one peer. */
export interface PathJson {
  /** The peer's lease key. */
  readonly key: string;
  readonly family: 4 | 6;
  /** The address that is probed: the peer's own end of the tunnel. */
  readonly target: string;
  readonly health: PathHealth;
  /** Of the last probe; null: none yet. */
  readonly at: string | null;
  /** Round trip of a small packet, milliseconds: the last, and the least of the last {@link PathJson.sent}. */
  readonly rtt: number | null;
  readonly leastRtt: number | null;
  /** Of the last small probes (at most 20). */
  readonly sent: number;
  readonly lost: number;
  /** Do packets as large as the device takes pass? `lost` while small ones do: a hole for large packets. */
  readonly fullSize: 'unknown' | 'passes' | 'lost';
  /** Bytes of the largest inner packet seen to pass. */
  readonly pathMtu: number | null;
  /** Bytes the route to this peer was lowered to for that; null: it was not. */
  readonly routeMtu: number | null;
  /** Do packets whose checksum the device was to fill in arrive whole? */
  readonly checksum: 'unknown' | 'good' | 'corrupted';
  /** What the kernel said of the last probe that could not be sent; null: nothing. */
  readonly error: string | null;
}

/** `GET /v1/probes` */
export interface ProbesJson {
  readonly enabled: boolean;
  /** Milliseconds between rounds. */
  readonly interval: number;
  /** Peers asked in each round, when nothing changes. */
  readonly sample: number;
  /** Packets since the start. */
  readonly sent: number;
  readonly received: number;
  /** Is the device's tx checksum offload turned off because it corrupts packets? Null: there is no such device. */
  readonly checksumOffload: {
    readonly device: string;
    readonly state: 'on' | 'off';
    readonly reason: string | null;
  } | null;
  readonly paths: readonly PathJson[];
}

export interface TrafficJson {
  readonly outPackets: number;
  readonly outBytes: number;
  readonly inPackets: number;
  readonly inBytes: number;
}

/** `GET /v1/lifetimes`: when leases end unless their nodes keep them alive. Asked of etcd, little by little, for as long as somebody asks here. */
export interface LifetimesJson {
  readonly at: string;
  /** By lease key, but for reservations. Null: etcd has not told yet. */
  readonly leases: Readonly<Record<string, LifetimeJson | null>>;
}

export interface LifetimeJson {
  /** At {@link LifetimesJson.at}, unless it has been renewed since etcd told. */
  readonly secondsLeft: number;
  /** Seconds that it was granted for. */
  readonly ttl: number;
  /** Seconds since etcd told. */
  readonly age: number;
}

/** One row of `GET /v1/peers`, by subnet. */
export interface PeerJson {
  readonly key: string;
  readonly subnets: readonly string[];
  readonly publicIP: string | null;
  readonly publicIPv6: string | null;
  /** The lease's, or the network's where it names none. */
  readonly backend: string;
  readonly data: unknown;
  readonly dataV6: unknown;
  readonly node: string | null;
  readonly reservation: boolean;
  /** It is reserved, and no node has taken it up: there is nobody to send to, and nothing wrong with that. */
  readonly unclaimed: boolean;
  /** Why it is not served, in words; null: it is. */
  readonly problem: string | null;
  /** One for each family that is served. */
  readonly paths: readonly PathJson[];
  /** Inner packets to and from it since counting began; null: nobody counts. */
  readonly traffic: TrafficJson | null;
}

/** `GET /v1/peers` */
export interface PeersJson {
  readonly revision: string;
  /** RFC 3339: when the answer was made; with the traffic of another answer it gives rates. */
  readonly at: string;
  readonly peers: readonly PeerJson[];
}

/** `GET /v1/objects`, also `?state=failing` */
export interface ObjectsJson {
  /** The revision the kernel was last asked for. */
  readonly revision: string | null;
  readonly objects: readonly {
    readonly kind: string;
    /** As in the log: `route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink`. */
    readonly object: string;
    readonly state: ObjectState;
    /** The kernel's own words, or who is in the way. */
    readonly error: string | null;
  }[];
}

export interface EventJson {
  /** Goes up by one from 1, within one {@link EventsJson.instance}. */
  readonly id: number;
  readonly at: string;
  readonly level: 'info' | 'warn' | 'error';
  readonly kind: EventKind;
  /** What it is about: a lease key, an object, a device; null: this node. */
  readonly subject: string | null;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

/** `GET /v1/events?since=N&kind=…`; `GET /v1/events/stream`: text/event-stream, each with `id: <instance>-<id>`. */
export interface EventsJson {
  /** Of the daemon: ids begin anew with each. */
  readonly instance: string;
  /** Ids of the oldest that is kept and the newest; 0, 0: none yet. */
  readonly first: number;
  readonly last: number;
  readonly events: readonly EventJson[];
}

/** `GET /v1/config`: what the daemon was told, by whom; secrets are masked. */
export interface ConfigJson {
  readonly options: readonly {
    readonly name: string;
    readonly origin: 'flag' | 'environment' | 'default';
    /** `--iface` or `FLANNELD_IFACE`. */
    readonly from: string;
    readonly values: readonly string[];
  }[];
  readonly network: {
    /** The key in etcd. */
    readonly key: string;
    /** Of the network config as it stands there, secrets masked; null: there is none, or it cannot be read. */
    readonly config: unknown;
    /** Is it what the daemon goes by? */
    readonly inForce: boolean;
    readonly problem: string | null;
  };
}

/** `GET /v1/status`; docs/contracts.md explains it. */
export interface StatusJson {
  readonly version: string;
  readonly node: string;
  readonly instance: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly ready: boolean;
  readonly reason: string | null;
  readonly lease: {
    readonly state: 'waiting' | 'held' | 'fenced';
    readonly lease: LeaseJson | null;
    readonly secondsLeft: number | null;
    readonly reason: string | null;
  };
  readonly network: {
    readonly IPv4: string | null;
    readonly IPv6: string | null;
    readonly backend: string;
  } | null;
  readonly uplink: {
    readonly name: string;
    readonly mtu: number;
    readonly addrs: readonly string[];
    readonly publicIP: string | null;
    readonly publicIPv6: string | null;
  } | null;
  readonly mtu: number | null;
  readonly subnetFile: string;
  readonly peers: number;
  /** Peers by the worst of their paths. */
  readonly paths: Readonly<Record<PathHealth, number>> & { readonly lowered: number };
  readonly setAside: number;
  readonly kernel: {
    readonly revision: string | null;
    readonly objects: Readonly<
      Record<string, { readonly desired: number; readonly inSync: number; readonly failing: number }>
    >;
    readonly failing: readonly { readonly object: string; readonly error: string }[];
    readonly conflicts: readonly { readonly object: string; readonly with: string }[];
    readonly repairs: Readonly<Record<string, number>>;
    readonly messages: number;
  };
  readonly forwarder: unknown;
  readonly cni: {
    readonly attachments: number;
    readonly queued: number;
    readonly stale: readonly string[];
    readonly commands: Readonly<Record<string, unknown>>;
  };
  readonly store: {
    readonly connected: boolean;
    readonly revision: string | null;
    readonly requests: number;
    readonly error: string | null;
  };
  readonly problems: readonly string[];
}
