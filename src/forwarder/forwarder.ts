import { join } from 'node:path';
import type { ForwarderTable } from '../backends/backend.ts';
import { FILES } from '../contract.ts';
import type { ForwarderAbility, NativeForwarder } from '../native/forwarder.ts';
import { formatAddr } from '../net/addr.ts';
import type { Bundle } from './bundle.ts';
import * as fds from './ends.ts';
import { Engine, type EngineOptions } from './engine.ts';
import { type ReadSaved, readSaved, SavedFile, type SavedForwarding } from './tableFile.ts';
import { attempt, type ForwarderWish, isAlive, type Problems, wantedEnds } from './wanted.ts';

export interface ForwarderOptions extends EngineOptions {
  /** A name that no other network has: what is saved of another one is not forwarded. */
  readonly network: string;
}

/** Milliseconds before what was refused is tried again: nobody tells when a port or a device comes free. */
const RETRY = 1_000;

/**
 * Owns the descriptors and the native forwarder, and makes both agree with a wish. Opening and closing is done here, on
 * the event loop; no packet ever waits for it. All that is wrong is a value: nothing of this ends the daemon.
 */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #engine: Engine;
  readonly #saved: SavedFile;
  readonly #listeners = new Set<() => void>();
  /** There may be a file, also one that could not be used. */
  #mayBeSaved = true;
  /** Until more is known than that. */
  #read: ReadSaved | undefined;
  #wish: ForwarderWish | undefined;
  #ends: fds.Ends = fds.NO_ENDS;
  #released = false;
  #closed = false;
  #problems: Problems = new Map();
  #saveProblem: string | undefined;
  #told = '';
  #retry: NodeJS.Timeout | undefined;
  /** While it is there, nothing is started: the device gives errors. Ended by another device or socket, too. */
  #pause: NodeJS.Timeout | undefined;
  #restartedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#engine = new Engine(options, () => this.#deviceLost());
    this.#saved = new SavedFile(this.#tableFile, options.network, (problem) => {
      this.#saveProblem = problem;
      this.#tell();
    });
  }

  /** Be told that {@link problems} or {@link bundle} may have changed. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get #tableFile(): string {
    return join(this.#options.runDir, FILES.forwarderTable);
  }

  /** What shall be forwarded from now on; undefined: nothing, and what is saved is forgotten. */
  set(wish: ForwarderWish | undefined): void {
    if (this.#closed) return;
    const had = this.#wish;
    this.#wish = wish;
    this.#read = undefined;
    if (!wish) {
      if (this.#mayBeSaved) this.#saved.save(undefined);
    } else if (!had || !isSavedAlike(had, wish)) {
      this.#saved.save(wish);
    }
    this.#mayBeSaved = wish !== undefined;
    this.#settle();
  }

  /**
   * Forward what the last daemon did, as it is saved: after a kill, when nobody has handed anything over. False when
   * nothing is saved.
   */
  async resumeSaved(threads: number): Promise<boolean> {
    const saved = await this.#readSaved();
    if (!saved || this.#wish || this.#closed) return false;
    this.#wish = { ...saved, ifindex: 'any', threads };
    this.#settle();
    return true;
  }

  /** Have ready what {@link adopt} will need. Nothing of another daemon's is touched. Throws when it cannot be had. */
  async prepare(): Promise<void> {
    const saved = await this.#readSaved();
    // Packets wait while a table is read and put in force. Seldom is there another one by then.
    if (saved && !this.running) this.#engine.use(saved.table);
  }

  /**
   * Forward between these from now on, by the table that is saved. Rejects with an Error that says why not: the descriptors
   * stay the caller's then, and must not be closed before.
   */
  async adopt(bundle: Bundle): Promise<void> {
    const saved = await this.#readSaved();
    if (!saved) throw new Error(`there is no table to forward by in ${this.#tableFile}`);
    if (this.#closed || this.#wish) throw new Error('something is forwarded already');
    const ends = fds.inspect(this.#options.native, bundle);
    this.#wish = {
      device: bundle.device,
      ifindex: 'any',
      port: bundle.port,
      local: ends.udp.map(({ addr }) => addr),
      threads: bundle.queues.length,
      table: saved.table,
    };
    this.#ends = ends;
    // Looked at just now: a second look that finds the device gone would close what is not ours yet.
    this.#settle(false, true);
    if (this.running) return;
    const why = this.problems.join('; ');
    clearTimeout(this.#retry);
    this.#wish = undefined;
    this.#ends = fds.NO_ENDS;
    throw new Error(why);
  }

  /** What there is to hand over, while all is whole. */
  get bundle(): Bundle | undefined {
    const { tun, udp } = this.#ends;
    const queues = fds.queuesOf(this.#ends);
    return tun && queues.length > 0 ? { device: tun.device, port: udp[0]!.port, queues } : undefined;
  }

  /**
   * Stop, and give the descriptors away: they stay open here until {@link stop}, and the kernel's queues behind them hold what
   * comes. Undefined: there is nothing to give. From now on wishes are only noted.
   */
  async release(): Promise<Bundle | undefined> {
    this.#released = true;
    clearTimeout(this.#retry);
    // Whoever takes over forwards by what is saved. Packets go on meanwhile.
    await this.#saved.settled();
    this.#engine.stop();
    return this.bundle;
  }

  /** After a {@link release} that came to nothing: forward again. */
  resume(): void {
    if (!this.#released) return;
    this.#released = false;
    this.#settle();
  }

  /** Everything read is sent on, then all is closed. What is saved stays. */
  async stop(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#endPause();
    this.#engine.close();
    this.#options.native.closeFds(fds.leftOver(this.#ends, fds.NO_ENDS));
    this.#ends = fds.NO_ENDS;
    await this.#saved.close();
  }

  get running(): boolean {
    return this.#engine.running;
  }

  /** Threads at work. */
  get threads(): number {
    return this.running ? (fds.countOf(this.#ends) ?? 0) : 0;
  }

  /** What the kernel does for us, once it has been asked. */
  get ability(): ForwarderAbility | undefined {
    return this.#engine.ability;
  }

  /** In force. */
  get table(): ForwarderTable | undefined {
    return this.#engine.table;
  }

  /** Undefined before anything was ever forwarded. */
  get native(): NativeForwarder | undefined {
    return this.#engine.native;
  }

  /** What keeps it from forwarding all that is wished, in words; empty when nothing does. */
  get problems(): readonly string[] {
    return [...this.#problems.values()];
  }

  /** What does not keep it from forwarding, but should not be. */
  get warnings(): readonly string[] {
    return this.#saveProblem === undefined ? [] : [this.#saveProblem];
  }

  async #readSaved(): Promise<SavedForwarding | undefined> {
    const { network, onNote } = this.#options;
    const file = this.#tableFile;
    const wrong = (reason: string) =>
      onNote('warn', 'what is saved of the forwarder is not used', { file, reason });
    this.#read = await readSaved(file, network, wrong, this.#read);
    return this.#read?.saved;
  }

  /**
   * Makes descriptors, table and threads agree with the wish. What is right already is not touched. `isNews`: something has
   * changed before. `isInUse`: the descriptors are known to work.
   */
  #settle(isNews = false, isInUse = this.running): void {
    clearTimeout(this.#retry);
    if (this.#released || this.#closed) return;
    const { native } = this.#options;
    const wish = this.#wish;
    const problems: Problems = new Map();
    const before = this.#ends;
    const after = wish ? wantedEnds(native, wish, before, isInUse, problems) : fds.NO_ENDS;
    const left = fds.leftOver(before, after);
    const isChanged = left.length > 0 || fds.leftOver(after, before).length > 0;
    if (isChanged || !wish) this.#engine.stop();
    if (isChanged) this.#endPause();
    this.#ends = after;
    if (left.length > 0) native.closeFds(left);
    if (wish) {
      const wrong = (e: Error) => `cannot use the forwarding table: ${e.message}`;
      attempt('table', problems, wrong, () => this.#engine.use(wish.table));
      const still = (e: Error) => `cannot start to forward: ${e.message}`;
      if (this.#pause) problems.set('device', `the device ${wish.device} gives errors`);
      else if (!this.running && this.table)
        attempt('threads', problems, still, () => this.#engine.start(after));
    } else {
      this.#engine.forget();
    }
    this.#problems = problems;
    if (problems.size > 0) this.#retryLater();
    this.#tell(isChanged || isNews);
  }

  /** A worker has found its queue dead, and sleeps. News of a device we have left already comes here too. */
  #deviceLost(): void {
    const { tun } = this.#ends;
    if (!this.running || !tun) return;
    this.#engine.stop();
    if (!isAlive(this.#options.native, tun)) {
      this.#options.onNote('warn', 'the device is gone; packets from peers wait', { device: tun.device });
      this.#settle(true);
      return;
    }
    // Its device is there: begin again, once at once, then with a pause, or this would be all we do.
    const now = performance.now();
    if (now - this.#restartedAt > RETRY) {
      this.#restartedAt = now;
      this.#settle(true);
    } else {
      this.#pause = setTimeout(() => {
        this.#endPause();
        this.#settle();
      }, RETRY).unref();
      this.#settle();
    }
  }

  #endPause(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#settle(), RETRY).unref();
  }

  /** Once for each change. */
  #tell(isChanged = false): void {
    const text = [...this.problems, ...this.warnings, this.running].join('\n');
    if (text === this.#told && !isChanged) return;
    this.#told = text;
    for (const listener of this.#listeners) listener();
  }
}

const isSavedAlike = (a: SavedForwarding, b: SavedForwarding): boolean =>
  a.table === b.table &&
  a.device === b.device &&
  a.port === b.port &&
  a.local.map(formatAddr).join() === b.local.map(formatAddr).join();
