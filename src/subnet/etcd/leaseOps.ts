import type {
  ICompare,
  ILeaseKeepAliveRequest,
  ILeaseKeepAliveResponse,
  IRequestOp,
  ITxnResponse,
} from 'etcd3/lib/rpc.js';
import { KEYS } from '../../contract.ts';
import { formatAddr } from '../../net/addr.ts';
import { formatKey } from '../key.ts';
import { CHALLENGE_TTL } from '../lifeSeek.ts';
import type { Op, Result } from '../lifeTypes.ts';
import type { Lease, LeaseAttrs, NodeId } from '../types.ts';
import { encodeValue } from '../value.ts';
import type { Connection } from './connection.ts';

const STREAM = ['Lease', 'leaseKeepAlive'] as const;

/**
 * The operations of the lease's life as requests to etcd. Every write is one transaction guarded by what was last
 * seen. Rejects with StoreError: then it may have been done or not.
 */
export class LeaseOps {
  readonly #connection: Connection;
  readonly #prefix: string;
  readonly #clock: () => number;
  readonly #instance: string;

  constructor(connection: Connection, prefix: string, clock: () => number, instance: string) {
    this.#connection = connection;
    this.#prefix = prefix;
    this.#clock = clock;
    this.#instance = instance;
  }

  run(op: Exclude<Op, { op: 'renewIdentity' }>): Promise<Result> {
    switch (op.op) {
      case 'create':
        return this.#create(op);
      case 'rewrite':
        return this.#rewrite(op.lease, op.attrs);
      case 'regrant':
        return this.#regrant(op);
      case 'remove':
        return this.remove(op.lease);
      case 'keepAlive':
        return this.#keepAlive(op.etcdLease);
      case 'challenge':
        return this.#challenge(op);
      case 'answer':
        return this.#answer(op.node, op.modRevision);
      case 'takeOver':
        return this.#takeOver(op);
    }
  }

  /** Delete a lease's key; its etcd lease goes too if nothing else hangs on it. */
  async remove(lease: Pick<Lease, 'key' | 'modRevision' | 'etcdLease'>): Promise<Result> {
    const key = this.#leaseKey(lease.key);
    const answer = await this.#connection.kv.txn({
      compare: [unchanged(key, lease.modRevision)],
      success: [{ request_delete_range: { key } }],
      failure: [{ request_range: { key } }],
    });
    if (!answer.succeeded) return conflict(answer);
    if (lease.etcdLease !== 'reservation') await this.#revokeIfEmpty(lease.etcdLease);
    return { end: 'removed', revision: BigInt(answer.header.revision) };
  }

  async #create({ subnets, attrs, ttl }: Op & { op: 'create' }): Promise<Result> {
    const name = formatKey(subnets);
    const key = this.#leaseKey(name);
    const granted = await this.#grant(ttl);
    const put = { key, value: Buffer.from(encodeValue(attrs)), lease: String(granted.id) };
    let answer: ITxnResponse;
    try {
      answer = await this.#connection.kv.txn({
        compare: [absent(key)],
        success: [{ request_put: put }],
        failure: [{ request_range: { key } }],
      });
    } catch (error) {
      await this.#revoke(granted.id);
      throw error;
    }
    if (!answer.succeeded) {
      await this.#revoke(granted.id);
      return conflict(answer);
    }
    const revision = BigInt(answer.header.revision);
    const lease: Lease = {
      ...attrs,
      key: name,
      subnets,
      createRevision: revision,
      modRevision: revision,
      etcdLease: granted.id,
    };
    return { end: 'written', lease, granted };
  }

  async #rewrite(lease: Lease, attrs: LeaseAttrs): Promise<Result> {
    const key = this.#leaseKey(lease.key);
    const answer = await this.#connection.kv.txn({
      compare: [unchanged(key, lease.modRevision)],
      success: [keepingLease(key, attrs)],
      failure: [{ request_range: { key } }],
    });
    if (!answer.succeeded) return conflict(answer);
    return { end: 'written', lease: rewritten(lease, attrs, answer, lease.etcdLease) };
  }

  async #regrant({ lease, attrs, ttl }: Op & { op: 'regrant' }): Promise<Result> {
    const key = this.#leaseKey(lease.key);
    const granted = await this.#grant(ttl);
    const put = { key, value: Buffer.from(encodeValue(attrs)), lease: String(granted.id) };
    // A failure of this request revokes nothing: if it was done all the same, the key hangs on the new etcd lease.
    const answer = await this.#connection.kv.txn({
      compare: [unchanged(key, lease.modRevision)],
      success: [{ request_put: put }],
      failure: [{ request_range: { key } }],
    });
    if (!answer.succeeded) {
      await this.#revoke(granted.id);
      return conflict(answer);
    }
    if (lease.etcdLease !== 'reservation') await this.#revokeIfEmpty(lease.etcdLease);
    return { end: 'written', lease: rewritten(lease, attrs, answer, granted.id), granted };
  }

  async #keepAlive(etcdLease: bigint): Promise<Result> {
    const sentAt = this.#clock();
    const answer = await this.#connection.exchange<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>(
      ...STREAM,
      {
        ID: String(etcdLease),
      },
    );
    const ttl = Number(answer.TTL);
    return ttl > 0 ? { end: 'alive', ttl, sentAt } : { end: 'gone' };
  }

  async #challenge({ node, endpoints }: Op & { op: 'challenge' }): Promise<Result> {
    const key = this.#challengeKey(node);
    const granted = await this.#grant(CHALLENGE_TTL);
    const publicIP = endpoints.get(4) ?? endpoints.get(6);
    const value = JSON.stringify({
      instance: this.#instance,
      publicIP: publicIP ? formatAddr(publicIP) : null,
    });
    const answer = await this.#connection.kv.txn({
      compare: [absent(key)],
      success: [{ request_put: { key, value: Buffer.from(value), lease: String(granted.id) } }],
      failure: [{ request_range: { key } }],
    });
    if (!answer.succeeded) {
      await this.#revoke(granted.id);
      return conflict(answer);
    }
    return { end: 'challenged', modRevision: BigInt(answer.header.revision), sentAt: granted.sentAt };
  }

  async #answer(node: NodeId, modRevision: bigint): Promise<Result> {
    const key = this.#challengeKey(node);
    const answer = await this.#connection.kv.txn({
      compare: [unchanged(key, modRevision)],
      success: [{ request_delete_range: { key } }],
      failure: [{ request_range: { key } }],
    });
    return answer.succeeded ? { end: 'removed', revision: BigInt(answer.header.revision) } : conflict(answer);
  }

  async #takeOver({ lease, attrs, node, challenge }: Op & { op: 'takeOver' }): Promise<Result> {
    const [key, asked] = [this.#leaseKey(lease.key), this.#challengeKey(node)];
    const answer = await this.#connection.kv.txn({
      compare: [unchanged(key, lease.modRevision), unchanged(asked, challenge)],
      success: [keepingLease(key, attrs), { request_delete_range: { key: asked } }],
      failure: [{ request_range: { key } }],
    });
    if (answer.succeeded) {
      return { end: 'written', lease: rewritten(lease, attrs, answer, lease.etcdLease) };
    }
    const there = conflict(answer);
    // The lease is as it was, so it is the challenge that is gone.
    return there.modRevision === lease.modRevision ? { end: 'conflict', modRevision: undefined } : there;
  }

  async #grant(
    seconds: number,
  ): Promise<{ readonly id: bigint; readonly ttl: number; readonly sentAt: number }> {
    const sentAt = this.#clock();
    const { ID, TTL } = await this.#connection.lease.leaseGrant({ TTL: String(seconds) });
    return { id: BigInt(ID), ttl: Number(TTL), sentAt };
  }

  /** If it fails the etcd lease runs out by itself. */
  async #revoke(id: bigint): Promise<void> {
    await this.#connection.lease.leaseRevoke({ ID: String(id) }).catch(() => {});
  }

  async #revokeIfEmpty(id: bigint): Promise<void> {
    try {
      const { keys } = await this.#connection.lease.leaseTimeToLive({ ID: String(id), keys: true });
      if (keys.length === 0) await this.#revoke(id);
    } catch {
      // It runs out by itself.
    }
  }

  #leaseKey(name: string): Buffer {
    return Buffer.from(`${this.#prefix}/${KEYS.subnets}/${name}`);
  }

  #challengeKey(node: NodeId): Buffer {
    return Buffer.from(`${this.#prefix}/${KEYS.challenge}/${node}`);
  }
}

const unchanged = (key: Buffer, modRevision: bigint): ICompare => ({
  key,
  target: 'Mod',
  result: 'Equal',
  mod_revision: String(modRevision),
});

const absent = (key: Buffer): ICompare => ({ key, target: 'Version', result: 'Equal', version: '0' });

/** A put that leaves the key on the etcd lease it hangs on, or on none. */
const keepingLease = (key: Buffer, attrs: LeaseAttrs): IRequestOp => ({
  request_put: { key, value: Buffer.from(encodeValue(attrs)), ignore_lease: true },
});

const rewritten = (
  old: Lease,
  attrs: LeaseAttrs,
  answer: ITxnResponse,
  etcdLease: Lease['etcdLease'],
): Lease => ({
  ...attrs,
  key: old.key,
  subnets: old.subnets,
  createRevision: old.createRevision,
  modRevision: BigInt(answer.header.revision),
  etcdLease,
});

/** A guard did not hold: what is there instead. The failure branch reads the key first. */
function conflict(answer: ITxnResponse): Result & { end: 'conflict' } {
  const there = answer.responses[0]?.response_range.kvs[0];
  return { end: 'conflict', modRevision: there && BigInt(there.mod_revision) };
}
