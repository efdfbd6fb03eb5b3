/** So many at once, and so many of one address, so that one who takes all he can get leaves some to others. */
export class Places {
  readonly #most: number;
  readonly #ofOne: number;
  readonly #taken = new Map<string, number>();
  #size = 0;

  /** `ofOne`: for each address; who has none, at the other end of a Unix socket, is not counted by itself. */
  constructor(most: number, ofOne: number) {
    this.#most = most;
    this.#ofOne = ofOne;
  }

  get size(): number {
    return this.#size;
  }

  /** What gives the place back, once; undefined: there is none. */
  take(address: string | undefined): (() => void) | undefined {
    const own = this.#taken.get(address ?? '') ?? 0;
    if (this.#size >= this.#most || (address !== undefined && own >= this.#ofOne)) return undefined;
    this.#size++;
    if (address !== undefined) this.#taken.set(address, own + 1);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#size--;
      if (address === undefined) return;
      const left = this.#taken.get(address)! - 1;
      if (left === 0) this.#taken.delete(address);
      else this.#taken.set(address, left);
    };
  }
}
