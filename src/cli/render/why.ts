import type { Hop, HopState, Why } from '../../inspect/why/index.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import { wrap } from './wrap.ts';

/** `loden why` as text. Pure. */

const MARKS: Readonly<Record<HopState, string>> = { broken: '✘', warning: '!', unknown: '?', ok: '✔' };

const tint = (state: HopState, p: Paint): ((text: string) => string) =>
  ({ broken: p.bad, warning: p.warn, unknown: p.faint, ok: p.good })[state];

/** Columns of a terminal narrower than which nothing is wrapped. */
const NARROWEST = 40;

/**
 * Hop by hop; of those that are not in order also what should be there and what comes of it. Last the sentence that names the cause.
 * `columns`: of the terminal; undefined: nothing is wrapped.
 */
export function renderWhy(why: Why, paint: Paint, columns: number | undefined): string {
  const room = columns === undefined || columns < NARROWEST ? Number.POSITIVE_INFINITY : columns;
  const width = Math.max(...why.hops.map((h) => h.hop.length), 0);
  const indent = width + 4;
  const more = (label: string, text: string): string =>
    `${' '.repeat(indent)}${paint.faint(label)} ${wrap(printable(text), indent + label.length + 1, room)}\n`;
  const lines = why.hops.map((h: Hop): string => {
    const head = `${tint(h.state, paint)(MARKS[h.state])} ${h.hop.padEnd(width)}  ${wrap(printable(h.found), indent, room)}\n`;
    if (h.state === 'ok' || h.state === 'unknown') return head;
    return head + (h.expected === null ? '' : more('expected:', h.expected)) + more('why:', h.why);
  });
  const asked = `${why.from ?? 'this host'} → ${why.to}${why.port === null ? '' : ` ${why.port}`}`;
  const verdict = why.whole ? paint.strong : paint.bad;
  return `${paint.strong(printable(asked))}\n${lines.join('')}\n${verdict(wrap(printable(why.conclusion), 0, room))}\n`;
}
