import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Holds calls for a while after a start: what they need comes in a moment, and a runtime that is refused makes the pod anew. Released by
 * whoever learns that it is there.
 */
export class Hold {
  readonly #until: number;
  readonly #released = Promise.withResolvers<void>();
  #isOver = false;

  /** `ms`: how long at most, from now. */
  constructor(ms: number) {
    this.#until = performance.now() + ms;
  }

  /** Nobody is held any more. Idempotent. */
  release(): void {
    this.#isOver = true;
    this.#released.resolve();
  }

  /** Resolves when released, or when the time is over. */
  async pass(): Promise<void> {
    const left = this.#until - performance.now();
    if (this.#isOver || left <= 0) return;
    const ended = new AbortController();
    await Promise.race([
      this.#released.promise,
      sleep(left, undefined, { ref: false, signal: ended.signal }).catch(() => {}),
    ]);
    ended.abort();
  }
}
