import { delay, hurry } from '../model/schedule.ts';

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
  /** Has something happened since the question that is under way, or the last? */
  #isOld = false;
  /** By performance.now(): when the last answer came, how long it took, when the next question is due. */
  #answered = 0;
  #took = 0;
  #next = 0;
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

  /** Ask now, if nothing is asked already. */
  now(): void {
    if (!this.#on || this.#busy) return;
    clearTimeout(this.#timer);
    void this.#turn(this.#abort.signal);
  }

  /** The last answer is known to be old: ask earlier than otherwise, but no more than once in a while. */
  soon(): void {
    this.#isOld = true;
    if (!this.#on || this.#busy || this.#failures > 0) return;
    const wait = this.#answered + hurry(this.#took) - performance.now();
    if (wait <= 0) this.now();
    else if (performance.now() + wait < this.#next) this.#schedule(wait);
  }

  #schedule(wait: number): void {
    clearTimeout(this.#timer);
    this.#next = performance.now() + wait;
    this.#timer = setTimeout(() => this.now(), wait);
  }

  async #turn(signal: AbortSignal): Promise<void> {
    this.#busy = true;
    this.#isOld = false;
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
    this.#answered = performance.now();
    this.#took = this.#answered - start;
    const { every } = this.#parts;
    const wait = delay({ every, took: this.#took, failures: this.#failures, random: Math.random() });
    const isOld = this.#isOld && this.#failures === 0;
    this.#schedule(isOld ? Math.min(wait, hurry(this.#took)) : wait);
  }
}
