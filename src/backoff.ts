/** How long to wait between attempts, in milliseconds. */
export interface BackoffRange {
  readonly min: number;
  readonly max: number;
}

/** For requests to etcd. */
export const STORE_BACKOFF: BackoffRange = { min: 100, max: 5_000 };

/**
 * Milliseconds to wait after `failures` failures in a row (1, 2, …): doubles from `min` to `max`, of which
 * between half and all is taken by chance, so that many nodes refused together do not come back together.
 */
export function backoff(failures: number, range: BackoffRange, random: () => number): number {
  const whole = Math.min(range.max, range.min * 2 ** Math.min(Math.max(failures, 1) - 1, 30));
  return whole / 2 + (random() * whole) / 2;
}
