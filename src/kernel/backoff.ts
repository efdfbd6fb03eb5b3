/** Milliseconds between attempts at one object. */
const FIRST = 250;
const LAST = 30_000;

/**
 * How long to wait after `attempts` failures in a row: doubling from 250 ms to 30 s, of which a random half is left
 * out, so that many objects that failed together do not come back together. `random` is in [0, 1).
 */
export const backoff = (attempts: number, random: number): number =>
  Math.min(LAST, FIRST * 2 ** (attempts - 1)) * (0.5 + random / 2);
