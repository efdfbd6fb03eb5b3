import { delay } from '../model/schedule.ts';

export interface PollParts {
  /** Milliseconds between questions when all is well. */
  readonly every: number;
  readonly ask: (signal: AbortSignal) => Promise<void>;
  /** After each answer or failure. */
  readonly onTurn: (error: string | null) => void;
}

/** Asks again and again while it is on; one question at a time. */
export class Poll {
  readonly #parts: PollParts;
  #on = false;
  #busy = false;
  #again = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #abort = new AbortController();

  constructor(parts: PollParts) {
    this.#parts = parts;
  }

  /** Ask now and go on; or stop and drop what is under way. */
  set(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    if (on) {
      this.#abort = new AbortController();
      this.now();
    } else {
      clearTimeout(this.#timer);
      this.#abort.abort();
    }
  }

  /** Ask now; once more behind the question that is under way. */
  now(): void {
    if (!this.#on) return;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    void this.#turn(this.#abort.signal);
  }

  async #turn(signal: AbortSignal): Promise<void> {
    this.#busy = true;
    this.#again = false;
    const start = performance.now();
    let error: string | null = null;
    try {
      await this.#parts.ask(signal);
      this.#failures = 0;
    } catch (e) {
      this.#failures++;
      error = (e as Error).message;
    }
    this.#busy = false;
    // Switched off meanwhile, and perhaps on again.
    if (signal.aborted) {
      this.#failures = 0;
      return this.now();
    }
    this.#parts.onTurn(error);
    const wait = delay({
      every: this.#parts.every,
      took: performance.now() - start,
      failures: this.#failures,
      random: Math.random(),
    });
    // Hints come in flocks: what one has made old is asked for together, a moment later.
    this.#timer = setTimeout(
      () => this.now(),
      this.#again && this.#failures === 0 ? Math.min(wait, 500) : wait,
    );
  }
}
