import { Ring } from './ring.ts';

/** Milliseconds: visits begin in batches. */
export const TICK = 100;
/** Visits that begin in one tick: 50 a second. */
export const PER_TICK = 5;
/** Paths with something wrong, or watched, that are visited in one round; they take turns. */
export const MOST_TROUBLED = 16;
/** Milliseconds from a target's coming, or change, to its first visit at least: the other end is still being set up. */
export const SETTLE = 300;
/** Milliseconds over which first visits are spread, for each path there is: a thousand nodes ask a newcomer 50 times a second. */
export const SPREAD_PER_PATH = 20;

/** Paths asked in each round: a logarithmic sample. */
export const sampleOf = (paths: number): number =>
  paths <= 1 ? paths : Math.min(paths, Math.ceil(Math.log2(paths)) + 1);

/** Which path is visited when. Keeps no clock: times are given, in milliseconds, and never go back. */
export class Schedule {
  readonly #random: () => number;
  readonly #ring: Ring;
  /** Names by the tick in which they are due. */
  readonly #due = new Map<number, string[]>();
  /** The tick each is due in, so that none is due twice. */
  readonly #dueAt = new Map<string, number>();
  /** In the order of their turns. */
  readonly #troubled = new Set<string>();
  readonly #watched = new Set<string>();
  /** The first tick that has not been served. */
  #tick = 0;

  constructor(random: () => number) {
    this.#random = random;
    this.#ring = new Ring(random);
  }

  get sample(): number {
    return sampleOf(this.#ring.size);
  }

  /** Is anything going to be due without a further round? */
  get isWaiting(): boolean {
    return this.#dueAt.size > 0;
  }

  /** A path that is new or has changed. `paths`: how many there are. */
  add(name: string, now: number, paths: number): void {
    this.#ring.add(name);
    this.#put(name, now + SETTLE + this.#random() * Math.max(SETTLE, paths * SPREAD_PER_PATH));
  }

  remove(name: string): void {
    this.#ring.remove(name);
    this.#troubled.delete(name);
    this.#watched.delete(name);
    // What is left in #due is passed over.
    this.#dueAt.delete(name);
  }

  setTroubled(name: string, troubled: boolean): void {
    if (!troubled) this.#troubled.delete(name);
    else this.#troubled.add(name);
  }

  isTroubled(name: string): boolean {
    return this.#troubled.has(name);
  }

  watch(names: ReadonlySet<string>): void {
    for (const name of this.#watched) if (!names.has(name)) this.#watched.delete(name);
    for (const name of names) this.#watched.add(name);
  }

  isWatched(name: string): boolean {
    return this.#watched.has(name);
  }

  /** A round begins: its sample, and those with something wrong in their turn, are due now. */
  round(now: number): void {
    const names = new Set(this.#ring.take(this.sample));
    for (const set of [this.#troubled, this.#watched]) {
      let left = Math.min(MOST_TROUBLED, set.size);
      for (const name of set) {
        if (left-- <= 0) break;
        names.add(name);
        // To the end of the turns.
        set.delete(name);
        set.add(name);
      }
    }
    for (const name of names) this.#put(name, now);
  }

  /** At most {@link PER_TICK} paths to visit now. What is too much is due in the next tick. */
  take(now: number, most: number = PER_TICK): string[] {
    const until = Math.floor(now / TICK);
    if (this.#dueAt.size === 0) {
      this.#due.clear();
      this.#tick = until;
      return [];
    }
    const out: string[] = [];
    for (; this.#tick <= until; this.#tick++) {
      const names = this.#due.get(this.#tick);
      while (names && names.length > 0 && out.length < most) {
        const name = names.pop()!;
        if (this.#dueAt.get(name) !== this.#tick) continue;
        this.#dueAt.delete(name);
        out.push(name);
      }
      if (names && names.length > 0) break;
      this.#due.delete(this.#tick);
    }
    return out;
  }

  /** Due then, unless it is due already before that. */
  #put(name: string, at: number): void {
    const tick = Math.max(Math.floor(at / TICK), this.#tick);
    const known = this.#dueAt.get(name);
    if (known !== undefined && known <= tick) return;
    this.#dueAt.set(name, tick);
    const names = this.#due.get(tick);
    if (names) names.push(name);
    else this.#due.set(tick, [name]);
  }
}
