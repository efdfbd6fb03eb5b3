import type { Latest } from '../latest.ts';
import { addon } from '../native/addon.ts';
import type { Identity, StoreOptions, StoreStatus, SubnetStore, TimeToLive } from './api.ts';
import { Connection } from './etcd/connection.ts';
import { Holder } from './etcd/holder.ts';
import { LeaseOps } from './etcd/leaseOps.ts';
import { PrefixWatch } from './etcd/prefixWatch.ts';
import type { LeaseRequest, LeaseSnapshot, LeaseState } from './types.ts';
import type { PrefixView } from './view.ts';

/** Leases in etcd, as flannel keeps them there. */
export class EtcdStore implements SubnetStore {
  readonly #options: StoreOptions;
  readonly #connection: Connection;
  readonly #watch: PrefixWatch;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #held = false;

  /** Connects to nothing yet. Throws ConfigError for endpoints or TLS files that cannot be used. */
  constructor(options: StoreOptions) {
    this.#options = { ...options, prefix: options.prefix.replace(/\/+$/, '') };
    this.#connection = new Connection(this.#options);
    this.#watch = new PrefixWatch(this.#connection, this.#options);
  }

  get status(): Latest<StoreStatus> {
    return this.#watch.status;
  }

  async *network(signal: AbortSignal): AsyncGenerator<string | undefined, void, undefined> {
    let last: { readonly config: string | undefined } | undefined;
    for await (const view of this.#views(signal)) {
      if (last && last.config === view.config) continue;
      last = view;
      yield view.config;
    }
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseSnapshot, void, undefined> {
    let last: PrefixView | undefined;
    for await (const view of this.#views(signal)) {
      // A new list at the same revision of the same history says the same.
      if (last?.revision === view.revision && last.epoch === view.epoch) continue;
      last = view;
      yield view;
    }
  }

  hold(want: Latest<LeaseRequest>, identity: Identity, signal: AbortSignal): AsyncIterable<LeaseState> {
    if (this.#held) throw new TypeError('a store holds one lease');
    this.#held = true;
    const clock = this.#options.clock ?? addon().bootTimeMs;
    const both = AbortSignal.any([signal, this.#closing.signal]);
    const holder = new Holder({
      watch: this.#watch,
      ops: new LeaseOps(this.#connection, this.#options.prefix, clock, identity.instance),
      identity,
      clock,
      random: this.#options.random ?? Math.random,
      onReport: this.#options.onReport ?? (() => {}),
    });
    this.#start();
    void holder.run(want, both);
    return holder.state.follow(both);
  }

  /** How long an etcd lease has left; undefined: there is none. Rejects with StoreError. */
  async timeToLive(etcdLease: bigint): Promise<TimeToLive | undefined> {
    const { TTL, grantedTTL } = await this.#connection.lease.leaseTimeToLive({ ID: String(etcdLease) });
    const secondsLeft = Number(TTL);
    return secondsLeft < 0 ? undefined : { secondsLeft, ttl: Number(grantedTTL) };
  }

  /** Ends every iterable and the connection. The lease stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#running;
    this.#connection.close();
  }

  #views(signal: AbortSignal): AsyncGenerator<PrefixView, void, undefined> {
    this.#start();
    return this.#watch.views.follow(AbortSignal.any([signal, this.#closing.signal]));
  }

  #start(): void {
    this.#running ??= this.#watch.run(this.#closing.signal);
  }
}

/** Everything under the prefix, once, for commands. Throws StoreError when etcd does not answer. */
export async function listOnce(
  options: StoreOptions,
): Promise<LeaseSnapshot & { readonly config: string | undefined }> {
  const at = { ...options, prefix: options.prefix.replace(/\/+$/, '') };
  const connection = new Connection(at);
  try {
    return await new PrefixWatch(connection, at).listOnce();
  } finally {
    connection.close();
  }
}
