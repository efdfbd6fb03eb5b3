import type { EventJson } from '../../api/shapes.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';

const WIDTHS = { level: 5, kind: 9 } as const;

/** One event on one line: time, level, kind, what it is about, what happened, and the rest. */
export function renderEvent(event: EventJson, paint: Paint): string {
  const at = printable(event.at).replace(/\.\d+Z$/, 'Z');
  const level = event.level.padEnd(WIDTHS.level);
  const as = { info: (text: string) => text, warn: paint.warn, error: paint.bad }[event.level];
  const fields = Object.entries(event.fields)
    .filter(([, value]) => value !== event.subject)
    .map(([name, value]) => ` ${printable(name)}=${typeof value === 'string' ? quoted(value) : value}`)
    .join('');
  const subject = event.subject === null ? '' : `${paint.strong(printable(event.subject))}: `;
  const head = `${paint.faint(at)} ${as(level)} ${printable(event.kind).padEnd(WIDTHS.kind)} `;
  return `${head}${subject}${printable(event.message)}${paint.faint(fields)}\n`;
}

/** As it stands where it can be told apart, else as JSON. */
const quoted = (text: string): string =>
  /^[^\s"=]+$/.test(text) ? printable(text) : printable(JSON.stringify(text));
