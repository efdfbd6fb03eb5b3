import { type FSWatcher, watch } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSmall } from '../subnet/files.ts';
import type { CniLog } from './context.ts';
import type { DelegateRunner } from './delegates.ts';
import { parseCall } from './protocol/call.ts';
import type { DelegateOutcome, PluginAnswer, PluginCall } from './types.ts';

/** `<ns since the epoch>-<pid>.json`, as the plugin names them. */
const NAME = /^(\d{1,20})-\d{1,10}\.json$/;
/** Rounds of delegates for one call, as in the plugin. */
const ROUNDS = 8;
/** Names given to what cannot be read. */
const ASIDE = '.bad';

export interface DrainParts {
  readonly dir: string;
  readonly handle: (call: PluginCall, queuedAt: number) => Promise<PluginAnswer>;
  readonly runDelegate: DelegateRunner;
  readonly log: CniLog;
}

/**
 * DELs that came while no daemon ran, each a file with the whole call: carried out at the start, and when a plugin that found no daemon
 * writes one while we start. What fails is kept for the next start.
 */
export class DelQueue {
  readonly #parts: DrainParts;
  readonly #stop = new AbortController();
  #watcher: FSWatcher | undefined;
  /** Files that have failed; they wait for the next start. */
  readonly #failed = new Set<string>();
  #waiting = 0;
  #draining: Promise<void> = Promise.resolve();
  #again = false;

  constructor(parts: DrainParts) {
    this.#parts = parts;
  }

  /** Files that are not done. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Start to watch the directory, and drain it. Resolves when what was there is done or has failed. */
  async start(): Promise<void> {
    const { dir, log } = this.#parts;
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      this.#watcher = watch(dir, { persistent: false }, () => void this.drain());
      this.#watcher.on('error', (err) => log.warn({ err, dir }, 'cannot watch the queue of DELs'));
    } catch (err) {
      log.error(
        { err, dir },
        'cannot use the queue of DELs: what was asked for while no daemon ran is not done',
      );
      return;
    }
    await this.drain();
  }

  /** Carry out what is there. One at a time; asked for while it runs, it runs once more. */
  drain(): Promise<void> {
    if (this.#again) return this.#draining;
    this.#again = true;
    this.#draining = this.#draining.then(async () => {
      this.#again = false;
      await this.#drain().catch((err: unknown) =>
        this.#parts.log.error({ err, dir: this.#parts.dir }, 'cannot drain the queue of DELs'),
      );
    });
    return this.#draining;
  }

  /** Stop; what is not done stays in the queue. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#watcher?.close();
    await this.#draining;
  }

  async #drain(): Promise<void> {
    const names = (await readdir(this.#parts.dir)).filter((n) => NAME.test(n)).sort(byTime);
    const todo = names.filter((n) => !this.#failed.has(n));
    this.#waiting = names.length;
    for (const name of todo) {
      if (this.#stop.signal.aborted) return;
      if (await this.#carryOut(name)) this.#waiting--;
      else this.#failed.add(name);
    }
  }

  /** True: it is done with, well or for good. */
  async #carryOut(name: string): Promise<boolean> {
    const { dir, handle, runDelegate, log } = this.#parts;
    const file = join(dir, name);
    let call: PluginCall;
    try {
      const text = await readSmall(file, 16 << 20);
      if (text === undefined) return true;
      call = parseCall(JSON.parse(text));
      if (call.env.CNI_COMMAND !== 'DEL') throw new Error('it is no DEL');
    } catch (err) {
      log.error({ err, file }, 'a queued DEL cannot be read: set aside');
      await rename(file, `${file}${ASIDE}`).catch(() => {});
      return true;
    }
    const queuedAt = Number(BigInt(NAME.exec(name)![1]!) / 1_000_000n);
    const delegated: DelegateOutcome[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const answer = await handle(delegated.length > 0 ? { ...call, delegated } : call, queuedAt);
      if (answer.kind === 'delegates') {
        for (const delegate of answer.delegates) {
          const outcome = await runDelegate(call, delegate, this.#stop.signal);
          delegated.push(outcome);
          if (outcome.exit !== 0) break;
        }
        continue;
      }
      if (answer.kind === 'done') {
        await rm(file, { force: true });
        log.info(
          { containerId: call.env.CNI_CONTAINERID, ifname: call.env.CNI_IFNAME },
          'a queued DEL is done',
        );
        return true;
      }
      log.error({ file, error: answer.error }, 'a queued DEL fails; it is tried again at the next start');
      return false;
    }
    log.error({ file }, 'a queued DEL goes round and round; it is tried again at the next start');
    return false;
  }
}

const byTime = (a: string, b: string): number => {
  const [x, y] = [BigInt(NAME.exec(a)![1]!), BigInt(NAME.exec(b)![1]!)];
  return x < y ? -1 : x > y ? 1 : 0;
};
