/** What several rounds gave: the middle and the extremes. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Median (the mean of the middle two for an even number), minimum and maximum; throws RangeError for none. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('no values');
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** `1.23 (1.10–1.40)`, or only the number when all were equal. */
export function formatSpread(s: Spread, digits: number): string {
  const text = (n: number) => n.toFixed(digits);
  return text(s.min) === text(s.max) ? text(s.median) : `${text(s.median)} (${text(s.min)}–${text(s.max)})`;
}
