import { type Spread, spread } from './stats.ts';

/** What is compared, in the order of the tables. Each `-masq` is the same where pods are masqueraded. */
export const VARIANTS = [
  'bridge',
  'bridge-masq',
  'ptp',
  'ptp-masq',
  'flannel',
  'debian',
  'debian-masq',
] as const;
export type VariantName = (typeof VARIANTS)[number];

export const REFERENCES = ['debian', 'debian-masq'] as const;
export type Reference = (typeof REFERENCES)[number];

/** Whose aims are judged: flannel's chain runs the reference itself. */
export const OURS: readonly VariantName[] = ['bridge', 'bridge-masq', 'ptp', 'ptp-masq'];

/** One variant in one round. */
export interface Sample {
  /** From 1. */
  readonly round: number;
  readonly variant: VariantName;
  /** By their names: see {@link FIGURES}. */
  readonly figures: Readonly<Record<string, number>>;
}

export interface Figure {
  readonly name: string;
  readonly about: string;
  readonly digits: number;
  /** A ratio of it says something. */
  readonly ratio: boolean;
  /** The ratio to a reference is to be so much at most. */
  readonly aim?: number;
}

const figure = (name: string, about: string, digits: number, aim?: number): Figure => ({
  ...{ name, about, digits, ratio: true },
  ...(aim === undefined ? {} : { aim }),
});

/** The rows of the tables. Milliseconds unless they say otherwise. */
export const FIGURES: readonly Figure[] = [
  figure('addP50', 'ADD p50, ms', 2, 0.35),
  figure('addP99', 'ADD p99, ms', 2, 0.5),
  figure('delP50', 'DEL p50, ms', 2, 0.25),
  figure('delP99', 'DEL p99, ms', 2),
  figure('add10', 'ADD of 10 at once, wall, ms', 1),
  figure('del10', 'DEL of 10 at once, wall, ms', 1),
  figure('add100', 'ADD of 100 at once, wall, ms', 0, 0.35),
  figure('del100', 'DEL of 100 at once, wall, ms', 0),
  figure('againP50', 'ADD right after a DEL in the same namespace p50, ms', 2),
  figure('addCpu', 'CPU of the whole machine for an ADD, ms', 1),
  figure('delCpu', 'CPU of the whole machine for a DEL, ms', 1),
  { ...figure('settle', 'until the kernel has freed all after 100 DELs, ms', 0), ratio: false },
  { ...figure('rules', 'firewall rules more for each pod', 1), ratio: false },
];

/** The smallest value that `percent` of all are not above (nearest rank); throws RangeError for none. */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('no values');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}

/** A figure of a variant over all rounds; undefined when it was not measured. */
export function over(samples: readonly Sample[], name: string, variant: VariantName): Spread | undefined {
  const values = [...byRound(samples, name, variant).values()];
  return values.length > 0 ? spread(values) : undefined;
}

/** The spread of the ratios that a variant had to a reference in the same rounds; undefined when they share none. */
export function ratio(
  samples: readonly Sample[],
  name: string,
  variant: VariantName,
  against: Reference,
): Spread | undefined {
  const theirs = byRound(samples, name, against);
  const ratios: number[] = [];
  for (const [round, value] of byRound(samples, name, variant)) {
    const reference = theirs.get(round);
    if (reference !== undefined && reference > 0) ratios.push(value / reference);
  }
  return ratios.length > 0 ? spread(ratios) : undefined;
}

function byRound(samples: readonly Sample[], name: string, variant: VariantName): Map<number, number> {
  const mine = samples.filter((s) => s.variant === variant && s.figures[name] !== undefined);
  return new Map(mine.map(({ round, figures }) => [round, figures[name]!]));
}
