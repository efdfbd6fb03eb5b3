/** For how long a newer view of the leases has not been in the kernel. */
export class Behind {
  /** performance.now() when it began; undefined: it is in the kernel, or there is no view. */
  #since: number | undefined;
  #known = false;

  /**
   * To be told at every convergence. `seen`: the revision of the newest view, null: there is none; `applied`: what the kernel holds,
   * null: nothing yet. `now` in milliseconds of any steady clock.
   */
  look(seen: string | null, applied: string | null, now = performance.now()): void {
    this.#known = seen !== null;
    if (seen === null || seen === applied) this.#since = undefined;
    else this.#since ??= now;
  }

  /** Undefined: there is no view. */
  seconds(now = performance.now()): number | undefined {
    if (!this.#known) return undefined;
    return this.#since === undefined ? 0 : (now - this.#since) / 1000;
  }
}
