import { Slices } from './slices.ts';

interface Entry<Row> {
  rows: readonly Row[];
  /** The renewal that has last found the key, and how many of its rows. */
  renewal: number;
  found: number;
}

/**
 * Observed rows by the key of the object they are, or compete for: mostly one for each. Renewed as a whole from what
 * the kernel lists; what has not changed stays the same object, so that a look at thousands of rows leaves no garbage.
 */
export class Listing<Row> {
  readonly #entries = new Map<string, Entry<Row>>();
  #renewal = 0;

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): readonly Row[] | undefined {
    return this.#entries.get(key)?.rows;
  }

  *[Symbol.iterator](): Generator<readonly [string, readonly Row[]]> {
    for (const [key, { rows }] of this.#entries) yield [key, rows];
  }

  *rows(): Generator<Row> {
    for (const { rows } of this.#entries.values()) yield* rows;
  }

  set(key: string, rows: readonly Row[]): void {
    if (rows.length === 0) this.#entries.delete(key);
    else this.#entries.set(key, { rows, renewal: 0, found: 0 });
  }

  append(key: string, row: Row): void {
    this.set(key, [...(this.get(key) ?? []), row]);
  }

  remove(key: string, isDoomed: (row: Row) => boolean): void {
    const rows = this.get(key);
    if (rows) {
      this.set(
        key,
        rows.filter((row) => !isDoomed(row)),
      );
    }
  }

  /**
   * Takes over what the kernel has listed. In slices; nobody else may write meanwhile. Resolves to whether anything is
   * different from before.
   */
  async renew(
    listed: readonly Row[],
    keyOf: (row: Row) => string,
    isSame: (a: Row, b: Row) => boolean,
  ): Promise<boolean> {
    const renewal = ++this.#renewal;
    const slices = new Slices();
    let isChanged = false;
    for (const row of listed) {
      if (slices.isOver) await slices.next();
      const key = keyOf(row);
      const entry = this.#entries.get(key);
      if (!entry) {
        this.#entries.set(key, { rows: [row], renewal, found: 1 });
        isChanged = true;
        continue;
      }
      if (entry.renewal !== renewal) {
        entry.renewal = renewal;
        entry.found = 0;
      }
      const known = entry.rows[entry.found];
      if (known === undefined || !isSame(known, row)) {
        entry.rows = [...entry.rows.slice(0, entry.found), row];
        isChanged = true;
      }
      entry.found++;
    }
    for (const [key, entry] of this.#entries) {
      if (slices.isOver) await slices.next();
      if (entry.renewal !== renewal) this.#entries.delete(key);
      else if (entry.found < entry.rows.length) entry.rows = entry.rows.slice(0, entry.found);
      else continue;
      isChanged = true;
    }
    return isChanged;
  }
}
