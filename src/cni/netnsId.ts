import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds to look which namespace a path is; it may be on a file system that does not answer. */
const PATIENCE = 1_000;

/** `<dev>:<ino>` of what is at a path; undefined when nothing is, or when it does not answer in time. */
export async function netnsId(path: string): Promise<string | undefined> {
  const ended = new AbortController();
  const found = await Promise.race([
    stat(path, { bigint: true }).catch(() => undefined),
    sleep(PATIENCE, undefined, { ref: false, signal: ended.signal }).catch(() => undefined),
  ]);
  ended.abort();
  return found && `${found.dev}:${found.ino}`;
}
