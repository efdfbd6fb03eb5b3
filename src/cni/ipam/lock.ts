import { closeSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { addon } from '../../native/addon.ts';
import { CniError, CODE } from '../errors.ts';
import { openPlain } from '../plainFile.ts';

/** Milliseconds that a foreign host-local may keep us waiting. */
const PATIENCE = 10_000;
/** Jobs done under one lock: others are waiting, perhaps. */
const BATCH = 64;

/** Mode of the lock file as host-local makes it (go-filemutex), and of the directories. */
const [LOCK_MODE, DIR_MODE] = [0o750, 0o755];

type Job = { readonly run: () => Promise<void>; readonly refuse: (error: unknown) => void };

/**
 * The lock of a host-local store: `flock` on `<dir>/lock`, shared with every host-local process on this host, and a queue
 * within this one. The lock is taken once for all that wait.
 */
export class StoreLock {
  readonly #dir: string;
  readonly #jobs: Job[] = [];
  #busy = false;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Run a job under the lock. Throws {@link CniError}: code 11 when others keep it, 105 when it cannot be had. */
  run<T>(job: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#jobs.push({ run: () => job().then(resolve, reject), refuse: reject });
      if (!this.#busy) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    while (this.#jobs.length > 0) {
      let fd: number | undefined;
      try {
        fd = openLock(this.#dir);
        if (!addon().flockTry(fd) && !(await addon().flockWait(fd, PATIENCE))) {
          throw new CniError(
            CODE.tryAgainLater,
            `the address store ${this.#dir} is locked by another process for more than ${PATIENCE / 1000} s; ` +
              `see who holds it: fuser ${join(this.#dir, 'lock')}`,
          );
        }
        for (let n = 0; n < BATCH && this.#jobs.length > 0; n++) await this.#jobs.shift()!.run();
      } catch (cause) {
        const error = cause instanceof CniError ? cause : storeError(this.#dir, 'lock', cause);
        for (const job of this.#jobs.splice(0)) job.refuse(error);
      } finally {
        // The lock goes with the descriptor.
        if (fd !== undefined) closeSync(fd);
      }
    }
    this.#busy = false;
  }
}

/** Opened anew each time: who removed the directory meanwhile has a lock of another file. */
function openLock(dir: string): number {
  const open = () => openPlain(`${dir}/lock`, constants.O_RDONLY | constants.O_CREAT, LOCK_MODE);
  try {
    return open();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    mkdirSync(dir, { recursive: true, mode: DIR_MODE });
    return open();
  }
}

/** A file operation on the store failed. */
export function storeError(dir: string, what: string, cause: unknown): CniError {
  return new CniError(
    CODE.files,
    `cannot ${what} the address store ${dir}: ${(cause as Error).message}; see that the daemon may write there and that the disk is not full`,
    undefined,
    cause,
  );
}
