import { opendirSync } from 'node:fs';
import { Slices } from '../../kernel/slices.ts';

/** Names that the kernel is asked for at once. */
const BATCH = 256;

/** What a directory holds; others get turns while a large one is read. Rejects with what readdir(3) says. */
export async function namesIn(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  const slices = new Slices();
  const open = opendirSync(dir, { bufferSize: BATCH });
  try {
    for (let entry = open.readSync(); entry !== null; entry = open.readSync()) {
      names.push(entry.name);
      if (slices.isOver) await slices.next();
    }
  } finally {
    open.closeSync();
  }
  return names;
}
