import { mkdirSync, readdirSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Files kept. */
const MOST = 128;

const DIR_MODE = 0o700;

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException).code;

/**
 * Files whose content is of no use any more, kept in a directory of their own to be used again: ext4 takes the longer to make a
 * file the more were removed of late (up to half a millisecond where hundreds of pods come and go). What cannot be kept is
 * removed; there may always be none.
 */
export class Spares {
  readonly #dir: string;
  #paths: string[] | undefined;
  #next = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The path of a file that nobody uses; it is the caller's to give it another name, or to remove it. */
  take(): string | undefined {
    return this.#known().pop();
  }

  /** Take a file out of the way. One that is not there is. Throws what unlink(2) says. */
  put(path: string): void {
    const paths = this.#known();
    if (paths.length >= MOST) {
      remove(path);
      return;
    }
    const spare = join(this.#dir, `${this.#next++}`);
    try {
      renameSync(path, spare);
      paths.push(spare);
    } catch (cause) {
      // Another file system, a directory that is gone: it is only a saving.
      if (codeOf(cause) === 'ENOENT') this.#paths = undefined;
      remove(path);
    }
  }

  #known(): string[] {
    this.#paths ??= this.#find();
    return this.#paths;
  }

  #find(): string[] {
    const found: string[] = [];
    try {
      mkdirSync(this.#dir, { recursive: true, mode: DIR_MODE });
      for (const name of readdirSync(this.#dir)) {
        if (!/^\d{1,15}$/.test(name)) continue;
        const path = join(this.#dir, name);
        this.#next = Math.max(this.#next, Number(name) + 1);
        const stat = statSync(path);
        // Who was killed had given it its new name, and not yet taken this one away.
        if (stat.nlink > 1 || found.length >= MOST) unlinkSync(path);
        else if (stat.isFile()) found.push(path);
      }
    } catch {
      return found;
    }
    return found;
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
  }
}
