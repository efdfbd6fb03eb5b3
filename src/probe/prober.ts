import { Slices } from '../kernel/slices.ts';
import { addon } from '../native/addon.ts';
import { openProber, type ProberAddon } from '../native/prober.ts';
import { sameAddr } from '../net/addr.ts';
import { Asker } from './asker.ts';
import type { Asking } from './asking.ts';
import { askBoth, BOTH } from './datagrams.ts';
import { Path } from './path.ts';
import { Reports } from './reports.ts';
import { PER_TICK, Schedule, TICK } from './schedule.ts';
import { Tally } from './tally.ts';
import { type PathReport, type ProbeCounters, type Probing, pathKey, type Target } from './types.ts';
import { isTroubled } from './verdict.ts';
import { CHECKSUM_EVERY, SMALL_OF_TROUBLED, visit, type Wish } from './visit.ts';

export interface ProberOptions {
  /** Milliseconds between rounds; 0: only what {@link Prober.probeNow} asks for. */
  readonly interval: number;
  /** Something was found out about a path. */
  readonly onReport?: (now: PathReport, before: PathReport, key: string) => void;
  /** The namespace to probe from; -1, the default: the process's own. */
  readonly netnsFd?: number;
  readonly addon?: Pick<ProberAddon, 'prober'>;
  /** 0 ≤ x < 1 */
  readonly random?: () => number;
  /** Monotonic, milliseconds. */
  readonly now?: () => number;
}

/** Visits at a time; those that find nothing wait a second for each packet. */
const MOST_VISITS = 64;
/** Part of the interval by which rounds come sooner or later: nodes that were started together do not stay together. */
const JITTER = 0.1;
/** Milliseconds that somebody waits for a fresh answer: then what is known is told. */
const LONGEST = 3_000;

/** Asks peers, judges, and keeps what is known of each path. */
export class Prober implements Probing {
  readonly interval: number;
  readonly #known = new Map<string, Path>();
  readonly paths: ReadonlyMap<string, PathReport> = new Reports(this.#known);
  readonly #schedule: Schedule;
  readonly #asker: Asker;
  readonly #options: ProberOptions;
  readonly #random: () => number;
  readonly #now: () => number;
  readonly #tally = new Tally();
  #generation = 0;
  #visits = 0;
  #round: NodeJS.Timeout | undefined;
  #ticking: NodeJS.Timeout | undefined;
  #stopped = false;

  /** Throws NativeError when its sockets cannot be had, e.g. without CAP_NET_RAW. */
  constructor(options: ProberOptions) {
    this.#options = options;
    this.interval = options.interval;
    this.#random = options.random ?? Math.random;
    this.#now = options.now ?? (() => performance.now());
    this.#schedule = new Schedule(this.#random);
    const { netnsFd = -1 } = options;
    this.#asker = new Asker(
      (onResults) => openProber(options.addon ?? addon(), netnsFd, onResults),
      this.#now,
    );
    if (this.interval > 0) this.#nextRound(this.#random());
  }

  get sample(): number {
    return this.#schedule.sample;
  }

  get counters(): ProbeCounters {
    return this.#tally.with(this.#asker);
  }

  async setTargets(targets: readonly Target[]): Promise<void> {
    if (this.#stopped) return;
    const generation = ++this.#generation;
    const slices = new Slices();
    let count = 0;
    for (const target of targets) {
      const key = pathKey(target);
      const known = this.#known.get(key);
      // One that is named twice is the one it was first.
      if (known?.generation === generation) continue;
      count++;
      const path = known ?? new Path(target);
      path.generation = generation;
      if (!known) this.#known.set(key, path);
      if (!known || this.#retarget(key, path, target)) this.#schedule.add(key, this.#now(), targets.length);
      if (slices.isOver) {
        this.#tick();
        await slices.next();
        // What was new is known to the schedule already.
        if (this.#stopped || generation !== this.#generation) return;
      }
    }
    if (count < this.#known.size) {
      for (const [key, path] of this.#known) if (path.generation !== generation) this.#forget(key);
    }
    this.#tick();
  }

  async probeNow(key: string): Promise<PathReport | undefined> {
    const path = this.#known.get(key);
    if (!path || this.#stopped) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise<void>((over) => {
      timer = setTimeout(over, LONGEST).unref();
    });
    await Promise.race([this.#freshVisit(key, path), bound]);
    clearTimeout(timer);
    return this.paths.get(key);
  }

  async #freshVisit(key: string, path: Path): Promise<void> {
    await path.visit;
    // Whoever else waited for that has begun one that serves us too.
    await (path.visit ?? this.#visit(key, path, { small: SMALL_OF_TROUBLED, checksum: true, fresh: true }));
  }

  mayCheck(key: string): boolean {
    const path = this.#known.get(key);
    return path?.small.health === 'reachable' && (path.allowance?.has(this.#now(), BOTH) ?? true);
  }

  async checkNow(key: string, hurry: boolean): Promise<PathReport['checksum']> {
    const path = this.#known.get(key);
    if (!path || this.#stopped) return 'unknown';
    return askBoth(path, hurry, this.#asking(key, path));
  }

  watch(keys: ReadonlySet<string>): void {
    this.#schedule.watch(keys);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#round);
    clearTimeout(this.#ticking);
    const visits = [...this.#known.values()].filter((path) => path.visit);
    // Silence from now on means nothing: each sees that its path is no longer what it was.
    for (const path of visits) path.target = { ...path.target };
    this.#asker.close();
    await Promise.all(visits.map((path) => path.visit));
  }

  /** True: it is to be asked as if it were new. */
  #retarget(key: string, path: Path, target: Target): boolean {
    const was = path.target;
    const same =
      was.addr.value === target.addr.value &&
      was.dev === target.dev &&
      was.mtu === target.mtu &&
      sameAddr(was.via, target.via) &&
      was.mac === target.mac;
    if (same && was.offloads === target.offloads) return false;
    const fresh = new Path(target);
    fresh.generation = path.generation;
    fresh.allowance = path.allowance;
    if (same) {
      // Only how checksums are filled in: the rest is as true as before.
      path.target = target;
      this.#told(key, path);
      return true;
    }
    // The visit that goes on sees that its path is another's now.
    path.target = target;
    this.#known.set(key, fresh);
    return true;
  }

  #forget(key: string): void {
    this.#known.delete(key);
    this.#schedule.remove(key);
  }

  #nextRound(part: number): void {
    const jitter = 1 + JITTER * (2 * this.#random() - 1);
    this.#round = setTimeout(
      () => {
        this.#nextRound(1);
        this.#schedule.round(this.#now());
        this.#tick();
      },
      this.interval * part * jitter,
    );
    this.#round.unref();
  }

  /** Begin the visits that are due, and again as long as there are any. */
  #tick(): void {
    clearTimeout(this.#ticking);
    this.#ticking = undefined;
    if (this.#stopped || this.interval === 0) return;
    const most = Math.min(PER_TICK, MOST_VISITS - this.#visits);
    for (const key of this.#schedule.take(this.#now(), Math.max(0, most))) {
      const path = this.#known.get(key);
      if (path && !path.visit) void this.#visit(key, path, this.#wish(key, path));
    }
    if (this.#schedule.isWaiting) this.#ticking = setTimeout(() => this.#tick(), TICK).unref();
  }

  #wish(key: string, path: Path): Wish {
    const special = this.#schedule.isTroubled(key) || this.#schedule.isWatched(key);
    return {
      small: special && path.small.health !== 'unreachable' ? SMALL_OF_TROUBLED : 1,
      checksum: special || path.visits % CHECKSUM_EVERY === 0,
      fresh: false,
    };
  }

  #visit(key: string, path: Path, wish: Wish): Promise<void> {
    this.#visits++;
    const run = visit(path, wish, this.#asking(key, path)).finally(() => {
      this.#visits--;
      path.visit = undefined;
      if (this.#known.get(key) !== path) return;
      this.#schedule.setTroubled(key, isTroubled(path.small, path.fullSize, path.checksum));
    });
    path.visit = run;
    return run;
  }

  #asking(key: string, path: Path): Asking {
    return {
      ask: (...question) => this.#asker.ask(...question),
      random: this.#random,
      now: this.#now,
      pause: (ms) => new Promise((done) => setTimeout(done, ms).unref()),
      small: (rtt) => this.#tally.count(rtt),
      told: () => this.#told(key, path),
    };
  }

  #told(key: string, path: Path): void {
    if (this.#stopped || this.#known.get(key) !== path) return;
    const before = path.report;
    if (path.renew()) this.#options.onReport?.(path.report, before, key);
  }
}
