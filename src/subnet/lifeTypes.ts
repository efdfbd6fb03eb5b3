import type { Addr, Family } from '../net/addr.ts';
import type { Prefix } from '../net/prefix.ts';
import type { StoreReport } from './api.ts';
import type { Lease, LeaseAttrs, LeaseRequest, NodeId } from './types.ts';
import type { PrefixView } from './view.ts';

/** What the life asks the store to do; one at a time. Every write is a guarded transaction (src/subnet/etcd/leaseOps.ts). */
export type Op =
  /** Grant an etcd lease and put the key under it if there is no such key; revoke the grant if not. */
  | {
      readonly op: 'create';
      readonly subnets: readonly Prefix[];
      readonly attrs: LeaseAttrs;
      readonly ttl: number;
    }
  /** Put the value if the key is still at `lease.modRevision`, on whatever it hangs on: a reservation stays one. */
  | { readonly op: 'rewrite'; readonly lease: Lease; readonly attrs: LeaseAttrs }
  /** The same under a new etcd lease of `ttl` seconds; the old one is revoked when nothing else hangs on it. */
  | { readonly op: 'regrant'; readonly lease: Lease; readonly attrs: LeaseAttrs; readonly ttl: number }
  /** Delete the key if it is still at `lease.modRevision`. */
  | { readonly op: 'remove'; readonly lease: Lease }
  /** Renew the etcd lease; changes no key. */
  | { readonly op: 'keepAlive'; readonly etcdLease: bigint }
  /** Put the challenge for a node id if there is none. */
  | { readonly op: 'challenge'; readonly node: NodeId; readonly endpoints: ReadonlyMap<Family, Addr> }
  /** Delete a challenge if it is still at `modRevision`. */
  | { readonly op: 'answer'; readonly node: NodeId; readonly modRevision: bigint }
  /** Rewrite the key and delete the challenge, if both are still what they were. */
  | {
      readonly op: 'takeOver';
      readonly lease: Lease;
      readonly attrs: LeaseAttrs;
      readonly node: NodeId;
      readonly challenge: bigint;
    }
  /** Make a new node id. */
  | { readonly op: 'renewIdentity' };

/** How an {@link Op} ended. Times are of the store's clock; `ttl` in seconds, as the server returned it. */
export type Result =
  /** create, rewrite, regrant, takeOver: the lease as it is now; `granted` where a new etcd lease was. */
  | {
      readonly end: 'written';
      readonly lease: Lease;
      readonly granted?: { readonly ttl: number; readonly sentAt: number };
    }
  | { readonly end: 'alive'; readonly ttl: number; readonly sentAt: number }
  /** The etcd lease is gone. */
  | { readonly end: 'gone' }
  | { readonly end: 'challenged'; readonly modRevision: bigint; readonly sentAt: number }
  /** remove, answer: by the transaction of this revision. */
  | { readonly end: 'removed'; readonly revision: bigint }
  | { readonly end: 'identity'; readonly node: NodeId }
  /** The guard did not hold; `modRevision` of what is there instead, undefined when nothing is. */
  | { readonly end: 'conflict'; readonly modRevision: bigint | undefined }
  /** It may have been done or not, or be done yet. */
  | { readonly end: 'failed'; readonly reason: string };

export type LifeEvent =
  | { readonly type: 'want'; readonly want: LeaseRequest }
  | { readonly type: 'view'; readonly view: PrefixView }
  | { readonly type: 'done'; readonly op: Op; readonly result: Result }
  /** Time has passed. */
  | { readonly type: 'tick' };

export type Action =
  | { readonly do: 'run'; readonly op: Op }
  /** Have the prefix listed anew. */
  | { readonly do: 'relist' }
  | { readonly do: 'report'; readonly report: StoreReport };

/** The lease we go by. */
export interface Own {
  /** As last read or written. */
  readonly lease: Lease;
  /** Of the view it was found in; revisions of another epoch do not compare. */
  readonly epoch: number;
  /** Undefined for a reservation, and until the first keep-alive of one that was found. */
  readonly expiresAt: number | undefined;
  /** When to keep it alive; undefined for a reservation. */
  readonly renewAt: number | undefined;
  /** Seconds: the TTL we asked for; for one that was found the one it has. The server may grant more than asked. */
  readonly ttl: number | undefined;
  /** Seconds that the server granted at the last keep-alive: {@link Own.expiresAt} counts from them. */
  readonly granted: number | undefined;
  /** Run out by our clock: nothing is written before the prefix was read again and etcd has renewed it. */
  readonly fenced: boolean;
  /** Verified, and says what we want: published as held since. */
  readonly settled: boolean;
  /** `view.occupancy` at the last look for overlaps. */
  readonly verifiedAt: number | undefined;
  /** How it came about, for the report when it settles. */
  readonly by: 'acquired' | 'adopted';
  /** When to list again if no view of `lease.modRevision` has come by then. */
  readonly seenBy: number;
  /** How often somebody else wrote it, and until when we do not write it again. */
  readonly disturbed: number;
  readonly calmUntil: number;
}

/** Our question whether somebody else lives under our node id. */
export interface Challenge {
  readonly modRevision: bigint;
  readonly sentAt: number;
}

/** Everything the life knows. A value. */
export interface Life {
  readonly node: NodeId;
  readonly instance: string;
  readonly want: LeaseRequest | undefined;
  readonly view: PrefixView | undefined;
  readonly own: Own | undefined;
  /** The lease held last: what is published while another is sought, and the subnets preferred. */
  readonly last: Lease | undefined;
  /** Why `last` is not held; an error when it was another node's doing. */
  readonly lost: { readonly why: string; readonly level: 'info' | 'error' } | undefined;
  /** What is being done, and the epoch it was begun in. */
  readonly op: Op | undefined;
  readonly opEpoch: number;
  readonly failures: number;
  /** Nothing is tried before this time. */
  readonly retryAt: number;
  /** What the last failure said; undefined when all went well since. */
  readonly error: string | undefined;
  /** Nothing is written before a view of a later list than this. */
  readonly readAfter: number;
  /** Nothing is written before a view of this revision: an answer told us of it. */
  readonly seeRevision: bigint;
  readonly challenge: Challenge | undefined;
  /** The instance with our node id and our address that writes our key: we do not fight it. */
  readonly yieldedTo: string | undefined;
  /** When to ask it (again) whether it lives. */
  readonly askAt: number;
  /** The last conflict or exhaustion reported: the same is not said twice in a row. */
  readonly said: string | undefined;
  /** What we wait for while there is no lease. */
  readonly waitingFor: string;
}
