import { Slices } from './slices.ts';

/** Rows by the key of the object they are, or compete for: mostly one for each, never none. */
export type Rows<Row> = ReadonlyMap<string, readonly Row[]>;

/**
 * Observed rows. Renewed as a whole from what the kernel lists; what has not changed stays the same object, so that a
 * look at thousands of rows leaves little garbage.
 */
export class Listing<Row> {
  #rows = new Map<string, readonly Row[]>();

  get rows(): Rows<Row> {
    return this.#rows;
  }

  set(key: string, rows: readonly Row[]): void {
    if (rows.length === 0) this.#rows.delete(key);
    else this.#rows.set(key, rows);
  }

  append(key: string, row: Row): void {
    this.set(key, (this.#rows.get(key) ?? []).concat([row]));
  }

  remove(key: string, isDoomed: (row: Row) => boolean): void {
    const rows = this.#rows.get(key) ?? [];
    this.set(
      key,
      rows.filter((row) => !isDoomed(row)),
    );
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
    const before = this.#rows;
    const rows = new Map<string, readonly Row[]>();
    const slices = new Slices();
    let isChanged = false;
    for (const row of listed) {
      if (slices.isOver) await slices.next();
      const key = keyOf(row);
      const those = rows.get(key);
      const old = before.get(key);
      const known = old?.[those?.length ?? 0];
      const isKnown = known !== undefined && isSame(known, row);
      if (!isKnown) isChanged = true;
      const next = isKnown ? known : row;
      // An array literal has just the room it needs; one that is spread into has room for many.
      if (those) rows.set(key, those.concat([next]));
      else rows.set(key, isKnown && old!.length === 1 ? old! : [next]);
    }
    this.#rows = rows;
    // When all that came are old ones, these are all of the old ones if they are as many.
    return isChanged || listed.length !== count(before);
  }
}

const count = (rows: Rows<unknown>): number => {
  let sum = 0;
  for (const those of rows.values()) sum += those.length;
  return sum;
};
