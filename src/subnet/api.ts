import type { Latest } from '../latest.ts';
import type { LeaseRequest, LeaseSnapshot, LeaseState, NodeId, Revision } from './types.ts';

/** How to reach etcd and what to look at there. */
export interface StoreOptions {
  /** `http://host:port` or `https://host:port`; the first that answers is kept until it fails. */
  readonly endpoints: readonly string[];
  /** Without a slash at its end, e.g. `/coreos.com/network`. */
  readonly prefix: string;
  /** PEM files, read again at each new connection. Any of them turns TLS on, whatever the endpoints' scheme. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Milliseconds that go on while the machine sleeps: `addon().bootTimeMs` unless given (tests). */
  readonly clock?: (() => number) | undefined;
  /** 0 <= n < 1; Math.random unless given (tests). */
  readonly random?: (() => number) | undefined;
  /** Things an operator should read. Must not throw. */
  readonly onReport?: ((report: StoreReport) => void) | undefined;
  /** Called after each request to etcd, for metrics. Must not throw. */
  readonly onRequest?: ((request: RequestReport) => void) | undefined;
}

/** One finished request to etcd. */
export interface RequestReport {
  /** `KV.range`, `Lease.leaseGrant`, … */
  readonly method: string;
  readonly endpoint: string;
  readonly milliseconds: number;
  readonly ok: boolean;
}

/** Something that happened, for the log. Each is said once, not every time it is looked at. */
export interface StoreReport {
  readonly level: 'info' | 'warn' | 'error';
  readonly event:
    | 'connected' // etcd answers again
    | 'disconnected' // etcd does not answer
    | 'set-aside' // a key or value that cannot be read
    | 'restored' // etcd went back in time: a backup was restored
    | 'acquired' // a new lease
    | 'adopted' // a lease that was there
    | 'moved' // another subnet than before; error level when another node has the old one
    | 'lost' // the lease expired or its key was deleted
    | 'fenced' // run out by our own clock
    | 'rewritten' // somebody else wrote our key (flanneld on this host)
    | 'conflict' // something that must be looked at by a person
    | 'cloned' // this state directory is in use elsewhere
    | 'exhausted' // no free subnet
    | 'retry'; // a request failed and will be tried again
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number>>;
}

/** The connection to etcd, for `/v1/status`. */
export interface StoreStatus {
  readonly connected: boolean;
  /** Why not: `waiting for etcd at http://…: connection refused`. Null when connected. */
  readonly error: string | null;
  /** Revision of the newest view; null before the first. */
  readonly revision: Revision | null;
  /** Requests sent since the start. */
  readonly requests: number;
  /** Keys and values set aside. */
  readonly setAside: number;
}

/** Of an etcd lease. */
export interface TimeToLive {
  /** Whole seconds until it ends unless somebody keeps it alive. */
  readonly secondsLeft: number;
  /** Seconds that it was granted for. */
  readonly ttl: number;
}

/** Who we are in lease values. */
export interface Identity {
  readonly node: NodeId;
  /** New at each start: 16 hex digits. */
  readonly instance: string;
  /**
   * Make a new node id and keep it in the state directory before resolving: the present one is a copy of another
   * host's. Called at most once at a time; a failure is tried again.
   */
  renew(): Promise<NodeId>;
}

/**
 * Leases in a store. One view of the prefix serves all of it; it connects at first use, waits for as long as the
 * store is away and gets up again by itself: none of the iterables ends or throws before its signal aborts.
 */
export interface SubnetStore extends AsyncDisposable {
  /** The connection's state; changes are noted at once. */
  readonly status: Latest<StoreStatus>;
  /** The text at `<prefix>/config`, undefined while there is none; again whenever it changes. */
  network(signal: AbortSignal): AsyncIterable<string | undefined>;
  /** Whole snapshots, the newest only. */
  watch(signal: AbortSignal): AsyncIterable<LeaseSnapshot>;
  /**
   * Have a lease that says what `want` wants: acquire or adopt it, keep it, publish what changes in it, get it
   * back when it is lost. May be called once. `waiting` comes first; `fenced` also while a lost lease is got back.
   */
  hold(want: Latest<LeaseRequest>, identity: Identity, signal: AbortSignal): AsyncIterable<LeaseState>;
}
