import type { ICompare, IKeyValue, IRequestOp, ITxnRequest, ITxnResponse } from 'etcd3/lib/rpc.js';
import { StoreError } from '../../src/errors.ts';
import type { Connection } from '../../src/subnet/etcd/connection.ts';
import type { KeyValue } from '../../src/subnet/etcd/wire.ts';

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
 * it, so that the real operations run on it. `watchful` sees every write before it is done, and may throw.
 */
export class FakeEtcd {
  now = 0;
  revision = 1n;
  keys = new Map<string, KeyValue>();
  leases = new Map<bigint, EtcdLease>();
  /** All that happened, for watches; cut by a restore. */
  log: FakeEvent[] = [];
  /** Goes up by each restore: a watch of an older history is broken. */
  history = 0;
  /** Transactions that were given up by their clients but are done yet. */
  late: (() => void)[] = [];
  #nextLease = 1000n;

  put(key: string, value: string, lease = 0n): void {
    const old = this.keys.get(key);
    this.revision++;
    const kv = {
      key,
      value,
      lease,
      createRevision: old?.createRevision ?? this.revision,
      modRevision: this.revision,
    };
    this.keys.set(key, kv);
    this.log.push({ type: 'Put', kv });
  }

  delete(key: string): void {
    if (!this.keys.delete(key)) return;
    this.revision++;
    const kv = { key, value: '', lease: 0n, createRevision: 0n, modRevision: this.revision };
    this.log.push({ type: 'Delete', kv });
  }

  grant(ttl: number): bigint {
    const id = this.#nextLease++;
    // etcd grants at least 2 s.
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
    for (const finish of this.late.splice(0)) {
      try {
        finish();
      } catch (error) {
        // Refused, with nobody to tell; a test's own objection is no StoreError.
        if (!(error instanceof StoreError)) throw error;
      }
    }
  }

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
      this.late = [];
      this.history++;
    };
  }

  /** A client's connection. `fault` is asked once for each request, `seen` told each answer's revision. */
  connect(client: {
    readonly fault: () => Fault;
    readonly seen: (revision: bigint) => void;
    readonly allow: (request: ITxnRequest, etcd: FakeEtcd) => void;
  }): Connection {
    const call = async <T>(work: () => T): Promise<T> => {
      const fault = client.fault();
      const lost = new StoreError('unavailable', 'etcd at fake: no answer within 5 s');
      if (fault === 'before') throw lost;
      if (fault === 'late') {
        this.late.push(work);
        throw lost;
      }
      const answer = work();
      if (fault === 'after') throw lost;
      client.seen(this.revision);
      return answer;
    };
    const header = () => ({
      cluster_id: '1',
      member_id: '1',
      raft_term: '1',
      revision: String(this.revision),
    });
    const fake = {
      kv: {
        txn: (request: ITxnRequest) =>
          call((): ITxnResponse => {
            const succeeded = (request.compare ?? []).every((c) => this.#holds(c));
            if (succeeded) client.allow(request, this);
            const ops = (succeeded ? request.success : request.failure) ?? [];
            const responses = this.#apply(ops);
            return { header: header(), succeeded, responses };
          }),
      },
      lease: {
        leaseGrant: ({ TTL }: { TTL: string }) =>
          call(() => {
            const id = this.grant(Number(TTL));
            return { header: header(), ID: String(id), TTL: String(this.leases.get(id)!.ttl), error: '' };
          }),
        leaseRevoke: ({ ID }: { ID: string }) => call(() => this.revoke(BigInt(ID))),
        leaseTimeToLive: ({ ID }: { ID: string }) =>
          call(() => ({
            keys: [...this.keys.values()].filter((kv) => String(kv.lease) === ID).map((kv) => kv.key),
          })),
      },
      exchange: (_service: string, _method: string, { ID }: { ID: string }) =>
        call(() => {
          const lease = this.leases.get(BigInt(ID));
          if (lease) lease.expires = this.now + lease.ttl * 1000;
          return { header: header(), ID, TTL: String(lease?.ttl ?? 0) };
        }),
    };
    return fake as unknown as Connection;
  }

  #holds(c: ICompare): boolean {
    const kv = this.keys.get(String(c.key));
    if (c.target === 'Version') return (kv ? 1 : 0) === Number(c.version);
    return String(kv?.modRevision ?? 0n) === String(c.mod_revision);
  }

  #apply(ops: readonly IRequestOp[]): ITxnResponse['responses'] {
    // One transaction is one revision.
    const revision = this.revision + 1n;
    return ops.map((op) => {
      if (op.request_put) {
        const key = String(op.request_put.key);
        const lease = op.request_put.ignore_lease
          ? this.keys.get(key)!.lease
          : BigInt(op.request_put.lease ?? 0);
        if (lease !== 0n && !this.leases.has(lease)) {
          throw new StoreError('lease-lost', 'etcdserver: requested lease not found');
        }
        this.put(key, String(op.request_put.value), lease);
        this.revision = revision;
        this.#stamp(key, revision);
      }
      if (op.request_delete_range) {
        this.delete(String(op.request_delete_range.key));
        this.revision = revision;
        if (this.log.length > 0) this.#stampLog(revision);
      }
      const kv = op.request_range && this.keys.get(String(op.request_range.key));
      const kvs = kv ? [{ mod_revision: String(kv.modRevision) } as IKeyValue] : [];
      return { response_range: { kvs } } as ITxnResponse['responses'][number];
    });
  }

  #stamp(key: string, revision: bigint): void {
    const kv = this.keys.get(key)!;
    const isNew = kv.createRevision === kv.modRevision;
    const stamped = { ...kv, modRevision: revision, createRevision: isNew ? revision : kv.createRevision };
    this.keys.set(key, stamped);
    this.log[this.log.length - 1] = { type: 'Put', kv: stamped };
  }

  #stampLog(revision: bigint): void {
    const last = this.log.at(-1)!;
    this.log[this.log.length - 1] = { ...last, kv: { ...last.kv, modRevision: revision } };
  }
}
