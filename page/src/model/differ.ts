/** Finds what is new in a list of rows with keys, so that only that need be passed on. */
export class Differ<T extends { readonly key: string }> {
  #known = new Map<string, string>();

  /** Rows that are new or changed since the last call, and keys that have gone. */
  take(rows: readonly T[]): { readonly changed: T[]; readonly gone: string[] } {
    const now = new Map<string, string>();
    const changed: T[] = [];
    for (const row of rows) {
      const text = JSON.stringify(row);
      now.set(row.key, text);
      if (this.#known.get(row.key) !== text) changed.push(row);
    }
    const gone = [...this.#known.keys()].filter((key) => !now.has(key));
    this.#known = now;
    return { changed, gone };
  }
}

/** A list in pieces of at most `size`; one empty piece for an empty list. */
export function* chunks<T>(list: readonly T[], size: number): Generator<readonly T[]> {
  if (list.length === 0) yield list;
  for (let i = 0; i < list.length; i += size) yield list.slice(i, i + size);
}
