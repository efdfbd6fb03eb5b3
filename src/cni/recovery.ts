import { join } from 'node:path';
import type { Prefix } from '../net/prefix.ts';
import type { Context } from './context.ts';
import { type Boot, recallBoot, rememberBoot, sweepRecords, sweepStores } from './sweep.ts';

/** Below the state directory: the boot in which all was swept. */
const BOOT_FILE = 'cni/boot';
/** Directories that are remembered. */
const MOST_DIRS = 64;

/**
 * Cleans up, at a start, what earlier lives have left: attachments at once, and after a reboot the address stores as soon as the node's network is
 * known. What fails is told, and left to the next start.
 */
export class Recovery {
  readonly #ctx: Context;
  readonly #boot: Boot;
  readonly #file: string;
  /** Where attachments of this and earlier lives have their addresses from. */
  readonly #dataDirs: Set<string>;
  #isDone = false;
  #isRebooted = false;
  #overlay: readonly Prefix[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(ctx: Context, boot: Boot, stateDir: string) {
    this.#ctx = ctx;
    this.#boot = boot;
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
      for (const dir of before?.dataDirs ?? []) this.#dataDirs.add(dir);
      // Not known is no: what others have noted in this boot may be in use.
      this.#isRebooted = before !== undefined && before.id !== this.#boot.id;
      await sweepRecords(this.#ctx);
      if (!this.#isRebooted) await this.#remember();
    } catch (err) {
      this.#ctx.log.error({ err }, 'cannot clean up after the last run; the next start tries again');
    }
    this.#isDone = true;
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

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#writing.catch(() => {});
  }

  #remember(): Promise<void> {
    const write = () =>
      rememberBoot(this.#file, {
        id: this.#boot.id,
        dataDirs: [...this.#dataDirs].filter((dir) => !dir.includes('\n')),
      });
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }

  async #sweep(): Promise<void> {
    if (!this.#isDone || !this.#isRebooted || this.#overlay.length === 0) return;
    this.#isRebooted = false;
    try {
      await sweepStores(this.#ctx, this.#boot, this.#overlay, this.#dataDirs);
      await this.#remember();
    } catch (err) {
      this.#isRebooted = true;
      this.#ctx.log.warn({ err }, 'cannot give back the addresses of pods from before the reboot');
    }
  }
}
