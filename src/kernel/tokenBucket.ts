/** Lets a burst through, then a steady rate: keeps somebody else's storm from becoming ours. */
export class TokenBucket {
  readonly #burst: number;
  #tokens: number;
  #at: number;

  /** At most `burst` at once; `now` in milliseconds. */
  constructor(burst: number, now: number) {
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /**
   * Take one. Returns 0, or the milliseconds until there is one (none is taken then). One comes back every `interval` ms,
   * which may differ from call to call.
   */
  take(now: number, interval: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) / interval);
    this.#at = now;
    if (this.#tokens >= 1) {
      this.#tokens -= 1;
      return 0;
    }
    return Math.ceil((1 - this.#tokens) * interval);
  }
}
