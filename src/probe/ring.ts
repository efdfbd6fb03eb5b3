/**
 * Names in a random order that is walked around, so that all come in turn: whatever comes and goes meanwhile, who stays is met once in each walk.
 * What comes new is met in the rest of this walk. Each operation takes constant time.
 */
export class Ring {
  readonly #random: () => number;
  readonly #names: string[] = [];
  readonly #at = new Map<string, number>();
  /** Index of the next; those before it have been met in this walk. */
  #next = 0;

  /** `random`: 0 ≤ x < 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  get size(): number {
    return this.#names.length;
  }

  add(name: string): void {
    if (this.#at.has(name)) return;
    const size = this.#names.length;
    const at = this.#next + Math.floor(this.#random() * (size - this.#next + 1));
    if (at < size) this.#put(size, this.#names[at]!);
    this.#put(at, name);
  }

  remove(name: string): void {
    const at = this.#at.get(name);
    if (at === undefined) return;
    this.#at.delete(name);
    let hole = at;
    // The hole moves to those that are still to be met, else the last would be passed over.
    if (hole < this.#next) {
      this.#next--;
      if (hole !== this.#next) this.#put(hole, this.#names[this.#next]!);
      hole = this.#next;
    }
    const last = this.#names.pop()!;
    if (hole < this.#names.length) this.#put(hole, last);
  }

  /** The next `count`, or all there are. */
  take(count: number): string[] {
    const out: string[] = [];
    for (let left = Math.min(count, this.#names.length); left > 0; left--) {
      if (this.#next >= this.#names.length) this.#next = 0;
      out.push(this.#names[this.#next++]!);
    }
    return out;
  }

  #put(at: number, name: string): void {
    this.#names[at] = name;
    this.#at.set(name, at);
  }
}
