import type { Addr, Family } from '../net/addr.ts';
import { compareAddr } from '../net/addr.ts';
import type { Prefix } from '../net/prefix.ts';

/** The part of an etcd key after `<prefix>/subnets/`, e.g. `10.1.5.0-24` or `10.12.13.0-24&fd00:12:13::-56`. */
export type SubnetKey = string & { readonly __subnetKey: unique symbol };
/** A stable name of a node, created once in the state directory: 32 hex digits. */
export type NodeId = string & { readonly __nodeId: unique symbol };
/** An etcd revision (int64). */
export type Revision = bigint;

/** `BackendType` in a lease value; unknown ones are kept as they are. */
export type BackendType = string;
/** `BackendData` / `BackendV6Data`: JSON of the backend's own shape, hostile until the backend has parsed it. */
export type BackendData = unknown;

/** What a node says of itself: the JSON value of its lease key. */
export interface LeaseAttrs {
  /** PublicIP and PublicIPv6, by family. */
  readonly endpoints: ReadonlyMap<Family, Addr>;
  /** Undefined when the value has no BackendType: then it is of the network's type. */
  readonly backend?: BackendType;
  /** BackendData under 4, BackendV6Data under 6. */
  readonly data: ReadonlyMap<Family, BackendData>;
  /** Absent on flannel's leases. */
  readonly node?: NodeId;
  /** New at each start of a daemon. */
  readonly instance?: string;
}

/** One key under `<prefix>/subnets/`. */
export interface Lease extends LeaseAttrs {
  readonly key: SubnetKey;
  /** One prefix, or two: IPv4 first, then IPv6. */
  readonly subnets: readonly Prefix[];
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** The etcd lease the key hangs on; a key without one is a reservation. */
  readonly etcdLease: bigint | 'reservation';
}

/** One family of the network config. */
export interface FamilyNetwork {
  readonly network: Prefix;
  readonly subnetLen: number;
  /** First and last subnet that may be leased (their network addresses, inclusive). */
  readonly min: Addr;
  readonly max: Addr;
}

/** The network config at `<prefix>/config`, checked and with defaults filled in. */
export interface NetworkConfig {
  /** Enabled families only; at least one. */
  readonly families: ReadonlyMap<Family, FamilyNetwork>;
  readonly enableNFTables: boolean;
  readonly backend: {
    readonly type: BackendType;
    /** The Backend object as written, hostile until the backend has parsed it. */
    readonly options: Readonly<Record<string, unknown>>;
  };
  /** Keys of the config that this version does not know: to be told, nothing more. */
  readonly unknownKeys?: readonly string[];
}

/** All there is under the prefix at one revision. Always whole, never a delta. */
export interface LeaseSnapshot {
  readonly revision: Revision;
  /** Goes up when etcd turns out to have gone back in time (a restored backup, another cluster): revisions of different epochs do not compare. */
  readonly epoch: number;
  /** By key, including our own. A Lease object is the same (===) as in the last snapshot when nothing of it changed. */
  readonly leases: ReadonlyMap<SubnetKey, Lease>;
  /** Keys or values that could not be read, by raw key, with the reason. A bad value still occupies its subnet. */
  readonly setAside: ReadonlyMap<string, string>;
}

/** What backends see. */
export interface LeaseView {
  readonly revision: Revision;
  readonly network: NetworkConfig;
  /** The lease we hold. */
  readonly self: Lease;
  /** Everybody else's. */
  readonly peers: ReadonlyMap<SubnetKey, Lease>;
}

/** What a node wants its lease to say; `previous` is the subnet it had (subnet.env or state dir), a wish only. */
export interface LeaseRequest {
  readonly network: NetworkConfig;
  /** `node` and `instance` are filled in by the store. */
  readonly attrs: LeaseAttrs;
  readonly previous: readonly Prefix[];
  /** Seconds. */
  readonly ttl: number;
}

/** Where the own lease stands; shown by `/v1/status`. */
export type LeaseState =
  | { readonly state: 'waiting'; readonly reason: string }
  | {
      readonly state: 'held';
      readonly lease: Lease;
      /**
       * Milliseconds of the store's clock (CLOCK_BOOTTIME, `addon().bootTimeMs()`) after which etcd may have dropped
       * it; undefined: reservation.
       */
      readonly expiresAt?: number;
      /** Seconds from one keep-alive to that. */
      readonly ttl?: number | undefined;
    }
  | {
      /** Expired by our own clock, or etcd unreachable past expiry: keep forwarding, hand out nothing, write nothing. */
      readonly state: 'fenced';
      readonly lease: Lease;
      readonly reason: string;
    };

/** The prefix of one family in a lease, if it has one. */
export const subnetOf = (lease: Pick<Lease, 'subnets'>, family: Family): Prefix | undefined =>
  lease.subnets.find((s) => s.addr.family === family);

/** Order leases by their first subnet. */
export const compareLeases = (a: Lease, b: Lease): number =>
  compareAddr(a.subnets[0]!.addr, b.subnets[0]!.addr);
