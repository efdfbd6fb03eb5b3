/** Packets a second, whatever happens. */
export const PACKETS_PER_SECOND = 100;
/** Packets that may leave at once after a pause. */
export const BURST = 100;

/** How many packets may leave now. Times in milliseconds that never go back. */
export class Budget {
  #left = BURST;
  #at: number;

  constructor(now: number) {
    this.#at = now;
  }

  /** True: one more may leave, and is counted. */
  take(now: number): boolean {
    this.#left = Math.min(BURST, this.#left + ((now - this.#at) * PACKETS_PER_SECOND) / 1000);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
