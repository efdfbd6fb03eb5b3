import { printable } from '../text.ts';

/** Pure: from values to what a terminal shows. What comes from etcd may hold anything, also escape sequences. */

/** Characters of one cell. */
const WIDEST = 60;
const GAP = '  ';

/** As {@link printable}, cut to `widest` characters. */
export function cell(text: string, widest = WIDEST): string {
  const clean = printable(text);
  return clean.length > widest ? `${clean.slice(0, widest - 1)}…` : clean;
}

/** A piece of text, perhaps with a colour, which counts for nothing in its width. */
export type Cell = string | { readonly text: string; readonly as: (text: string) => string };

const textOf = (c: Cell | undefined): string => (typeof c === 'object' ? c.text : (c ?? ''));

const widthsOf = (rows: readonly (readonly Cell[])[]): number[] =>
  (rows[0] ?? []).map((_, i) => rows.reduce((widest, row) => Math.max(widest, textOf(row[i]).length), 0));

/** Characters of the widest line of a table. */
export const widthOf = (rows: readonly (readonly Cell[])[]): number =>
  widthsOf(rows).reduce((sum, width) => sum + width + GAP.length, -GAP.length);

/** Columns two spaces apart, without blanks at the ends of lines. */
export function table(rows: readonly (readonly Cell[])[]): string {
  const widths = widthsOf(rows);
  return rows.map((row) => `${lineOf(row, widths)}\n`).join('');
}

/** A table that a terminal may be too narrow for. */
export interface Columns {
  /** Of all columns. */
  readonly titles: readonly string[];
  /** What is left out for lack of room, the first first; what is not named here is always shown. */
  readonly leftOut: readonly string[];
  /** What is cut when that is not enough. */
  readonly cut?: string;
}

/** Characters that are left of a cell that is cut. */
const NARROWEST = 8;

/** Cut one column to the room that the others leave to it. */
function narrowed(rows: readonly (readonly Cell[])[], at: number, room: number): (readonly Cell[])[] {
  const widest = Math.max(NARROWEST, (widthsOf(rows)[at] ?? 0) - Math.max(0, widthOf(rows) - room));
  const cutTo = (c: Cell): Cell =>
    typeof c === 'object' ? { ...c, text: cell(c.text, widest) } : cell(c, widest);
  return rows.map((row) => row.map((c, i) => (i === at ? cutTo(c) : c)));
}

/** A table with titles that is as wide as `room` allows, and how many columns are left out for that. */
export function fitting(
  { titles, leftOut, cut }: Columns,
  rows: readonly (readonly Cell[])[],
  strong: (text: string) => string,
  room = Number.POSITIVE_INFINITY,
): { readonly text: string; readonly without: number } {
  const all = [titles.map((text): Cell => ({ text, as: strong })), ...rows];
  for (let without = 0; ; without++) {
    const kept = titles.filter((title) => !leftOut.slice(0, without).includes(title));
    const shown = all.map((row) => row.filter((_, i) => kept.includes(titles[i]!)));
    if (without < leftOut.length && widthOf(shown) > room) continue;
    const at = cut === undefined ? -1 : kept.indexOf(cut);
    return { text: table(at < 0 ? shown : narrowed(shown, at, room)), without };
  }
}

/** What is said of columns that are left out; empty: none are. */
export const leftOutWords = (without: number): string =>
  without === 0 ? '' : `${count(without, 'column')} more on a wider terminal\n`;

function lineOf(row: readonly Cell[], widths: readonly number[]): string {
  let last = row.length - 1;
  while (last > 0 && textOf(row[last]).trim() === '') last--;
  const cells = row.slice(0, last + 1).map((c, i) => {
    const text = cell(textOf(c), widths[i]!);
    const painted = typeof c === 'object' ? c.as(text) : text;
    return i === last ? painted.trimEnd() : painted + ' '.repeat(widths[i]! - text.length);
  });
  return cells.join(GAP);
}

export const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** `1.2 MB`: powers of 1,000, three digits. */
export function bytes(n: number): string {
  const steps = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let at = 0;
  let value = n;
  while (value >= 999.5 && at < steps.length - 1) {
    value /= 1000;
    at++;
  }
  return `${at === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${steps[at]}`;
}

/** Milliseconds with three digits: `0.12 ms`, `12.3 ms`. */
export const milliseconds = (ms: number): string =>
  `${ms < 9.995 ? ms.toFixed(2) : ms < 99.95 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** As indented JSON, with a line end. */
export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
/** As one line of JSON, for what goes on and on. */
export const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`;
