import type { RequestReport } from '../subnet/api.ts';

/** Upper bounds of a histogram of round trips to etcd, milliseconds; a request's deadline is 5 s. */
export const REQUEST_BOUNDS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000] as const;

/** Requests to etcd of one method. */
export interface MethodCounts {
  readonly ok: number;
  readonly failed: number;
  /** Milliseconds, all of them. */
  readonly sum: number;
  /** Requests within each of {@link REQUEST_BOUNDS}, and the rest; not cumulative. */
  readonly buckets: readonly number[];
}

interface Counting {
  ok: number;
  failed: number;
  sum: number;
  readonly buckets: number[];
}

/** Counts requests to etcd by method. There are a handful of methods, all of them ours. */
export class RequestCounts {
  readonly #methods = new Map<string, Counting>();

  /** `onRequest` of the store. */
  readonly note = ({ method, milliseconds, ok }: RequestReport): void => {
    let c = this.#methods.get(method);
    if (!c) {
      c = { ok: 0, failed: 0, sum: 0, buckets: new Array<number>(REQUEST_BOUNDS.length + 1).fill(0) };
      this.#methods.set(method, c);
    }
    if (ok) c.ok++;
    else c.failed++;
    c.sum += milliseconds;
    const at = REQUEST_BOUNDS.findIndex((bound) => milliseconds <= bound);
    c.buckets[at < 0 ? REQUEST_BOUNDS.length : at]!++;
  };

  /** By method. */
  get methods(): ReadonlyMap<string, MethodCounts> {
    return this.#methods;
  }
}
