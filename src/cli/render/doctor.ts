import type { Finding, Group, Level, Report } from '../../inspect/doctor/types.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import { count, table } from '../render.ts';
import { wrap } from './wrap.ts';

/** `loden doctor` as text. Pure. */

interface Listed {
  readonly id: string;
  readonly group: Group;
  readonly title: string;
}

const MARKS: Readonly<Record<Level, string>> = {
  failure: '✘',
  warning: '!',
  info: 'i',
  skipped: '-',
  ok: '✔',
};

const tint = (level: Level, p: Paint): ((text: string) => string) =>
  ({ failure: p.bad, warning: p.warn, info: p.faint, skipped: p.faint, ok: p.good })[level];

/** Columns of a terminal narrower than which nothing is wrapped. */
const NARROWEST = 40;

/**
 * What is wrong comes first, the worst on top, with what to do; then all the rest by group. `columns`: of the terminal; undefined: nothing is wrapped.
 */
export function renderReport(
  report: Report,
  checks: readonly Listed[],
  paint: Paint,
  columns: number | undefined,
): string {
  const width = Math.max(...checks.map((c) => c.id.length), 0);
  const room = columns === undefined || columns < NARROWEST ? Number.POSITIVE_INFINITY : columns;
  const line = (f: Finding): string => {
    const head = `  ${tint(f.level, paint)(MARKS[f.level])} ${f.check.padEnd(width)}  `;
    return `${head}${wrap(printable(f.cause), width + 6, room)}\n`;
  };
  const fix = (f: Finding): string =>
    f.fix === null
      ? ''
      : `${' '.repeat(width + 6)}${paint.strong('→')} ${wrap(printable(f.fix), width + 8, room)}\n`;
  const wrong = [...report.findings]
    .filter((f) => f.level === 'failure' || f.level === 'warning')
    .sort((a, b) => (a.level === b.level ? 0 : a.level === 'failure' ? -1 : 1));
  let text = wrong.map((f) => line(f) + fix(f)).join('');
  for (const group of new Set(checks.map((c) => c.group))) {
    const ids = new Set(checks.filter((c) => c.group === group).map((c) => c.id));
    const rest = report.findings.filter((f) => ids.has(f.check) && !wrong.includes(f));
    if (rest.length === 0) continue;
    text += `${text === '' ? '' : '\n'}${paint.strong(group)}\n${rest.map((f) => line(f) + fix(f)).join('')}`;
  }
  return `${text}\n${summary(report)}`;
}

function summary({ counts, privileged, daemon }: Report): string {
  const parts = [
    counts.failure > 0 ? count(counts.failure, 'failure') : '',
    counts.warning > 0 ? count(counts.warning, 'warning') : '',
    counts.skipped > 0 ? `${counts.skipped} skipped` : '',
  ].filter((p) => p !== '');
  const verdict =
    counts.failure > 0 ? 'Something fails' : counts.warning > 0 ? 'Nothing fails' : 'All is well';
  const notes = [
    privileged ? '' : 'Not run as root: less can be seen.\n',
    daemon === 'none' ? 'Without a daemon only half can be seen.\n' : '',
    daemon === 'refusing' ? 'The daemon has not answered: only half can be seen.\n' : '',
  ];
  return `${verdict}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}.\n${notes.join('')}`;
}

/** `loden doctor --list` */
export const renderChecks = (checks: readonly Listed[]): string =>
  table([['CHECK', 'GROUP', 'LOOKS AT'], ...checks.map((c) => [c.id, c.group, c.title])]);
