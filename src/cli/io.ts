import { LodenError } from '../errors.ts';
import { textOf } from '../text.ts';
import type { Io } from './command.ts';

/** Columns and rows where the terminal does not say. */
const USUAL = { columns: 80, rows: 24 };

/** The {@link Io} of this process. */
export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  const gone = new AbortController();
  // A reader that went away (`loden leases | head`) is no error of ours.
  stdout.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code !== 'EPIPE') throw e;
    gone.abort();
  });
  return {
    env,
    print: (text) => void stdout.write(text),
    warn: (text) => void stderr.write(`loden: ${text}\n`),
    read: (largest) => readAll(stdin, largest),
    get terminal() {
      if (!stdout.isTTY) return undefined;
      return { columns: stdout.columns || USUAL.columns, rows: stdout.rows || USUAL.rows };
    },
    signal: gone.signal,
  };
}

async function readAll(input: AsyncIterable<Buffer>, largest: number): Promise<string> {
  try {
    return await textOf(input, largest);
  } catch (e) {
    if (e instanceof RangeError) throw new LodenError(`standard input has ${e.message}`);
    throw e;
  }
}
