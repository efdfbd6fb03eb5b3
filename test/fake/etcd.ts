import { StoreError } from '../../src/errors.ts';
import type { Connection } from '../../src/subnet/etcd/connection.ts';
import {
  COMPARE,
  type Compare,
  type KeyValue,
  METHODS,
  type RequestOp,
  type TxnRequest,
} from '../../src/subnet/etcd/rpc.ts';

export interface FakeEvent {
  readonly type: 'Put' | 'Delete';
  readonly kv: KeyValue;
}

/** What goes wrong with a request: nothing is done; it is done but the answer is lost; it is done only later. */
export type Fault = 'none' | 'before' | 'after' | 'late';

interface EtcdLease {
  ttl: number;
  expires: number;
}

/**
 * etcd's keys, transactions and leases in memory, with a clock set by hand: what src/subnet/etcd/leaseOps.ts needs of
 * it, so that the real operations run on it.
 */
export class FakeEtcd {
  /** Milliseconds. */
  now = 0;
  revision = 1n;
  keys = new Map<string, KeyValue>();
  leases = new Map<bigint, EtcdLease>();
  /** All that happened, for watches; cut by a restore. */
  log: FakeEvent[] = [];
  /** Goes up by each restore: a watch of an older history is broken. */
  history = 0;
  #late: (() => void)[] = [];
  #nextLease = 1000n;

  put(key: string, value: string, lease = 0n, revision = this.revision + 1n): void {
    this.revision = revision;
    const create_revision = this.keys.get(key)?.create_revision ?? revision;
    const kv = { key, value, lease, create_revision, mod_revision: revision };
    this.keys.set(key, kv);
    this.log.push({ type: 'Put', kv });
  }

  delete(key: string, revision = this.revision + 1n): void {
    if (!this.keys.delete(key)) return;
    this.revision = revision;
    const kv = { key, value: '', lease: 0n, create_revision: 0n, mod_revision: revision };
    this.log.push({ type: 'Delete', kv });
  }

  /** etcd grants at least 2 s. */
  grant(ttl: number): bigint {
    const id = this.#nextLease++;
    this.leases.set(id, { ttl: Math.max(ttl, 2), expires: this.now + Math.max(ttl, 2) * 1000 });
    return id;
  }

  revoke(id: bigint): void {
    if (!this.leases.delete(id)) return;
    for (const kv of [...this.keys.values()]) if (kv.lease === id) this.delete(kv.key);
  }

  /** Let time pass; what runs out goes. */
  advance(milliseconds: number): void {
    this.now += milliseconds;
    for (const [id, lease] of [...this.leases]) if (lease.expires <= this.now) this.revoke(id);
  }

  /** Finish what clients gave up. */
  finishLate(): void {
    for (const finish of this.#late.splice(0)) {
      try {
        finish();
      } catch (error) {
        // Refused, with nobody to tell; a test's own objection is no StoreError.
        if (!(error instanceof StoreError)) throw error;
      }
    }
  }

  /** Returns what brings this state back. */
  backup(): () => void {
    const [revision, keys, leases] = [this.revision, new Map(this.keys), structuredClone(this.leases)];
    return () => {
      this.revision = revision;
      this.keys = new Map(keys);
      // A restored etcd gives every lease its whole time again.
      this.leases = new Map(
        [...leases].map(([id, l]) => [id, { ttl: l.ttl, expires: this.now + l.ttl * 1000 }]),
      );
      this.log = [];
      this.#late = [];
      this.history++;
    };
  }

  /**
   * A client's connection. `fault` is asked once for each request, `seen` told the revision of each answer; `judge`
   * sees each transaction that is about to be carried out, and may throw.
   */
  connect(client: {
    readonly fault: () => Fault;
    readonly seen: (revision: bigint) => void;
    readonly judge: (request: TxnRequest) => void;
  }): Connection {
    const call = async (method: object, request: object): Promise<unknown> => {
      const fault = client.fault();
      const lost = new StoreError('unavailable', 'etcd at fake: no answer within 5 s');
      if (fault === 'before') throw lost;
      if (fault === 'late') {
        this.#late.push(() => this.#serve(method, request, client.judge));
        throw lost;
      }
      const answer = this.#serve(method, request, client.judge);
      if (fault === 'after') throw lost;
      client.seen(this.revision);
      return { header: { cluster_id: 1n, revision: this.revision }, ...answer };
    };
    return { call, exchange: call } as unknown as Connection;
  }

  #serve(method: object, request: object, judge: (request: TxnRequest) => void): object {
    const { ID, TTL } = request as { ID: bigint; TTL: bigint };
    switch (method) {
      case METHODS.txn:
        return this.#txn(request as TxnRequest, judge);
      case METHODS.leaseGrant: {
        const id = this.grant(Number(TTL));
        return { ID: id, TTL: BigInt(this.leases.get(id)!.ttl) };
      }
      case METHODS.leaseRevoke:
        this.revoke(ID);
        return {};
      case METHODS.leaseTimeToLive:
        return { keys: [...this.keys.values()].filter((kv) => kv.lease === ID) };
      case METHODS.leaseKeepAlive: {
        const lease = this.leases.get(ID);
        if (lease) lease.expires = this.now + lease.ttl * 1000;
        return { ID, TTL: BigInt(lease?.ttl ?? 0) };
      }
    }
    throw new Error('the fake etcd does not know this method');
  }

  #txn(request: TxnRequest, judge: (request: TxnRequest) => void): object {
    const succeeded = (request.compare ?? []).every((c) => this.#holds(c));
    if (succeeded) judge(request);
    // One transaction is one revision.
    const revision = this.revision + 1n;
    const responses = ((succeeded ? request.success : request.failure) ?? []).map((op) =>
      this.#apply(op, revision),
    );
    return { succeeded, responses };
  }

  #holds({ target, key, mod_revision }: Compare): boolean {
    const kv = this.keys.get(key!);
    return target === COMPARE.version ? kv === undefined : (kv?.mod_revision ?? 0n) === mod_revision;
  }

  #apply(
    { request_put: put, request_delete_range: del, request_range: range }: RequestOp,
    revision: bigint,
  ): object {
    if (put) {
      const lease = put.ignore_lease ? this.keys.get(put.key!)!.lease : (put.lease ?? 0n);
      if (lease !== 0n && !this.leases.has(lease))
        throw new StoreError('lease-lost', 'requested lease not found');
      this.put(put.key!, put.value!, lease, revision);
    }
    if (del) this.delete(del.key!, revision);
    const kv = range && this.keys.get(range.key!);
    return { response_range: { kvs: kv ? [kv] : [] } };
  }
}
