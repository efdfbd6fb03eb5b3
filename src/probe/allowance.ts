/** ICMP errors that Linux sends to one address without a pause, and how often after that, milliseconds (icmp_ratelimit, XRLIM_BURST_FACTOR). */
const AT_ONCE = 6;
/** A little more than the second it is, for clocks and jiffies differ. */
const EACH = 1_100;

/** How many datagrams a peer would still answer: what it does not answer for having answered too often tells nothing. Times are monotonic. */
export class Allowance {
  #left = AT_ONCE;
  #at = 0;

  /** Would it answer so many more? */
  has(now: number, count: number): boolean {
    this.#left = Math.min(AT_ONCE, this.#left + (now - this.#at) / EACH);
    this.#at = now;
    return this.#left >= count;
  }

  /** It has answered one. */
  use(): void {
    this.#left--;
  }
}
