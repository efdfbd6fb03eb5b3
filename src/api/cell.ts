import type { PathHealth } from './shapes.ts';

/**
 * One path, or one peer by the worst of its paths, as one character: what a row of the matrix is made of. Pure; shared by the daemon
 * that makes rows, the one that reads them from others, and the page.
 */

/** Upper bounds of the classes `0`…`8` of round trips, milliseconds; `9` is all above. */
export const RTT_CLASSES = [0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 200] as const;

/** All that may stand in a row, from no news to the worst. */
export const CELLS = '-.0123456789mlx';

const VALID = /^[-.0-9mlx]$/;

export const isCell = (text: unknown): text is string => typeof text === 'string' && VALID.test(text);

/** What a cell is made of. */
export interface CellPath {
  readonly health: PathHealth;
  /** Milliseconds; null or undefined: not known. */
  readonly rtt: number | null | undefined;
  /** Is there a hole for large packets, or was the route lowered for one? */
  readonly lowered: boolean;
}

/** The character of one path. */
export function cellOf(path: CellPath): string {
  switch (path.health) {
    case 'unreachable':
      return 'x';
    case 'lossy':
      return 'l';
    case 'unprobed':
      return '.';
    case 'reachable': {
      if (path.lowered) return 'm';
      const { rtt } = path;
      if (rtt === null || rtt === undefined) return '.';
      const at = RTT_CLASSES.findIndex((bound) => rtt < bound);
      return String(at < 0 ? RTT_CLASSES.length : at);
    }
  }
}

/** Of two cells the one that is more news. */
export const worseCell = (a: string, b: string): string => (CELLS.indexOf(a) >= CELLS.indexOf(b) ? a : b);

/** A cell in words: `reachable, below 0.5 ms`. */
export function cellWords(cell: string): string {
  switch (cell) {
    case 'x':
      return 'unreachable';
    case 'l':
      return 'lossy: some probes are lost';
    case 'm':
      return 'reachable, but not by full-size packets';
    case '.':
      return 'not probed yet';
    case '-':
      return 'itself';
    case '9':
      return `reachable, ${RTT_CLASSES.at(-1)} ms or more`;
  }
  const bound = isCell(cell) ? RTT_CLASSES[Number(cell)] : undefined;
  return bound === undefined ? 'nothing known' : `reachable, below ${bound} ms`;
}
