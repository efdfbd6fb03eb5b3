/** A value that changes, of which only the newest matters: slow readers skip what they were too slow for. */
export class Latest<T> {
  #value: T | undefined;
  #version = 0;
  readonly #waiting = new Set<() => void>();

  constructor(value?: T) {
    if (value !== undefined) this.set(value);
  }

  /** The newest value; undefined before the first. */
  get value(): T | undefined {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#version++;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /**
   * The current value, if there is one, then every newer one the reader is quick enough for.
   * Ends without an error when `signal` aborts.
   */
  async *follow(signal: AbortSignal): AsyncGenerator<T, void, undefined> {
    let seen = 0;
    while (!signal.aborted) {
      if (this.#version === seen) {
        await this.#changed(signal);
        continue;
      }
      seen = this.#version;
      yield this.#value as T;
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}
