import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';

/** Small files in directories that others may write to. All of it is synchronous: a few microseconds on a local disk. */

/**
 * Open a plain file; throws for everything else. A pipe would hold up the whole process until somebody opens its other end.
 * `flags`: of open(2), beside O_NOFOLLOW and O_NONBLOCK.
 */
export function openPlain(path: string, flags: number, mode?: number): number {
  const fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, mode);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new Error(`${path} is no plain file`);
}

/** Write all of it: a disk that fills up takes the beginning, and says why only when asked for the rest (write(2)). */
export function writeAll(fd: number, text: string | Uint8Array, position: number): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
