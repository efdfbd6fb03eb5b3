import type { TrafficJson } from '../../../src/api/shapes.ts';

/** Throughput of peers from totals that grow: differences of successive answers, kept for a while. */

/** Samples kept: memory is bounded by peers times this. */
export const KEPT = 120;

export type Direction = 'in' | 'out' | 'both';

/** Bytes a second. */
export interface Rate {
  readonly in: number;
  readonly out: number;
}

interface Track {
  last: TrafficJson;
  lastAt: number;
  /** Aligned with the end of the book's times. */
  readonly in: number[];
  readonly out: number[];
  /** The sample it was last seen in. */
  seen: number;
}

/** The busiest peers over what is kept. */
export interface Plot {
  /** Seconds since the epoch, ascending. */
  readonly times: readonly number[];
  readonly series: readonly { readonly key: string; readonly values: readonly (number | null)[] }[];
  /** Of all peers. */
  readonly sum: readonly (number | null)[];
  /** Peers of which traffic is known. */
  readonly peers: number;
}

const add = (list: number[], value: number): void => {
  list.push(value);
  if (list.length > KEPT) list.shift();
};

export class RateBook {
  readonly #tracks = new Map<string, Track>();
  readonly #times: number[] = [];
  #sample = 0;

  /** Take an answer made at `at` (ms). Returns rates of peers that were in the one before too. */
  take(at: number, peers: Iterable<readonly [string, TrafficJson | null]>): Map<string, Rate> {
    const rates = new Map<string, Rate>();
    const before = this.#times.at(-1);
    // An answer that is not newer tells nothing.
    if (before !== undefined && at <= before * 1000) return rates;
    add(this.#times, at / 1000);
    this.#sample++;
    for (const [key, traffic] of peers) {
      if (!traffic) continue;
      const track = this.#tracks.get(key);
      if (!track) {
        this.#tracks.set(key, { last: traffic, lastAt: at, in: [], out: [], seen: this.#sample });
        continue;
      }
      const seconds = (at - track.lastAt) / 1000;
      const inBytes = traffic.inBytes - track.last.inBytes;
      const outBytes = traffic.outBytes - track.last.outBytes;
      track.last = traffic;
      track.lastAt = at;
      track.seen = this.#sample;
      // Smaller than before: counting began anew, and how much was counted before that nobody knows.
      const rate =
        inBytes < 0 || outBytes < 0 ? { in: 0, out: 0 } : { in: inBytes / seconds, out: outBytes / seconds };
      add(track.in, rate.in);
      add(track.out, rate.out);
      rates.set(key, rate);
    }
    for (const [key, track] of this.#tracks) if (track.seen !== this.#sample) this.#tracks.delete(key);
    return rates;
  }

  /** Another daemon counts now: what was is not comparable. */
  forget(): void {
    this.#tracks.clear();
    this.#times.length = 0;
  }

  /** The `n` peers with most traffic, and the sum of all; bytes a second. */
  plot(n: number, direction: Direction): Plot {
    const samples = this.#times.length;
    const sum = new Array<number | null>(samples).fill(null);
    const totals: { key: string; total: number; track: Track }[] = [];
    for (const [key, track] of this.#tracks) {
      const offset = samples - track.in.length;
      let total = 0;
      for (let i = 0; i < track.in.length; i++) {
        const v = rateOf(track, i, direction);
        total += v;
        sum[offset + i] = (sum[offset + i] ?? 0) + v;
      }
      if (total > 0) totals.push({ key, total, track });
    }
    totals.sort((a, b) => b.total - a.total || (a.key < b.key ? -1 : 1));
    const series = totals.slice(0, n).map(({ key, track }) => {
      const values = new Array<number | null>(samples).fill(null);
      const offset = samples - track.in.length;
      for (let i = 0; i < track.in.length; i++) values[offset + i] = rateOf(track, i, direction);
      return { key, values };
    });
    return { times: [...this.#times], series, sum, peers: this.#tracks.size };
  }
}

const rateOf = (track: Track, i: number, direction: Direction): number =>
  direction === 'in' ? track.in[i]! : direction === 'out' ? track.out[i]! : track.in[i]! + track.out[i]!;
