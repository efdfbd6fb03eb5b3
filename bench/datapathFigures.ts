import { type Spread, spread } from './stats.ts';

/** What is compared, in the order of the tables. */
export const VARIANTS = ['host-gw', 'vxlan', 'udp', 'one-packet'] as const;
export type VariantName = (typeof VARIANTS)[number];

export const UNDERLAYS = ['offload', 'wire'] as const;
export type UnderlayName = (typeof UNDERLAYS)[number];

/** What is done with each variant; one gives several figures. */
export const TESTS = ['tcp1', 'tcp4', 'both', 'steady1', 'udp64', 'udp1400', 'rttTcp', 'rttUdp'] as const;
/** Only when asked for. */
export const MORE_TESTS = ['steady4', 'steadyBoth', 'rttTcpIdle', 'rttUdpIdle'] as const;
export type TestName = (typeof TESTS)[number] | (typeof MORE_TESTS)[number];

/** Per cent of datagrams: with less than this lost, a path counts as keeping up. */
export const LOSS_BELOW = 3;

/** One measurement. Figures by their name: see {@link FIGURES}. */
export interface Sample {
  readonly underlay: UnderlayName;
  /** From 1. */
  readonly round: number;
  readonly test: TestName;
  readonly variant: VariantName;
  readonly figures: Readonly<Record<string, number>>;
}

/** What was asked of a ratio to a reference. */
export interface Aim {
  readonly against: 'vxlan' | 'one-packet';
  /** `min`: at least so much; `max`: at most. */
  readonly kind: 'min' | 'max';
  readonly offload?: number;
  readonly wire?: number;
}

export interface Figure {
  readonly test: TestName;
  readonly name: string;
  readonly about: string;
  readonly digits: number;
  /** Is more of it better? */
  readonly more: boolean;
  /** A ratio of it says something. */
  readonly ratio: boolean;
  readonly aims: readonly Aim[];
  /** What Loden's own figure should stay below. */
  readonly below?: number;
}

const min = (against: Aim['against'], offload: number, wire: number): Aim => ({
  against,
  kind: 'min',
  offload,
  wire,
});
const max = (against: Aim['against'], offload: number, wire?: number): Aim => ({
  against,
  kind: 'max',
  offload,
  ...(wire === undefined ? {} : { wire }),
});
const LESS = { more: false, ratio: true } as const;
const MORE = { more: true, ratio: true } as const;
const RTT_AIM = [max('one-packet', 1.1, 1.1)];
const rtt = (test: TestName, about: string, aims: readonly Aim[]): Figure[] => [
  { test, name: 'p50', about: `${about} p50, µs`, digits: 0, ...LESS, aims },
  { test, name: 'p99', about: `${about} p99, µs`, digits: 0, ...LESS, aims: [] },
];

/** By netload, not by iperf3. */
const steady = (test: TestName, about: string): Figure[] => [
  { test, name: 'gbps', about: `${about} by netload, Gb/s`, digits: 2, ...MORE, aims: [] },
  { test, name: 'cpuPerGB', about: `CPU s per GB, ${about} by netload`, digits: 2, ...LESS, aims: [] },
];

/** The rows of the tables. */
export const FIGURES: readonly Figure[] = [
  {
    ...{ test: 'tcp1', name: 'gbps', about: 'TCP x1, Gb/s', digits: 2, ...MORE },
    aims: [min('vxlan', 0.7, 1), min('one-packet', 10, 8)],
  },
  {
    ...{ test: 'tcp1', name: 'cpuPerGB', about: 'CPU s per GB, TCP x1', digits: 2, ...LESS },
    aims: [max('vxlan', 1.7, 1.25), max('one-packet', 0.1)],
  },
  {
    ...{ test: 'tcp4', name: 'gbps', about: 'TCP x4, Gb/s', digits: 2, ...MORE },
    aims: [min('vxlan', 0.5, 0.95), min('one-packet', 12, 9)],
  },
  { test: 'both', name: 'gbps', about: 'TCP both ways at once, Gb/s', digits: 2, ...MORE, aims: [] },
  ...steady('steady1', 'TCP x1'),
  ...steady('steady4', 'TCP x4'),
  ...steady('steadyBoth', 'TCP both ways'),
  {
    ...{ test: 'udp64', name: 'kpps', about: 'UDP 64 B delivered, kpps', digits: 0, ...MORE },
    aims: [min('vxlan', 1.7, 1.7), min('one-packet', 2.5, 2.5)],
  },
  {
    ...{ test: 'udp64', name: 'loss', about: 'UDP 64 B lost, %', digits: 1, more: false, ratio: false },
    aims: [],
    below: LOSS_BELOW,
  },
  {
    ...{ test: 'udp64', name: 'clean', about: 'UDP 64 B with < 3 % lost, kpps', digits: 0, ...MORE },
    aims: [min('vxlan', 1.7, 1.7), min('one-packet', 2.5, 2.5)],
  },
  { test: 'udp1400', name: 'kpps', about: 'UDP 1400 B delivered, kpps', digits: 0, ...MORE, aims: [] },
  {
    ...{ test: 'udp1400', name: 'loss', about: 'UDP 1400 B lost, %', digits: 1, more: false, ratio: false },
    aims: [],
  },
  ...rtt('rttTcp', 'TCP round trip', RTT_AIM),
  ...rtt('rttUdp', 'UDP round trip', RTT_AIM),
  ...rtt('rttTcpIdle', 'TCP round trip, CPUs idling', []),
  ...rtt('rttUdpIdle', 'UDP round trip, CPUs idling', []),
];

/** A figure of one variant on an underlay over all rounds; undefined when it was not measured. */
export function over(
  samples: readonly Sample[],
  underlay: UnderlayName,
  figure: Figure,
  variant: VariantName,
): Spread | undefined {
  const values = byRound(samples, underlay, figure, variant);
  return values.size > 0 ? spread([...values.values()]) : undefined;
}

/** The spread of the ratios that `variant` had to `against` in the same rounds; undefined when they share none. */
export function ratio(
  samples: readonly Sample[],
  underlay: UnderlayName,
  figure: Figure,
  variant: VariantName,
  against: VariantName,
): Spread | undefined {
  const theirs = byRound(samples, underlay, figure, against);
  const ratios: number[] = [];
  for (const [round, value] of byRound(samples, underlay, figure, variant)) {
    const reference = theirs.get(round);
    if (reference !== undefined && reference > 0) ratios.push(value / reference);
  }
  return ratios.length > 0 ? spread(ratios) : undefined;
}

function byRound(
  samples: readonly Sample[],
  underlay: UnderlayName,
  figure: Figure,
  variant: VariantName,
): Map<number, number> {
  const found = samples.filter(
    (s) => s.underlay === underlay && s.test === figure.test && s.variant === variant,
  );
  return new Map(
    found.flatMap(({ round, figures }) => {
      const value = figures[figure.name];
      return value === undefined ? [] : [[round, value] as const];
    }),
  );
}

/** The number aimed at on an underlay, if any. */
export const aimOf = (
  figure: Figure,
  underlay: UnderlayName,
  against: Aim['against'],
): { kind: Aim['kind']; value: number } | undefined => {
  const aim = figure.aims.find((a) => a.against === against);
  const value = aim?.[underlay];
  return aim && value !== undefined ? { kind: aim.kind, value } : undefined;
};

export const meets = (aim: { kind: Aim['kind']; value: number }, value: number): boolean =>
  aim.kind === 'min' ? value >= aim.value : value <= aim.value;
