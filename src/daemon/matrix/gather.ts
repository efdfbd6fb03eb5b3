import type { Addr } from '../../net/addr.ts';
import type { FetchRow } from './fetch.ts';
import { Rows } from './rows.ts';

/** Milliseconds between two fetches, so at most 20 a second; fetches at once. */
const [EVERY, AT_ONCE] = [50, 8];
/** Milliseconds until a row is fetched again; until one that failed is, and at most. */
const [FRESH, RETRY, LONGEST_RETRY] = [5_000, 5_000, 60_000];
/** Milliseconds after the last question until nothing is fetched or kept any more. */
const IDLE = 60_000;
/** Nodes that one step looks at for one that is due. */
const LOOK = 256;

/** A node of the matrix. */
export interface MatrixNode {
  readonly key: string;
  readonly self: boolean;
  /** Its own end of the tunnel; undefined: it cannot be asked. */
  readonly addr: Addr | undefined;
}

interface Known {
  addr: Addr | undefined;
  /** By the clock: when to ask next. */
  due: number;
  busy: boolean;
  failures: number;
  /** Date.now() of the row. */
  at: number | undefined;
  error: string | undefined;
}

export interface GatherParts {
  /** Undefined: others cannot be asked, for {@link GatherParts.why}. */
  readonly fetch: FetchRow | undefined;
  readonly why: string;
  /** Milliseconds, monotonic. */
  readonly clock?: () => number;
}

/**
 * Rows of other nodes, fetched for as long as somebody asks for the matrix: a few at once, evenly, again and again. A node that does not
 * answer has no row; it is asked ever less often.
 */
export class Gatherer {
  readonly rows = new Rows();
  readonly #parts: GatherParts;
  readonly #clock: () => number;
  readonly #nodes = new Map<string, Known>();
  #order: readonly string[] = [];
  #next = 0;
  #asked = 0;
  #underway = 0;
  #timer: NodeJS.Timeout | undefined;
  #ending = new AbortController();

  constructor(parts: GatherParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? (() => performance.now());
  }

  /** Somebody asks for the matrix of these nodes: go on, or begin. */
  want(nodes: readonly MatrixNode[]): void {
    this.#asked = this.#clock();
    const keys = new Set(nodes.map(({ key }) => key));
    for (const key of this.#nodes.keys()) if (!keys.has(key)) this.#nodes.delete(key);
    for (const { key, self, addr } of nodes) {
      if (self) {
        this.#nodes.delete(key);
        continue;
      }
      const known = this.#nodes.get(key);
      if (known) known.addr = addr;
      else this.#nodes.set(key, { addr, due: 0, busy: false, failures: 0, at: undefined, error: undefined });
    }
    this.rows.keep(keys);
    this.#order = [...this.#nodes.keys()];
    if (this.#parts.fetch) this.#timer ??= setInterval(() => this.#step(), EVERY).unref();
  }

  /** When the row was fetched, or why there is none. */
  about(key: string): { readonly at: number | undefined; readonly error: string | undefined } {
    const { fetch, why } = this.#parts;
    if (!fetch) return { at: undefined, error: why };
    const { at, error } = this.#nodes.get(key) ?? { at: undefined, error: undefined };
    return { at, error };
  }

  get isRunning(): boolean {
    return this.#timer !== undefined;
  }

  /** Forget everything and drop what is under way. It may be wanted again. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#ending.abort();
    this.#ending = new AbortController();
    this.#nodes.clear();
    this.#order = [];
    this.rows.clear();
  }

  /** Start one fetch, if one is due. */
  #step(): void {
    const now = this.#clock();
    if (now - this.#asked > IDLE) {
      this.stop();
      return;
    }
    if (this.#underway >= AT_ONCE) return;
    for (let i = Math.min(LOOK, this.#order.length); i > 0; i--) {
      const key = this.#order[this.#next++ % this.#order.length]!;
      const known = this.#nodes.get(key);
      if (!known || known.busy || known.due > now) continue;
      if (known.addr) void this.#fetch(key, known, known.addr);
      else known.error = 'it has no address to ask';
      return;
    }
  }

  async #fetch(key: string, known: Known, addr: Addr): Promise<void> {
    const { signal } = this.#ending;
    known.busy = true;
    this.#underway++;
    try {
      const row = await this.#parts.fetch!(addr, signal);
      if (signal.aborted || this.#nodes.get(key) !== known) return;
      this.#told(key, known, row);
    } catch (e) {
      if (signal.aborted || this.#nodes.get(key) !== known) return;
      this.#failed(key, known, (e as Error).message);
    } finally {
      this.#underway--;
      known.busy = false;
    }
  }

  #told(
    key: string,
    known: Known,
    row: { key: string | null; peers: readonly string[]; cells: string },
  ): void {
    // Somebody else answers there: what it tells is not this node's.
    if (row.key !== key) {
      const who = row.key === null ? 'a node without a lease' : 'the node of another lease';
      this.#failed(key, known, `${who} answers at its address`);
      return;
    }
    this.rows.put(key, row.peers, row.cells);
    known.at = Date.now();
    known.error = undefined;
    known.failures = 0;
    known.due = this.#clock() + FRESH;
  }

  #failed(key: string, known: Known, error: string): void {
    this.rows.drop(key);
    known.at = undefined;
    known.error = error;
    known.due = this.#clock() + Math.min(LONGEST_RETRY, RETRY * 2 ** known.failures++);
  }
}
