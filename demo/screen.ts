import type { Pinged } from '../test/support/ping.ts';
import { table } from '../test/support/table.ts';

/** Progress and results for people. With `--json` it goes to standard error. */
export class Screen {
  readonly #out: NodeJS.WriteStream;

  constructor(json: boolean) {
    this.#out = json ? process.stderr : process.stdout;
  }

  print(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** Do one step: its name at once on a terminal, then with its duration. */
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const live = this.#out.isTTY;
    if (live) this.#out.write(`  … ${name}`);
    const start = performance.now();
    const line = (mark: string) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      this.print(`${live ? '\r' : ''}  ${mark} ${name.padEnd(56)} ${seconds} s`);
    };
    try {
      const value = await work();
      line('✓');
      return value;
    } catch (error) {
      line('✗');
      throw error;
    }
  }
}

/** Round trips from each host's workload (rows) to each other's (columns), in milliseconds. */
export function pingTable(cells: readonly Pinged[], family: 4 | 6): string {
  const mine = cells.filter((cell) => cell.family === family);
  const workloads = [...new Set(mine.flatMap((cell) => [cell.from, cell.to]))];
  const text = (cell: Pinged | undefined) =>
    cell === undefined ? '·' : cell.ms === undefined ? 'LOST' : `${cell.ms.toFixed(2)} ms`;
  return table([
    [`IPv${family}`, ...workloads.map((to) => `to ${to.addr(family)}`)],
    ...workloads.map((from) => [
      `${from.host.name} ${from.addr(family)}`,
      ...workloads.map((to) => text(mine.find((cell) => cell.from === from && cell.to === to))),
    ]),
  ]);
}

/** `8.71 Gb/s`. */
export const rate = (bitsPerSecond: number): string =>
  bitsPerSecond >= 1e9
    ? `${(bitsPerSecond / 1e9).toFixed(2)} Gb/s`
    : `${(bitsPerSecond / 1e6).toFixed(1)} Mb/s`;
