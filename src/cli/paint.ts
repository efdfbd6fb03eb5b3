/** Colours by what they mean. Text that is painted must have its width taken before: the sequences count for nothing on a terminal. */
export interface Paint {
  good(text: string): string;
  /** Works, but deserves a look. */
  warn(text: string): string;
  bad(text: string): string;
  /** Headings. */
  strong(text: string): string;
  /** Of less importance. */
  faint(text: string): string;
  added(text: string): string;
  removed(text: string): string;
}

/** ECMA-48 "select graphic rendition": on, and what takes just that off again. */
const sgr =
  (on: number, off: number) =>
  (text: string): string =>
    text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`;

const COLOURS: Paint = {
  good: sgr(32, 39),
  warn: sgr(33, 39),
  bad: sgr(31, 39),
  strong: sgr(1, 22),
  faint: sgr(2, 22),
  added: sgr(32, 39),
  removed: sgr(31, 39),
};

const same = (text: string): string => text;
const PLAIN: Paint = {
  good: same,
  warn: same,
  bad: same,
  strong: same,
  faint: same,
  added: same,
  removed: same,
};

/** See `coloured` in command.ts for when. */
export const paint = (colours: boolean): Paint => (colours ? COLOURS : PLAIN);
