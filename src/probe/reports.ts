import type { Path } from './path.ts';
import type { PathReport } from './types.ts';

/** Paths as others see them: a report is made when it is first asked for, and is the same until something new is known. */
export class Reports implements ReadonlyMap<string, PathReport> {
  readonly #paths: ReadonlyMap<string, Path>;

  constructor(paths: ReadonlyMap<string, Path>) {
    this.#paths = paths;
  }

  get size(): number {
    return this.#paths.size;
  }

  has(key: string): boolean {
    return this.#paths.has(key);
  }

  get(key: string): PathReport | undefined {
    return this.#paths.get(key)?.report;
  }

  keys(): MapIterator<string> {
    return this.#paths.keys();
  }

  *values(): Generator<PathReport, undefined> {
    for (const path of this.#paths.values()) yield path.report;
    return undefined;
  }

  *entries(): Generator<[string, PathReport], undefined> {
    for (const [key, path] of this.#paths) yield [key, path.report];
    return undefined;
  }

  [Symbol.iterator](): Generator<[string, PathReport], undefined> {
    return this.entries();
  }

  forEach(use: (report: PathReport, key: string, map: ReadonlyMap<string, PathReport>) => void): void {
    this.#paths.forEach((path, key) => void use(path.report, key, this));
  }
}
