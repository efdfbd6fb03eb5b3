import type { Command } from './types.ts';

/** Upper bounds of a histogram of durations, milliseconds. */
export const BOUNDS = [0.5, 1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000] as const;

/** What became of the calls of one command. */
export interface CommandCounts {
  readonly count: number;
  /** Milliseconds. */
  readonly sum: number;
  readonly max: number;
  /** Calls within each of {@link BOUNDS}, and the rest; not cumulative. */
  readonly buckets: readonly number[];
  /** By the error's code. */
  readonly errors: Readonly<Record<string, number>>;
}

interface Counting {
  count: number;
  sum: number;
  max: number;
  readonly buckets: number[];
  readonly errors: Record<string, number>;
}

/** How often, how long, with which errors: of every command. */
export class Counters {
  readonly #commands = new Map<Command | 'other', Counting>();

  /** A call has ended after so many milliseconds, well or with an error's code. */
  note(command: Command | 'other', ms: number, code: number | undefined): void {
    let c = this.#commands.get(command);
    if (!c) {
      c = { count: 0, sum: 0, max: 0, buckets: new Array<number>(BOUNDS.length + 1).fill(0), errors: {} };
      this.#commands.set(command, c);
    }
    c.count++;
    c.sum += ms;
    c.max = Math.max(c.max, ms);
    const at = BOUNDS.findIndex((bound) => ms <= bound);
    c.buckets[at < 0 ? BOUNDS.length : at]!++;
    if (code !== undefined) c.errors[code] = (c.errors[code] ?? 0) + 1;
  }

  /** By command. */
  snapshot(): Readonly<Record<string, CommandCounts>> {
    return Object.fromEntries(
      [...this.#commands].map(([command, c]) => [
        command,
        { ...c, sum: round(c.sum), max: round(c.max), buckets: [...c.buckets], errors: { ...c.errors } },
      ]),
    );
  }
}

const round = (ms: number): number => Math.round(ms * 1000) / 1000;
