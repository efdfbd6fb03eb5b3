import type { TrafficJson } from '../api/shapes.ts';
import type { PeerCounters } from '../kernel/peerCounters.ts';
import { type CounterTable, isCountable, placeOf } from '../kernel/peerCountersText.ts';
import { Slices } from '../kernel/slices.ts';
import type { Prefix } from '../net/prefix.ts';
import type { SubnetKey } from '../subnet/types.ts';

/** Packets and bytes to and from each peer. */
export interface Traffic {
  /** As of the last {@link refresh}, since counting began; null: nobody counts, or not this peer. */
  of(key: SubnetKey): TrafficJson | null;
  /** Read the counters, unless that was done within the last second. Never rejects. */
  refresh(): Promise<void>;
  /** Why nobody counts; null: somebody does, or nobody has asked, or there is nothing to count. */
  readonly problem: string | null;
}

/** Without --peer-counters. */
export const NO_TRAFFIC: Traffic = { of: () => null, refresh: async () => {}, problem: null };

/** One family of a peer, and the device that its packets take. */
export interface CountedPeer {
  readonly key: SubnetKey;
  readonly subnet: Prefix;
  readonly dev: string;
}

export interface TrafficParts {
  readonly counters: Pick<PeerCounters, 'read' | 'remove'>;
  /** Whom to count for, lazily; undefined stands for a peer for whom nothing is. */
  readonly peers: () => Iterable<CountedPeer | undefined>;
  /** Bytes in front of the IP header in a packet that leaves the device: 14 for Ethernet, 0 for a device without addresses. */
  readonly header: (device: string) => number;
  /** Milliseconds; for tests. */
  readonly now?: () => number;
  /** Milliseconds after the last question until counting ends, for tests; {@link LINGER}. */
  readonly linger?: number;
}

/** Milliseconds for which an answer is good, for which counting goes on unasked, and after a failure until it is tried again. */
const [FRESH, LINGER, RETRY] = [1_000, 60_000, 60_000];

/**
 * Counters of the kernel for backends whose packets it forwards. Counting costs each packet some 0.3 µs, 10 % of the small packets a
 * machine can forward (docs/performance.md): so it is done for as long as somebody asks, and a minute longer.
 */
export class KernelTraffic implements Traffic, AsyncDisposable {
  readonly #parts: TrafficParts;
  readonly #now: () => number;
  #counts: ReadonlyMap<SubnetKey, TrafficJson> = new Map();
  #problem: string | null = null;
  #readAt = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** What an earlier daemon has left is gone on with, or removed when nobody asks. */
  constructor(parts: TrafficParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
    this.#wait();
  }

  get problem(): string | null {
    return this.#problem;
  }

  of(key: SubnetKey): TrafficJson | null {
    return this.#counts.get(key) ?? null;
  }

  async refresh(): Promise<void> {
    const now = this.#now();
    if (this.#stopped || now - this.#failedAt < RETRY) return;
    this.#wait();
    if (now - this.#readAt < FRESH) return;
    // Who asks meanwhile waits for the same.
    this.#reading ??= this.#next(() => this.#read())
      .then(() => {
        this.#problem = null;
      })
      .catch((cause: Error) => {
        this.#problem = cause.message;
        this.#failedAt = this.#now();
        this.#counts = new Map();
      })
      .finally(() => {
        this.#reading = undefined;
      });
    await this.#reading;
  }

  /** What is in the kernel stays, for the next daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#last;
  }

  /** One after the other. */
  #next(work: () => Promise<unknown>): Promise<unknown> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** The end of counting, unless somebody asks before. */
  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#counts = new Map();
      this.#readAt = Number.NEGATIVE_INFINITY;
      // It fails where nft is missing, and then nothing has been counted.
      this.#next(() => this.#parts.counters.remove()).catch(() => {});
    }, this.#parts.linger ?? LINGER).unref();
  }

  async #read(): Promise<void> {
    const { counters, peers, header } = this.#parts;
    const [devices, subnets] = [new Set<string>(), new Map<string, Set<string>>()];
    const counted: (CountedPeer & { readonly address: string; readonly set: string })[] = [];
    const slices = new Slices();
    for (const peer of peers()) {
      if (slices.isOver) await slices.next();
      if (!peer || !isCountable(peer.dev)) continue;
      const { set, address } = placeOf(peer.subnet);
      devices.add(peer.dev);
      const addresses = subnets.get(set);
      if (addresses) addresses.add(address);
      else subnets.set(set, new Set([address]));
      counted.push({ ...peer, set, address });
    }
    if (counted.length === 0) {
      this.#counts = new Map();
      return;
    }
    const table = await counters.read({ devices, subnets });
    this.#readAt = this.#now();
    const counts = new Map<SubnetKey, TrafficJson>();
    for (const { key, set, address, dev } of counted) {
      if (slices.isOver) await slices.next();
      counts.set(key, sum(counts.get(key), countedFor(table, set, address, header(dev))));
    }
    this.#counts = counts;
  }
}

/** What has been counted for one subnet; bytes are those of IP packets: the kernel counts a leaving packet's Ethernet header too. */
function countedFor(
  table: CounterTable | undefined,
  set: string,
  address: string,
  header: number,
): TrafficJson {
  const out = table?.sets.get(`out${set}`)?.get(address);
  const into = table?.sets.get(`in${set}`)?.get(address);
  const outPackets = out?.packets ?? 0;
  return {
    outPackets,
    outBytes: (out?.bytes ?? 0) - header * outPackets,
    inPackets: into?.packets ?? 0,
    inBytes: into?.bytes ?? 0,
  };
}

const sum = (a: TrafficJson | undefined, b: TrafficJson): TrafficJson =>
  a
    ? {
        outPackets: a.outPackets + b.outPackets,
        outBytes: a.outBytes + b.outBytes,
        inPackets: a.inPackets + b.inPackets,
        inBytes: a.inBytes + b.inBytes,
      }
    : b;
