import { readFileSync } from 'node:fs';

/** Figures in a line, for whoever waits. `digits` that count. */
export const brief = (figures: Readonly<Record<string, number>>, digits: number): string =>
  Object.entries(figures)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(digits))}`)
    .join(', ');

/** Samples of several runs, as `--json` wrote them; the rounds of each are counted on from those before. */
export function merged<S extends { readonly round: number }>(files: readonly string[]): S[] {
  const samples: S[] = [];
  for (const file of files) {
    const before = Math.max(0, ...samples.map((s) => s.round));
    const { samples: more } = JSON.parse(readFileSync(file, 'utf8')) as { samples: S[] };
    samples.push(...more.map((s) => ({ ...s, round: s.round + before })));
  }
  return samples;
}
