import type { Io } from './command.ts';

/** ECMA-48: cursor home; erase to the end of the line, of the screen. */
const HOME = '\u001b[H';
const TO_LINE_END = '\u001b[K';
const TO_SCREEN_END = '\u001b[J';

/**
 * Show a text in place of the last one, on a terminal. Lines beyond its rows are counted instead; lines are not wrapped, for a table cuts
 * its cells itself.
 */
export function redraw(io: Io, text: string): void {
  const rows = io.terminal?.rows ?? 24;
  const lines = text.replace(/\n$/, '').split('\n');
  const shown =
    lines.length < rows
      ? lines
      : [
          ...lines.slice(0, rows - 2),
          `… ${lines.length - rows + 2} more lines; a taller terminal shows them`,
        ];
  io.print(`${HOME}${shown.map((line) => `${line}${TO_LINE_END}\n`).join('')}${TO_SCREEN_END}`);
}
