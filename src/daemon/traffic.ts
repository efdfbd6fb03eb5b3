import type { TrafficJson } from '../api/shapes.ts';
import { PeerCounters } from '../kernel/peerCounters.ts';
import { type Counted, type CounterWish, isCountable, placeOf } from '../kernel/peerCountersText.ts';
import { Slices } from '../kernel/slices.ts';
import type { ObservedState } from '../kernel/state.ts';
import type { Prefix } from '../net/prefix.ts';
import { type SubnetKey, subnetOf } from '../subnet/types.ts';
import type { Daemon } from './daemon.ts';
import { leaseView } from './overlay.ts';

/** Packets and bytes to and from each peer. */
export interface Traffic {
  /** As of the last {@link refresh}, since counting began; null: nobody counts, or not this peer. */
  of(key: SubnetKey): TrafficJson | null;
  /**
   * Read the counters, unless that was done within the last second; where nobody counts, or not for much longer, that is begun
   * and gone on with only if `wanted`, which is the default. Never rejects.
   */
  refresh(wanted?: boolean): Promise<void>;
  /** Why nobody counts; null: somebody does, or nobody has asked, or there is nothing to count. */
  readonly problem: string | null;
}

/** With --peer-counters=false. What an earlier daemon has left is removed; where nft is missing there is nothing. */
export function countNothing(counters: Pick<PeerCounters, 'remove'> = new PeerCounters()): Traffic {
  counters.remove().catch(() => {});
  return { of: () => null, refresh: async () => {}, problem: null };
}

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
  /** Another value when `peers` may give others. */
  readonly facts: () => unknown;
  /** Bytes in front of the IP header in a packet that leaves the device: 14 for Ethernet, 0 for a device without addresses. */
  readonly header: (device: string) => number;
  /** Milliseconds; for tests. */
  readonly now?: () => number;
  /** Milliseconds after the last question until counting ends, for tests; {@link LINGER}. */
  readonly linger?: number;
}

/** Milliseconds for which an answer is good, for which counting goes on unasked, and after a failure until it is tried again. */
const [FRESH, LINGER, RETRY] = [1_000, 60_000, 10_000];

/** Whom to count for. */
interface Roll {
  readonly facts: unknown;
  readonly wish: CounterWish;
  /** By key: the rows of its subnets, one or two. */
  readonly rows: ReadonlyMap<SubnetKey, readonly number[]>;
  /** By row: bytes of the header that the kernel counts with each leaving packet. */
  readonly headers: Uint8Array;
}

/**
 * Counters of the kernel for backends whose packets it forwards. Counting costs each packet some 0.3 µs, 10 % of the small packets a
 * machine can forward (docs/performance.md): so it is done for as long as somebody asks, and a minute longer.
 */
export class KernelTraffic implements Traffic, AsyncDisposable {
  readonly #parts: TrafficParts;
  readonly #now: () => number;
  #counted: { readonly roll: Roll; readonly numbers: Counted['numbers'] } | undefined;
  #roll: Roll | undefined;
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
    const rows = this.#counted?.roll.rows.get(key);
    if (!this.#counted || !rows) return null;
    const { roll, numbers } = this.#counted;
    const total = { outPackets: 0, outBytes: 0, inPackets: 0, inBytes: 0 };
    for (const row of rows) {
      const outPackets = numbers[4 * row]!;
      total.outPackets += outPackets;
      // A leaving packet is counted with its Ethernet header, an arriving one without.
      total.outBytes += numbers[4 * row + 1]! - roll.headers[row]! * outPackets;
      total.inPackets += numbers[4 * row + 2]!;
      total.inBytes += numbers[4 * row + 3]!;
    }
    return total;
  }

  async refresh(wanted = true): Promise<void> {
    const now = this.#now();
    if (this.#stopped || now - this.#failedAt < RETRY) return;
    if (wanted) this.#wait();
    else if (!this.#counted) return;
    if (now - this.#readAt < FRESH) return;
    // Who asks meanwhile waits for the same.
    this.#reading ??= this.#next(() => this.#read())
      .then(() => {
        this.#problem = null;
      })
      .catch((cause: Error) => {
        this.#problem = `packets to and from peers are not counted: ${cause.message}`;
        this.#failedAt = this.#now();
        this.#counted = undefined;
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
      // Behind a reading that is under way. It fails where nft is missing, and then nothing has been counted.
      this.#next(() => {
        this.#counted = undefined;
        this.#problem = null;
        this.#roll = undefined;
        this.#readAt = Number.NEGATIVE_INFINITY;
        return this.#parts.counters.remove();
      }).catch(() => {});
    }, this.#parts.linger ?? LINGER).unref();
  }

  async #read(): Promise<void> {
    const { counters, facts } = this.#parts;
    // Asked every second among thousands of peers, most of the work would be to find out who they are.
    if (!this.#roll || this.#roll.facts !== facts()) this.#roll = await this.#call();
    const roll = this.#roll;
    if (roll.rows.size === 0) {
      this.#counted = undefined;
      return;
    }
    const { numbers } = await counters.read(roll.wish);
    this.#readAt = this.#now();
    this.#counted = { roll, numbers };
  }

  async #call(): Promise<Roll> {
    const { peers, header } = this.#parts;
    const facts = this.#parts.facts();
    const subnets = new Map<string, Map<string, number>>();
    const rows = new Map<SubnetKey, readonly number[]>();
    const headers: number[] = [];
    const headerOf = new Map<string, number>();
    const slices = new Slices();
    for (const peer of peers()) {
      if (slices.isOver) await slices.next();
      if (!peer || !isCountable(peer.dev)) continue;
      const { set, address } = placeOf(peer.subnet);
      const addresses = subnets.get(set) ?? new Map<string, number>();
      subnets.set(set, addresses.set(address, headers.length));
      rows.set(peer.key, [...(rows.get(peer.key) ?? []), headers.length]);
      if (!headerOf.has(peer.dev)) headerOf.set(peer.dev, header(peer.dev));
      headers.push(headerOf.get(peer.dev)!);
    }
    const devices = new Set(headerOf.keys());
    return {
      facts,
      wish: { devices, subnets, rows: headers.length },
      rows,
      headers: Uint8Array.from(headers),
    };
  }
}

/** An Ethernet header, which the kernel counts with a packet that leaves the device. */
const ETHERNET = 14;

/** Those whose packets the kernel forwards: a forwarder in user space counts its own. */
function* countedPeers({ asked }: Pick<Daemon, 'asked'>): Generator<CountedPeer | undefined> {
  if (!asked) return;
  const { network, held, served, host } = asked;
  const { backend, config } = network;
  if (backend.forwarding || !backend.paths) return;
  const view = leaseView(network, held, served);
  for (const path of backend.paths(config, view, host)) {
    const lease = path && view.peers.get(path.key);
    const subnet = lease && subnetOf(lease, path.family);
    yield subnet && { key: path.key, subnet, dev: path.dev };
  }
}

/** Counters of the kernel for the peers that a daemon serves. */
export const countTraffic = (
  daemon: Pick<Daemon, 'asked'>,
  state: Pick<ObservedState, 'link'>,
): KernelTraffic =>
  new KernelTraffic({
    counters: new PeerCounters(),
    peers: () => countedPeers(daemon),
    facts: () => daemon.asked,
    header: (device) => (state.link(device)?.mac === undefined ? 0 : ETHERNET),
  });
