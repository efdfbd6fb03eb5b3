import { join } from 'node:path';
import type { Prefix } from '../net/prefix.ts';
import type { Context } from './context.ts';
import { type Boot, rebooted, rememberBoot, sweepRecords, sweepStores } from './sweep.ts';

/** Below the state directory: the boot in which all was swept. */
const BOOT_FILE = 'cni/boot';

/**
 * Cleans up, at a start, what earlier lives have left: attachments at once, and after a reboot the address stores as soon as the node's network is
 * known. What fails is told, and left to the next start.
 */
export class Recovery {
  readonly #ctx: Context;
  readonly #boot: Boot;
  readonly #file: string;
  /** Where the attachments of earlier lives had their addresses from. */
  readonly #dataDirs: ReadonlySet<string>;
  #isDone = false;
  #isRebooted = false;
  #overlay: readonly Prefix[] = [];

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
      this.#isRebooted = await rebooted(this.#file, this.#boot);
      await sweepRecords(this.#ctx);
      if (!this.#isRebooted) await rememberBoot(this.#file, this.#boot);
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

  async #sweep(): Promise<void> {
    if (!this.#isDone || !this.#isRebooted || this.#overlay.length === 0) return;
    this.#isRebooted = false;
    try {
      await sweepStores(this.#ctx, this.#boot, this.#overlay, this.#dataDirs);
      await rememberBoot(this.#file, this.#boot);
    } catch (err) {
      this.#isRebooted = true;
      this.#ctx.log.warn({ err }, 'cannot give back the addresses of pods from before the reboot');
    }
  }
}
