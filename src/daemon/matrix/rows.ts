import { isCell } from '../../api/cell.ts';

/** `.` and `-` */
const [UNPROBED, SELF] = [46, 45];
/** Rows grow by as many cells. */
const GRAIN = 256;
/** Nodes that go at once until all rows are forgotten instead. */
const MOST_GONE = 16;

/**
 * Rows of cells by node. Each node has a slot, which is its place in all rows, so that a row is one byte for each node and stays right when
 * nodes come and go.
 */
export class Rows {
  readonly #slots = new Map<string, number>();
  readonly #free: number[] = [];
  readonly #rows = new Map<number, Uint8Array>();
  #used = 0;

  get size(): number {
    return this.#slots.size;
  }

  /** These are all nodes there are; what is known of others is forgotten. */
  keep(keys: ReadonlySet<string>): void {
    const gone = [...this.#slots].filter(([key]) => !keys.has(key));
    // Each costs a look at every row: where half a network goes, rows are soon there again.
    if (gone.length > MOST_GONE) this.clear();
    else this.#forget(gone);
    for (const key of keys) {
      if (!this.#slots.has(key)) this.#slots.set(key, this.#free.pop() ?? this.#used++);
    }
  }

  #forget(gone: readonly (readonly [string, number])[]): void {
    for (const [key, slot] of gone) {
      this.#slots.delete(key);
      this.#rows.delete(slot);
      // Whoever gets the slot next is not what this one was.
      for (const row of this.#rows.values()) if (slot < row.length) row[slot] = UNPROBED;
      this.#free.push(slot);
    }
  }

  /** What a node has told. Peers that nobody here knows are passed over. */
  put(key: string, peers: readonly string[], cells: string): void {
    const own = this.#slots.get(key);
    if (own === undefined) return;
    const row = new Uint8Array(Math.ceil(Math.max(this.#used, 1) / GRAIN) * GRAIN).fill(UNPROBED);
    for (let i = 0; i < peers.length; i++) {
      const slot = this.#slots.get(peers[i]!);
      if (slot !== undefined && isCell(cells[i])) row[slot] = cells.charCodeAt(i);
    }
    row[own] = SELF;
    this.#rows.set(own, row);
  }

  drop(key: string): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) this.#rows.delete(slot);
  }

  /** The places of nodes in rows, in the order of the columns. */
  columns(keys: readonly string[]): Uint32Array {
    return Uint32Array.from(keys, (key) => this.#slots.get(key) ?? 0xffff_ffff);
  }

  /** A row with one character for each column; null: none is known. */
  text(key: string, columns: Uint32Array): string | null {
    const row = this.#rows.get(this.#slots.get(key) ?? -1);
    if (!row) return null;
    const out = Buffer.allocUnsafe(columns.length);
    for (let i = 0; i < columns.length; i++) out[i] = row[columns[i]!] ?? UNPROBED;
    return out.toString('latin1');
  }

  clear(): void {
    this.#slots.clear();
    this.#free.length = 0;
    this.#rows.clear();
    this.#used = 0;
  }
}
