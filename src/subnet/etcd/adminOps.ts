import type { ICompare, IRequestOp, ITxnResponse } from 'etcd3/lib/rpc.js';
import { KEYS } from '../../contract.ts';
import { StoreError } from '../../errors.ts';
import type { Step } from '../admin.ts';
import type { StoreOptions } from '../api.ts';
import type { Lease } from '../types.ts';
import { encodeValue } from '../value.ts';
import type { PrefixView } from '../view.ts';
import { Connection } from './connection.ts';
import { PrefixWatch } from './prefixWatch.ts';

/** What a step has made: the lease as it is now, undefined when it was deleted. */
export interface Done {
  readonly lease: Lease | undefined;
  readonly revision: bigint;
}

/** How often a change is planned anew because something under the prefix changed meanwhile: nodes write now and then. */
const ATTEMPTS = 10;

/**
 * Changes that an operator makes in etcd. Each is one transaction that fails when anything under the prefix was written since the view
 * it was planned by. Over a connection of its own; all reject with StoreError.
 */
export class AdminOps implements Disposable {
  readonly #options: StoreOptions;
  readonly #connection: Connection;

  /** Throws ConfigError for endpoints or TLS files that cannot be used. */
  constructor(options: StoreOptions) {
    this.#options = { ...options, prefix: options.prefix.replace(/\/+$/, '') };
    this.#connection = new Connection(this.#options);
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }

  /** Everything under the prefix. */
  view(): Promise<PrefixView> {
    return new PrefixWatch(this.#connection, this.#options).listOnce();
  }

  /** Plan by a view and carry it out; again from the start when the view was not the newest. What `plan` throws is thrown. */
  async change<P extends { readonly step: Step }>(
    plan: (view: PrefixView) => P,
  ): Promise<Done & { readonly plan: P }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const view = await this.view();
      const planned = plan(view);
      const done = await this.#carryOut(planned.step, view.revision);
      if (done) return { ...done, plan: planned };
    }
    throw busy();
  }

  /**
   * Put the network config, if it was not written after revision `shown`, and nothing else under the prefix after the view that `check` saw.
   * Throws StoreError (conflict) when the config was written meanwhile.
   */
  async putConfig(text: string, shown: bigint, check: (view: PrefixView) => void): Promise<bigint> {
    const key = this.#key(KEYS.config);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const view = await this.view();
      check(view);
      const answer = await this.#connection.kv.txn({
        compare: [this.#nothingSince(view.revision), writtenUpTo(key, shown)],
        success: [{ request_put: { key, value: Buffer.from(text) } }],
        failure: [{ request_range: { key } }],
      });
      if (answer.succeeded) return BigInt(answer.header.revision);
      const there = answer.responses[0]?.response_range.kvs[0];
      if (there && BigInt(there.mod_revision) > shown)
        throw new StoreError(
          'conflict',
          `the network config was changed meanwhile, at revision ${there.mod_revision}: look at it again`,
        );
    }
    throw busy();
  }

  /** Undefined: something was written since `revision`. */
  async #carryOut(step: Step, revision: bigint): Promise<Done | undefined> {
    switch (step.do) {
      case 'nothing':
        return { lease: step.lease, revision };
      case 'create': {
        const { key, subnets, attrs } = step;
        const put = { key: this.#leaseKey(key), value: Buffer.from(encodeValue(attrs)) };
        const answer = await this.#txn(revision, { request_put: put });
        if (!answer.succeeded) return undefined;
        const at = BigInt(answer.header.revision);
        const revisions = { createRevision: at, modRevision: at, etcdLease: 'reservation' as const };
        return { lease: { ...attrs, ...revisions, key, subnets }, revision: at };
      }
      case 'reserve': {
        const { lease } = step;
        const put = { key: this.#leaseKey(lease.key), ignore_value: true };
        const answer = await this.#txn(revision, { request_put: put }, lease);
        if (!answer.succeeded) return undefined;
        // The etcd lease is left to run out: its node may be keeping it alive this moment, which must not fail.
        return this.#on(lease, 'reservation', answer);
      }
      case 'release': {
        const { lease } = step;
        const { ID } = await this.#connection.lease.leaseGrant({ TTL: String(step.ttl) });
        const put = { key: this.#leaseKey(lease.key), ignore_value: true, lease: ID };
        // A failure of this request revokes nothing: if it was done all the same, the key hangs on this etcd lease.
        const answer = await this.#txn(revision, { request_put: put }, lease);
        if (answer.succeeded) return this.#on(lease, BigInt(ID), answer);
        await this.#revoke(ID);
        return undefined;
      }
      case 'delete': {
        const del = { key: this.#leaseKey(step.key) };
        const answer = await this.#txn(revision, { request_delete_range: del }, step);
        // Its etcd lease runs out by itself, unless its node lives and keeps it.
        return answer.succeeded ? { lease: undefined, revision: BigInt(answer.header.revision) } : undefined;
      }
    }
  }

  /** `there`: a key that the operation is about, which must not have gone either. */
  #txn(
    revision: bigint,
    op: IRequestOp,
    there?: { readonly key: string; readonly modRevision: bigint },
  ): Promise<ITxnResponse> {
    const compare = [this.#nothingSince(revision)];
    if (there) compare.push(writtenAt(this.#leaseKey(there.key), there.modRevision));
    return this.#connection.kv.txn({ compare, success: [op], failure: [] });
  }

  #on(lease: Lease, etcdLease: Lease['etcdLease'], answer: ITxnResponse): Done {
    const revision = BigInt(answer.header.revision);
    return { lease: { ...lease, etcdLease, modRevision: revision }, revision };
  }

  /** If it fails the etcd lease runs out by itself. */
  async #revoke(id: string): Promise<void> {
    await this.#connection.lease.leaseRevoke({ ID: id }).catch(() => {});
  }

  /** No key under the prefix was written after `revision`; one that was deleted is in nobody's way. */
  #nothingSince(revision: bigint): ICompare {
    const { prefix } = this.#options;
    // etcd3's type does not know range_end (rpc.proto has it); "0" follows "/" in ASCII.
    return {
      ...writtenUpTo(Buffer.from(`${prefix}/`), revision),
      range_end: Buffer.from(`${prefix}0`),
    } as ICompare;
  }

  #leaseKey(name: string): Buffer {
    return this.#key(`${KEYS.subnets}/${name}`);
  }

  #key(name: string): Buffer {
    return Buffer.from(`${this.#options.prefix}/${name}`);
  }
}

/** True also where there is no key. */
const writtenUpTo = (key: Buffer, revision: bigint): ICompare => ({
  key,
  target: 'Mod',
  result: 'Less',
  mod_revision: String(revision + 1n),
});

/** False where there is no key. */
const writtenAt = (key: Buffer, revision: bigint): ICompare => ({
  key,
  target: 'Mod',
  result: 'Equal',
  mod_revision: String(revision),
});

const busy = (): StoreError =>
  new StoreError(
    'conflict',
    `leases change all the time: nothing was done in ${ATTEMPTS} attempts; try again later`,
  );
