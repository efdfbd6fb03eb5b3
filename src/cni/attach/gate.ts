/** Lets so many in at once; the others wait, first come, first served. */
export class Gate {
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];
  #inside = 0;
  #empty: (() => void) | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  async enter(): Promise<void> {
    if (this.#inside < this.#most) this.#inside++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    // The place is handed on.
    if (next) next();
    else if (--this.#inside === 0) this.#empty?.();
  }

  /** Resolves when nobody is inside any more. */
  async close(): Promise<void> {
    if (this.#inside > 0) await new Promise<void>((resolve) => (this.#empty = resolve));
  }
}
