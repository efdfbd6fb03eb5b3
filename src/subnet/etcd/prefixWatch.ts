import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { backoff, STORE_BACKOFF } from '../../backoff.ts';
import { STORE_DEADLINE } from '../../contract.ts';
import { StoreError } from '../../errors.ts';
import { Latest } from '../../latest.ts';
import type { StoreOptions, StoreReport, StoreStatus } from '../api.ts';
import type { PrefixView } from '../view.ts';
import type { Connection } from './connection.ts';
import { Mirror } from './mirror.ts';
import { DELETED, METHODS, RangeReader, type WatchResponse } from './rpc.ts';

/** Milliseconds of decoding before the event loop gets a turn. */
const SLICE = 4;
/** Milliseconds between two views: a herd of nodes that starts is a thousand events in a second. */
const CROWD = 20;
/** Milliseconds over which nodes that all lost one etcd spread their lists when it is back. */
const SPREAD = 1_000;

/**
 * Keeps a {@link Mirror} of the prefix. Every connection begins with one list of the whole prefix at revision R and
 * a watch from R+1; whatever goes wrong with the watch (cancelled, compacted, a lost connection, doubt) ends in the
 * next list, whose values are compared as a whole. So no change can be missed for longer than the connection.
 */
export class PrefixWatch {
  /** The newest view. */
  readonly views = new Latest<PrefixView>();
  readonly status: Latest<StoreStatus>;
  readonly #connection: Connection;
  readonly #options: StoreOptions;
  readonly #random: () => number;
  readonly #mirror: Mirror;
  #wanted = new AbortController();
  #publishing: NodeJS.Timeout | undefined;
  #publishedAt = 0;

  constructor(connection: Connection, options: StoreOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#mirror = new Mirror(options.prefix, (key, reason) =>
      options.onReport?.({
        level: 'warn',
        event: 'set-aside',
        message: 'a lease key or value cannot be read and is ignored; its subnet counts as taken',
        fields: { key, reason },
      }),
    );
    this.status = new Latest<StoreStatus>(this.#status('not asked yet'));
  }

  /** List again soon: something may have changed that the watch has not told. */
  relist(): void {
    this.#wanted.abort();
  }

  /** Runs until `signal` aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      let wait = 0;
      try {
        this.#wanted = new AbortController();
        const revision = await this.#list();
        await this.#follow(revision + 1n, AbortSignal.any([signal, this.#wanted.signal]), () => {
          if (failures > 0) this.#say('info', 'connected', 'etcd answers again');
          failures = 0;
          this.#setStatus(null);
        });
      } catch (error) {
        if (signal.aborted) break;
        wait = this.#pause(error, ++failures);
      }
      await sleep(wait, undefined, { signal }).catch(() => {});
    }
    clearTimeout(this.#publishing);
  }

  /** One list and nothing more, for commands. Rejects with StoreError when etcd does not answer. */
  async listOnce(): Promise<PrefixView> {
    await this.#list();
    return this.#mirror.view()!;
  }

  /** Milliseconds until the next attempt after the n-th failure in a row. */
  #pause(error: unknown, failures: number): number {
    // After a compaction there is nothing to wait for.
    if (error instanceof StoreError && error.fault === 'compacted') return 0;
    const message = `waiting for ${error instanceof StoreError ? '' : 'etcd: '}${(error as Error).message}`;
    if (failures === 1) this.#say('warn', 'disconnected', message);
    this.#setStatus(message);
    const isFirstLoss = failures === 1 && this.#mirror.lists > 0;
    return isFirstLoss ? this.#random() * SPREAD : backoff(failures, STORE_BACKOFF, this.#random);
  }

  /** Everything that begins with `<prefix>/`: "0" follows "/" in ASCII. */
  get #range(): { readonly key: string; readonly range_end: string } {
    return { key: `${this.#options.prefix}/`, range_end: `${this.#options.prefix}0` };
  }

  /** One list of everything; resolves to its revision. */
  async #list(): Promise<bigint> {
    const known = this.#connection.cluster;
    const reader = new RangeReader(await this.#connection.call(METHODS.range, this.#range));
    const filling = this.#mirror.fill();
    let sliceEnds = performance.now() + SLICE;
    for (let kv = reader.next(); kv !== undefined; kv = reader.next()) {
      filling.add(kv);
      if (performance.now() < sliceEnds) continue;
      await nextTurn();
      sliceEnds = performance.now() + SLICE;
    }
    const { revision, cluster_id: clusterId } = reader.header;
    const isRestored = (known.clusterId ?? clusterId) !== clusterId || revision < known.revision;
    if (isRestored) {
      this.#connection.restored(clusterId, revision);
      const message = `etcd has gone back in time, from revision ${known.revision} to ${revision}`;
      this.#say('warn', 'restored', message);
    } else this.#connection.note(reader.header);
    filling.finish(revision, isRestored);
    this.#publish();
    return revision;
  }

  /** Follow events from a revision on. Rejects with StoreError when the stream ends; resolves when `signal` aborts. */
  async #follow(from: bigint, signal: AbortSignal, onLive: () => void): Promise<void> {
    const { stream, failed } = await this.#connection.stream(METHODS.watch);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const created = setTimeout(
      () => reject(failed({ code: 4, details: 'no answer to a watch request' })),
      STORE_DEADLINE,
    );
    let pending: WatchResponse['events'][number][] = [];
    stream.on('data', (response: WatchResponse) => {
      if (response.created) {
        clearTimeout(created);
        onLive();
      }
      if (response.canceled) return reject(cancelled(response));
      pending.push(...response.events);
      if (response.fragment) return;
      this.#connection.note(response.header);
      for (const { type, kv } of pending) if (kv) this.#mirror.apply(type === DELETED ? 'Delete' : 'Put', kv);
      pending = [];
      this.#publishSoon();
    });
    stream.on('error', (error) => reject(failed(error)));
    stream.on('end', () => reject(failed({ code: 14, details: 'etcd ended the watch' })));
    const stop = () => resolve();
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    stream.write({ create_request: { ...this.#range, start_revision: from, fragment: true } });
    try {
      await promise;
    } finally {
      clearTimeout(created);
      signal.removeEventListener('abort', stop);
      // What it still says does not matter any more.
      stream.on('error', () => {});
      stream.cancel();
    }
  }

  /** At once if nothing was published lately; events that come in a crowd make one view. */
  #publishSoon(): void {
    if (this.#publishing) return;
    const wait = this.#publishedAt + CROWD - performance.now();
    const publish = () => {
      this.#publishing = undefined;
      this.#publish();
    };
    this.#publishing = setTimeout(publish, Math.max(wait, 0));
  }

  #publish(): void {
    const view = this.#mirror.view();
    if (!view || view === this.views.value) return;
    this.#publishedAt = performance.now();
    this.views.set(view);
    this.#setStatus(this.status.value!.error);
  }

  #setStatus(error: string | null): void {
    this.status.set(this.#status(error));
  }

  #status(error: string | null): StoreStatus {
    const connection = this.#connection;
    const view = this.views.value;
    return {
      connected: error === null,
      error,
      revision: view?.revision ?? null,
      get requests() {
        return connection.requests;
      },
      setAside: view?.setAside.size ?? 0,
    };
  }

  #say(level: StoreReport['level'], event: StoreReport['event'], message: string): void {
    this.#options.onReport?.({ level, event, message, fields: { endpoint: this.#connection.endpoint } });
  }
}

function cancelled(response: WatchResponse): StoreError {
  if (response.compact_revision !== 0n) {
    return new StoreError(
      'compacted',
      `the watch's revision was compacted away at ${response.compact_revision}`,
    );
  }
  const reason = response.cancel_reason || 'no reason given';
  const fault = /auth|permission/.test(reason) ? 'unauthorized' : 'unavailable';
  return new StoreError(fault, `etcd cancelled the watch: ${reason}`);
}
