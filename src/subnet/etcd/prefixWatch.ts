import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { IDuplexStream, IWatchRequest, IWatchResponse } from 'etcd3/lib/rpc.js';
import { backoff, STORE_BACKOFF } from '../../backoff.ts';
import { STORE_DEADLINE } from '../../contract.ts';
import { StoreError } from '../../errors.ts';
import { Latest } from '../../latest.ts';
import type { StoreOptions, StoreStatus } from '../api.ts';
import type { PrefixView } from '../view.ts';
import type { Connection } from './connection.ts';
import { Mirror } from './mirror.ts';
import { RangeReader } from './wire.ts';

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
    await this.#loop(signal);
    clearTimeout(this.#publishing);
  }

  async #loop(signal: AbortSignal): Promise<void> {
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
        if (signal.aborted) return;
        const lived = failures === 0 && this.#mirror.lists > 0;
        failures++;
        // After a compaction there is nothing to wait for.
        if (!(error instanceof StoreError && error.fault === 'compacted')) {
          wait = lived ? this.#random() * SPREAD : backoff(failures, STORE_BACKOFF, this.#random);
          const message = `waiting for ${error instanceof StoreError ? '' : 'etcd: '}${(error as Error).message}`;
          if (failures === 1) this.#say('warn', 'disconnected', message);
          this.#setStatus(message);
        }
      }
      await sleep(wait, undefined, { signal }).catch(() => {});
    }
  }

  /** One list and nothing more, for commands. Rejects with StoreError when etcd does not answer. */
  async listOnce(): Promise<PrefixView> {
    await this.#list();
    return this.#mirror.view()!;
  }

  /** One list of everything; resolves to its revision. */
  async #list(): Promise<bigint> {
    const { prefix } = this.#options;
    const known = this.#connection.cluster;
    const bytes = await this.#connection.rawRange({
      key: Buffer.from(`${prefix}/`),
      // The key after all that begin with `<prefix>/`: "0" follows "/" in ASCII.
      range_end: Buffer.from(`${prefix}0`),
    });
    const reader = new RangeReader(bytes);
    const filling = this.#mirror.fill();
    let sliceEnds = performance.now() + SLICE;
    for (let kv = reader.next(); kv !== undefined; kv = reader.next()) {
      filling.add(kv);
      if (performance.now() < sliceEnds) continue;
      await nextTurn();
      sliceEnds = performance.now() + SLICE;
    }
    const revision = BigInt(reader.header.revision);
    const clusterId = reader.header.cluster_id;
    const restored = (known.clusterId ?? clusterId) !== clusterId || revision < known.revision;
    if (restored) {
      this.#connection.restored(clusterId, revision);
      this.#say(
        'warn',
        'restored',
        `etcd has gone back in time, from revision ${known.revision} to ${revision}`,
      );
    } else this.#connection.note(reader.header);
    filling.finish(revision, restored);
    this.#publish();
    return revision;
  }

  /** Follow events from a revision on. Rejects with StoreError when the stream ends; resolves when `signal` aborts. */
  async #follow(from: bigint, signal: AbortSignal, onLive: () => void): Promise<void> {
    const { stream, failed } = await this.#connection.stream<IWatchRequest, IWatchResponse>('Watch', 'watch');
    const { prefix } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const created = setTimeout(
      () => reject(failed({ code: 4, details: 'no answer to a watch request' })),
      STORE_DEADLINE,
    );
    const fragments: IWatchResponse['events'] = [];
    stream.on('data', (response) => {
      try {
        if (response.created) {
          clearTimeout(created);
          onLive();
        }
        if (response.canceled) return reject(cancelled(response));
        fragments.push(...response.events);
        if ((response as { fragment?: boolean }).fragment) return;
        this.#connection.note(response.header);
        for (const event of fragments.splice(0)) {
          this.#mirror.apply(event.type, {
            key: event.kv.key.toString(),
            value: event.kv.value.toString(),
            createRevision: BigInt(event.kv.create_revision),
            modRevision: BigInt(event.kv.mod_revision),
            lease: BigInt(event.kv.lease),
          });
        }
        this.#publishSoon();
      } catch (error) {
        reject(error);
      }
    });
    let over = false;
    // An end of our own making is no reason to leave the endpoint, as telling a failure does.
    const broken = (error: unknown) => over || reject(failed(error));
    stream.on('error', broken);
    stream.on('end', () => broken({ code: 14, details: 'etcd ended the watch' }));
    const stop = () => resolve();
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    const request: IWatchRequest & { create_request: { fragment: boolean } } = {
      create_request: {
        key: Buffer.from(`${prefix}/`),
        range_end: Buffer.from(`${prefix}0`),
        start_revision: String(from),
        fragment: true,
      },
    };
    stream.write(request);
    try {
      await promise;
    } finally {
      over = true;
      clearTimeout(created);
      signal.removeEventListener('abort', stop);
      end(stream);
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

  #say(level: 'info' | 'warn', event: 'connected' | 'disconnected' | 'restored', message: string): void {
    this.#options.onReport?.({ level, event, message, fields: { endpoint: this.#connection.endpoint } });
  }
}

function cancelled(response: IWatchResponse): StoreError {
  if (response.compact_revision !== '0') {
    return new StoreError(
      'compacted',
      `the watch's revision was compacted away at ${response.compact_revision}`,
    );
  }
  const reason = (response as { cancel_reason?: string }).cancel_reason || 'no reason given';
  const fault = /auth|permission/.test(reason) ? 'unauthorized' : 'unavailable';
  return new StoreError(fault, `etcd cancelled the watch: ${reason}`);
}

/** Cancel a stream, whatever state it is in; what it still says does not matter any more. */
function end(stream: IDuplexStream<IWatchRequest, IWatchResponse>): void {
  stream.on('error', () => {});
  stream.cancel();
}
