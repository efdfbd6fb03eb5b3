import {
  aimOf,
  FIGURES,
  type Figure,
  meets,
  over,
  ratio,
  type Sample,
  UNDERLAYS,
  type UnderlayName,
  VARIANTS,
  type VariantName,
} from './datapathFigures.ts';
import { formatSpread } from './stats.ts';

/** What the tables call them. */
export const TITLES: Readonly<Record<VariantName, string>> = {
  'host-gw': 'plain routing',
  vxlan: 'kernel VXLAN',
  udp: 'Loden udp',
  'one-packet': 'one packet at a time',
};

const REFERENCES = ['vxlan', 'one-packet'] as const;

/** One table for an underlay: figures of each variant, then the ratios of Loden's udp with their aims. First row: heading. */
export function rows(samples: readonly Sample[], underlay: UnderlayName): string[][] {
  const here = samples.filter((s) => s.underlay === underlay);
  const variants = VARIANTS.filter((v) => here.some((s) => s.variant === v));
  const references = variants.includes('udp') ? REFERENCES.filter((r) => variants.includes(r)) : [];
  const figures = FIGURES.filter((f) => variants.some((v) => over(here, underlay, f, v)));
  return [
    [
      underlay,
      ...variants.map((v) => TITLES[v]),
      ...references.flatMap((r) => [`udp : ${TITLES[r]}`, 'aim']),
    ],
    ...figures.map((figure) => [
      figure.about,
      ...variants.map((variant) => cell(here, underlay, figure, variant)),
      ...references.flatMap((reference) => ratioCells(here, underlay, figure, reference)),
    ]),
  ];
}

function cell(
  samples: readonly Sample[],
  underlay: UnderlayName,
  figure: Figure,
  variant: VariantName,
): string {
  const found = over(samples, underlay, figure, variant);
  if (!found) return '–';
  const missed = variant === 'udp' && figure.below !== undefined && found.median >= figure.below;
  return formatSpread(found, figure.digits) + (missed ? ` missed: < ${figure.below}` : '');
}

function ratioCells(
  samples: readonly Sample[],
  underlay: UnderlayName,
  figure: Figure,
  reference: (typeof REFERENCES)[number],
): [string, string] {
  const found = figure.ratio ? ratio(samples, underlay, figure, 'udp', reference) : undefined;
  const aim = aimOf(figure, underlay, reference);
  if (!found) return ['', ''];
  if (!aim) return [formatSpread(found, 2), ''];
  const text = `${aim.kind === 'min' ? '≥' : '≤'} ${aim.value}`;
  return [formatSpread(found, 2), meets(aim, found.median) ? text : `${text}, missed`];
}

/** The tables that there are samples for. */
export const tables = (samples: readonly Sample[]): string[][][] =>
  UNDERLAYS.filter((u) => samples.some((s) => s.underlay === u)).map((u) => rows(samples, u));

/** The same in Markdown. */
export const markdown = ([heading, ...body]: string[][]): string =>
  [heading!, heading!.map(() => '---'), ...body].map((row) => `| ${row.join(' | ')} |`).join('\n');
