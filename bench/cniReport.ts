import {
  FIGURES,
  type Figure,
  OURS,
  over,
  REFERENCES,
  type Reference,
  ratio,
  type Sample,
  VARIANTS,
  type VariantName,
} from './cniFigures.ts';
import { formatSpread } from './stats.ts';

/** What the tables call them. */
export const TITLES: Readonly<Record<VariantName, string>> = {
  bridge: 'loden, bridge',
  'bridge-masq': 'loden, bridge, masq',
  ptp: 'loden, ptp',
  'ptp-masq': 'loden, ptp, masq',
  flannel: 'flannel type, delegating',
  debian: 'bridge+host-local',
  'debian-masq': 'bridge+host-local, ipMasq',
};

/** Figures of each variant, then for each reference the ratios to it with their aims. First row of each: heading. */
export function tables(samples: readonly Sample[]): string[][][] {
  const measured = VARIANTS.filter((v) => samples.some((s) => s.variant === v));
  const compared = measured.some((v) => !REFERENCES.includes(v as Reference));
  const references = REFERENCES.filter((r) => compared && measured.includes(r));
  return [figures(samples, measured), ...references.map((r) => ratios(samples, measured, r))];
}

/** The rows that there is anything for. */
const known = (samples: readonly Sample[]): readonly Figure[] =>
  FIGURES.filter(({ name }) => samples.some((s) => s.figures[name] !== undefined));

function figures(samples: readonly Sample[], measured: readonly VariantName[]): string[][] {
  const rows = known(samples).map(({ name, about, digits }) => [
    about,
    ...measured.map((variant) => {
      const found = over(samples, name, variant);
      return found ? formatSpread(found, digits) : '–';
    }),
  ]);
  return [['', ...measured.map((v) => TITLES[v])], ...rows];
}

function ratios(
  samples: readonly Sample[],
  measured: readonly VariantName[],
  reference: Reference,
): string[][] {
  const ours = measured.filter((v) => !REFERENCES.includes(v as Reference));
  const rows = known(samples)
    .filter((f) => f.ratio)
    .map(({ name, about, aim }) => [
      about.replace(/, ms$/, ''),
      ...ours.map((variant) => {
        const found = ratio(samples, name, variant, reference);
        if (!found) return '–';
        const judged = aim !== undefined && OURS.includes(variant);
        return `${formatSpread(found, 2)}${judged ? (found.median <= aim ? ' met' : ' missed') : ''}`;
      }),
      aim === undefined ? '' : `≤ ${aim}`,
    ]);
  return [[`ratio to ${TITLES[reference]}`, ...ours.map((v) => TITLES[v]), 'aim'], ...rows];
}
