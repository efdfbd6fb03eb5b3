/**
 * The event loop's turns, shared among all answers that are at work: in each turn one of them goes on, first come first served. However many
 * ask, nobody else waits for longer than one of them computes at a time.
 */
class Turns {
  readonly #waiting: (() => void)[] = [];

  /** Resolves in a turn of one's own. */
  take(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) setImmediate(this.#next);
    });
  }

  // What has waited goes on before this callback's turn is over, and whatever comes from the network before the next.
  readonly #next = (): void => {
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) setImmediate(this.#next);
  };
}

/** Of this process: several servers share one loop. */
export const turns = new Turns();
