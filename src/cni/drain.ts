import { type FSWatcher, watch } from 'node:fs';
import { Gate } from './attach/gate.ts';
import type { CniLog } from './context.ts';
import type { DelegateRunner } from './delegates.ts';
import { CODE } from './errors.ts';
import { KeyedMutex } from './mutex.ts';
import { type QueuedDel, QueueFiles } from './queueFiles.ts';
import type { DelegateOutcome, PluginAnswer, PluginCall } from './types.ts';

/** Rounds of delegates for one call, as in the plugin. */
const ROUNDS = 8;
/** Attachments whose DELs are carried out at once. */
const AT_ONCE = 8;
/** Milliseconds until what has failed is tried again: twice as long each time. */
const BACKOFF = { first: 5_000, most: 300_000 } as const;
/** Milliseconds between two tries to watch a directory that cannot be watched. */
const REWATCH = 30_000;
/** What will fail for ever: the call itself is wrong. */
const PERMANENT: readonly number[] = [
  CODE.incompatibleVersion,
  CODE.invalidEnvironment,
  CODE.decodingFailure,
  CODE.invalidConfig,
  CODE.invalidNetns,
];

export interface DrainParts {
  readonly dir: string;
  readonly handle: (call: PluginCall, queuedAt: number) => Promise<PluginAnswer>;
  readonly runDelegate: DelegateRunner;
  readonly log: CniLog;
  /** For tests. */
  readonly backoff?: { readonly first: number; readonly most: number };
  readonly watch?: typeof watch;
}

interface Entry extends QueuedDel {
  failures: number;
  /** Monotonic milliseconds before which it is not tried. */
  notBefore: number;
  /** What was said of it last. */
  said?: string;
}

/**
 * DELs that came while no daemon ran, each a file with the whole call: carried out at the start, and when a plugin that found no daemon
 * writes one while we start. Those of one attachment come one after the other, others beside each other. What fails is tried again, ever
 * more slowly; what can never succeed is set aside.
 */
export class DelQueue {
  readonly #parts: DrainParts;
  readonly #files: QueueFiles;
  readonly #stop = new AbortController();
  readonly #entries = new Map<string, Entry>();
  /** Of each attachment the DELs that are being carried out, or will be when there is room. */
  readonly #jobs = new Map<string, Promise<void>>();
  readonly #order = new KeyedMutex();
  readonly #gate = new Gate(AT_ONCE);
  #watcher: FSWatcher | undefined;
  #rewatch: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #listing: Promise<void> = Promise.resolve();
  #isListing = false;
  #problem: string | undefined;
  #isWarned = false;
  #more = 0;

  constructor(parts: DrainParts) {
    this.#parts = parts;
    this.#files = new QueueFiles(parts.dir);
  }

  /** Files that are not done. */
  get waiting(): number {
    return this.#entries.size + this.#more;
  }

  /** Why what is queued is not done, if that is so. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Start to watch the directory, and drain it. Resolves when what was there is done or has failed. */
  async start(): Promise<void> {
    await this.#files.make().catch((err: NodeJS.ErrnoException) => {
      if (err.code !== 'EEXIST') this.#refuse(err);
    });
    this.#watch();
    await this.drain();
  }

  /** Carry out what is there and due. Resolves when all of it is done or has failed. */
  async drain(): Promise<void> {
    await this.#list();
    const now = performance.now();
    for (const { key, notBefore } of this.#entries.values()) {
      if (notBefore > now || this.#jobs.has(key) || this.#stop.signal.aborted) continue;
      this.#jobs.set(key, this.#job(key));
    }
    await Promise.all(this.#jobs.values());
    this.#plan();
  }

  /**
   * A call of this attachment has come: carry out what is queued of it first, due or not. Undefined: nothing is. Where the directory
   * cannot be watched, the rest is looked at as well, without being waited for.
   */
  before(key: string): Promise<void> | undefined {
    if (this.#stop.signal.aborted) return undefined;
    let isNew = false;
    try {
      isNew = this.#files.changed();
    } catch (err) {
      this.#refuse(err);
    }
    const listing = isNew ? this.#list() : this.#isListing ? this.#listing : undefined;
    if (isNew && this.#watcher === undefined) void this.drain();
    return listing === undefined && !this.#has(key) ? undefined : this.#first(key, listing);
  }

  async #first(key: string, listing: Promise<void> | undefined): Promise<void> {
    await listing;
    if (!this.#has(key)) return;
    await this.#carryOutAll(key, Number.POSITIVE_INFINITY);
    this.#plan();
  }

  #has(key: string): boolean {
    for (const entry of this.#entries.values()) if (entry.key === key) return true;
    return false;
  }

  /** An ADD or DEL of this attachment that began at `at` has succeeded: what was queued before is out of date. Never rejects. */
  async done(key: string, network: string, at: number): Promise<void> {
    for (const entry of [...this.#entries.values()]) {
      if (entry.key === key && entry.network === network && entry.at <= at) await this.#drop(entry);
    }
  }

  /** Stop; what is not done stays in the queue. */
  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#retry);
    clearTimeout(this.#rewatch);
    this.#watcher?.close();
    this.#watcher = undefined;
    await this.#listing;
    await Promise.all(this.#jobs.values());
  }

  #watch(): void {
    if (this.#stop.signal.aborted || this.#watcher) return;
    const { dir, log } = this.#parts;
    const lost = (err: unknown) => {
      this.#watcher?.close();
      this.#watcher = undefined;
      if (!this.#isWarned)
        log.warn(
          { err, dir },
          'cannot watch the queue of DELs: it is looked at when a pod is attached or detached, and now and then ' +
            '(fs.inotify.max_user_instances may be too small)',
        );
      this.#isWarned = true;
      clearTimeout(this.#rewatch);
      if (this.#stop.signal.aborted) return;
      this.#rewatch = setTimeout(() => {
        this.#watch();
        void this.drain();
      }, REWATCH).unref();
    };
    try {
      this.#watcher = (this.#parts.watch ?? watch)(dir, { persistent: false }, () => void this.drain());
      this.#watcher.on('error', lost);
      this.#isWarned = false;
    } catch (err) {
      lost(err);
    }
  }

  /** Learn of what has come, one listing after the other. Never rejects. */
  #list(): Promise<void> {
    this.#listing = this.#listing.then(async () => {
      if (this.#stop.signal.aborted) return;
      this.#isListing = true;
      try {
        const { names, more } = await this.#files.list();
        this.#more = more;
        this.#problem = undefined;
        const there = new Set(names);
        for (const name of [...this.#entries.keys()]) if (!there.has(name)) this.#entries.delete(name);
        for (const name of names) if (!this.#entries.has(name)) await this.#learn(name);
      } catch (err) {
        this.#refuse(err);
      } finally {
        this.#isListing = false;
      }
    });
    return this.#listing;
  }

  async #learn(name: string): Promise<void> {
    try {
      const read = await this.#files.read(name);
      if (read) this.#entries.set(name, { ...read.queued, failures: 0, notBefore: 0 });
    } catch (err) {
      if (err instanceof SyntaxError) return await this.#setAside(name, { err }, 'cannot be read');
      // Nobody's yet: it is read again when it is tried.
      this.#entries.set(name, { name, key: `?${name}`, network: '', at: 0, failures: 0, notBefore: 0 });
    }
  }

  /** The directory is not to be used; said once. */
  #refuse(err: unknown): void {
    const problem = `DELs that came while no daemon ran are not done: ${(err as Error).message}`;
    if (this.#problem !== problem) this.#parts.log.error({ err, dir: this.#parts.dir }, problem);
    this.#problem = problem;
    this.#entries.clear();
    this.#more = 0;
  }

  async #job(key: string): Promise<void> {
    await this.#gate.enter();
    try {
      await this.#carryOutAll(key, performance.now());
    } finally {
      this.#gate.leave();
      this.#jobs.delete(key);
      // What has come at the last moment has been left to this job.
      const now = performance.now();
      const isMore = [...this.#entries.values()].some((e) => e.key === key && e.notBefore <= now);
      if (isMore && !this.#stop.signal.aborted) this.#jobs.set(key, this.#job(key));
    }
  }

  /** All of one attachment that were due at that time, oldest first. */
  async #carryOutAll(key: string, due: number): Promise<void> {
    await this.#order.run(key, async () => {
      const tried = new Set<Entry>();
      for (;;) {
        const next = [...this.#entries.values()].find(
          (e) => e.key === key && e.notBefore <= due && !tried.has(e),
        );
        if (!next || this.#stop.signal.aborted) return;
        tried.add(next);
        await this.#carryOut(next);
      }
    });
  }

  async #carryOut(entry: Entry): Promise<void> {
    try {
      const read = await this.#files.read(entry.name);
      if (!read) {
        this.#entries.delete(entry.name);
        return;
      }
      const { call, queued } = read;
      const { answer, ranDelegates } = await this.#ask(call, queued.at);
      if (answer.kind === 'done') {
        await this.done(queued.key, queued.network, queued.at);
        this.#entries.delete(entry.name);
        await this.#files.remove(entry.name);
        const { CNI_CONTAINERID: containerId, CNI_IFNAME: ifname } = call.env;
        this.#parts.log.info({ containerId, ifname }, 'a queued DEL is done');
        return;
      }
      const error = answer.kind === 'error' ? answer.error : undefined;
      // What a delegate says may be of the moment, whatever its number.
      if (error && !ranDelegates && PERMANENT.includes(error.code)) {
        await this.#setAside(entry.name, { error }, `can never be done (${error.msg})`);
        return;
      }
      this.#later(entry, { error }, error?.msg ?? 'it goes round and round');
    } catch (err) {
      if (err instanceof SyntaxError) await this.#setAside(entry.name, { err }, 'cannot be read');
      else this.#later(entry, { err }, (err as Error).message);
    }
  }

  /** As the plugin does: run the delegates that are named, and ask again. */
  async #ask(call: PluginCall, at: number): Promise<{ answer: PluginAnswer; ranDelegates: boolean }> {
    const delegated: DelegateOutcome[] = [];
    for (let round = 1; ; round++) {
      const answer = await this.#parts.handle(delegated.length > 0 ? { ...call, delegated } : call, at);
      if (answer.kind !== 'delegates' || round === ROUNDS)
        return { answer, ranDelegates: delegated.length > 0 };
      for (const delegate of answer.delegates) {
        const outcome = await this.#parts.runDelegate(call, delegate, this.#stop.signal);
        delegated.push(outcome);
        if (outcome.exit !== 0) break;
      }
    }
  }

  #later(entry: Entry, fields: object, why: string): void {
    if (this.#stop.signal.aborted) return;
    const { first, most } = this.#parts.backoff ?? BACKOFF;
    const wait = Math.min(most, first * 2 ** Math.min(entry.failures++, 20));
    entry.notBefore = performance.now() + wait;
    if (entry.said !== why)
      this.#parts.log.error(
        { file: entry.name, dir: this.#parts.dir, ...fields },
        `a queued DEL fails, and is tried again in ${wait / 1000} s and ever more slowly: ${why}`,
      );
    entry.said = why;
  }

  async #setAside(name: string, fields: object, why: string): Promise<void> {
    this.#entries.delete(name);
    this.#parts.log.error({ file: name, dir: this.#parts.dir, ...fields }, `a queued DEL ${why}: set aside`);
    await this.#files.setAside(name).catch(() => {});
  }

  async #drop(entry: Entry): Promise<void> {
    this.#entries.delete(entry.name);
    await this.#files
      .remove(entry.name)
      .catch((err: unknown) =>
        this.#parts.log.error(
          { err, file: entry.name, dir: this.#parts.dir },
          'a queued DEL is out of date and cannot be removed: remove it',
        ),
      );
  }

  /** Wake up when the next of those that have failed is due. */
  #plan(): void {
    clearTimeout(this.#retry);
    const times = [...this.#entries.values()].filter((e) => e.failures > 0).map((e) => e.notBefore);
    if (times.length === 0 || this.#stop.signal.aborted) return;
    const wait = Math.max(0, Math.min(...times) - performance.now());
    this.#retry = setTimeout(() => void this.drain(), wait + 1).unref();
  }
}
