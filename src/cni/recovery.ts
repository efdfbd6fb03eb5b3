import { join } from 'node:path';
import type { Prefix } from '../net/prefix.ts';
import type { Context } from './context.ts';
import { type Boot, type Remembered, recallBoot, rememberBoot, sweepRecords, sweepStores } from './sweep.ts';

/** Below the state directory: the boot in which all was swept. */
const BOOT_FILE = 'cni/boot';
/** Directories that are remembered. */
const MOST_DIRS = 64;
/** Milliseconds after which what has failed is tried again. */
const RETRY = 30_000;

/**
 * Cleans up, at a start, what earlier lives have left: attachments at once, and after a reboot the address stores as soon as the node's network is
 * known. What fails is told, and tried again.
 */
export class Recovery {
  readonly #ctx: Context;
  readonly #boot: Boot;
  readonly #file: string;
  /** Where attachments of this and earlier lives have their addresses from. */
  readonly #dataDirs: Set<string>;
  #isDone = false;
  #before: Remembered | undefined;
  #isRebooted = false;
  /** Is there an attachment that could not be cleaned up? */
  #isUnclean = false;
  #overlay: readonly Prefix[] = [];
  #writing: Promise<void> = Promise.resolve();
  readonly #retryAfter: number;
  #retry: NodeJS.Timeout | undefined;
  #isStopped = false;

  /** `retryAfter`: milliseconds. */
  constructor(ctx: Context, boot: Boot, stateDir: string, retryAfter = RETRY) {
    this.#ctx = ctx;
    this.#boot = boot;
    this.#retryAfter = retryAfter;
    this.#file = join(stateDir, BOOT_FILE);
    this.#dataDirs = new Set([...ctx.records.all()].map((r) => r.attachment.dataDir));
  }

  /** Nothing of an earlier life is in the way of calls any more. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Attachments. Never rejects. */
  async run(): Promise<void> {
    try {
      const before = await recallBoot(this.#file);
      this.#before = before;
      for (const dir of before?.dataDirs ?? []) this.#dataDirs.add(dir);
      // Not known is no: what others have noted in this boot may be in use.
      this.#isRebooted = before !== undefined && before.id !== this.#boot.id;
      await this.#clean();
      if (!this.#isRebooted) await this.#remember();
    } catch (err) {
      this.#isUnclean = true;
      this.#ctx.log.error({ err }, 'cannot clean up after the last run; it is tried again');
    }
    this.#isDone = true;
    this.#later();
    await this.#sweep();
  }

  /** The overlay's networks, which may be known late. */
  async know(overlay: readonly Prefix[]): Promise<void> {
    this.#overlay = overlay;
    await this.#sweep();
  }

  /** A network takes its addresses from here: after a reboot the directory is swept too. */
  uses(dataDir: string): void {
    if (this.#dataDirs.has(dataDir) || this.#dataDirs.size >= MOST_DIRS) return;
    this.#dataDirs.add(dataDir);
    if (!this.#isDone || this.#isRebooted) return;
    this.#remember().catch((err: unknown) =>
      this.#ctx.log.warn(
        { err, dataDir },
        'cannot remember an address store: a reboot will not free what is in it',
      ),
    );
  }

  /** Try nothing again. Resolves when nothing is being written. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    await this.#writing.catch(() => {});
  }

  #remember(): Promise<void> {
    const write = () =>
      rememberBoot(this.#file, {
        id: this.#boot.id,
        since: this.#boot.since,
        dataDirs: [...this.#dataDirs].filter((dir) => !dir.includes('\n')),
      });
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }

  async #clean(): Promise<void> {
    this.#isUnclean = !(await sweepRecords(this.#ctx));
  }

  async #sweep(): Promise<void> {
    if (!this.#isDone || !this.#isRebooted || this.#overlay.length === 0) return;
    this.#isRebooted = false;
    try {
      const { since: from = 0 } = this.#before ?? {};
      const to = this.#boot.since;
      // This boot is not before the one before: what is older than it cannot be told until the clock is put right.
      const isClockRight = to > from;
      if (isClockRight && (await sweepStores(this.#ctx, { from, to }, this.#overlay, this.#dataDirs))) {
        await this.#remember();
        return;
      }
    } catch (err) {
      this.#ctx.log.warn({ err }, 'cannot give back the addresses of pods from before the reboot');
    }
    this.#isRebooted = true;
    this.#later();
  }

  /** Try again what has failed, if anything has. */
  #later(): void {
    const isSweepOpen = this.#isRebooted && this.#overlay.length > 0;
    if (this.#isStopped || this.#retry || !(this.#isUnclean || isSweepOpen)) return;
    this.#retry = setTimeout(() => void this.#again(), this.#retryAfter).unref();
  }

  async #again(): Promise<void> {
    this.#retry = undefined;
    try {
      if (this.#isUnclean) await this.#clean();
    } catch (err) {
      this.#ctx.log.warn({ err }, 'cannot clean up after the last run; it is tried again');
    }
    await this.#sweep();
    this.#later();
  }
}
