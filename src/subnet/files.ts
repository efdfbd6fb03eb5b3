import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LodenError } from '../errors.ts';

/** Bytes of any file we read back: ours are under 2 kB. */
const MAX_FILE = 64 * 1024;

/**
 * The text of a plain file of at most `limit` bytes; undefined when there is none. Throws {@link LodenError} when it cannot be read;
 * a pipe would keep a thread until somebody opens its other end.
 */
export async function readSmall(path: string, limit = MAX_FILE): Promise<string | undefined> {
  let bytes: Buffer;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new Error('it is no plain file');
      const { size } = stat;
      if (size > limit) throw new Error(`it has ${size} bytes; the limit is ${limit}`);
      bytes = await readFile(file);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new LodenError(`cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  return bytes.toString('utf8');
}

/**
 * Replace a file in one step: whoever reads it sees the old content or the new, also after a power cut. Makes the
 * directory when it is missing. Throws {@link LodenError}.
 */
export async function writeAtomically(
  path: string,
  content: string | Uint8Array,
  mode: number,
  dirMode: number,
): Promise<void> {
  const dir = dirname(path);
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    await mkdir(dir, { recursive: true, mode: dirMode });
    await rm(temporary, { force: true });
    const file = await open(temporary, 'wx', mode);
    try {
      // open(2) subtracts the umask.
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(dir);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new LodenError(`cannot write ${path}: ${(cause as Error).message}`, { retry: 'backoff', cause });
  }
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(join(dir, '.'), 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
