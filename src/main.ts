import { processIo } from './cli/io.ts';
import { exitCodeOf, program } from './cli/program.ts';
import { LodenError } from './errors.ts';

/** argv to command; the only process.exit. Each command loads what it needs: what a daemon has loaded it keeps for life. */
async function main(): Promise<number> {
  const io = processIo();
  try {
    return await program(process.argv.slice(2), io);
  } catch (e) {
    const known = e instanceof LodenError;
    io.warn(known ? e.message : String(e instanceof Error ? e.stack : e));
    return exitCodeOf(e);
  }
}

const code = await main();
// What was printed to a pipe is written before the process ends.
process.stdout.write('', () => process.exit(code));
