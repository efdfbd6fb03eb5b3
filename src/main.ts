import { cleanup } from './cli/cleanup.ts';
import { leases } from './cli/leases.ts';
import { exitCodeOf, program } from './cli/program.ts';
import { runDaemon } from './daemon/run.ts';
import { LodenError } from './errors.ts';
import { listOnce } from './subnet/store.ts';

/** argv to command; the only process.exit. */
async function main(): Promise<number> {
  const print = (text: string): void => {
    process.stdout.write(text);
  };
  try {
    await program(
      process.argv.slice(2),
      process.env,
      {
        run: (options) => runDaemon(options, process.env),
        leases: (options) => leases(options, listOnce, print),
        cleanup: (options) => cleanup(options, print),
      },
      print,
    );
    return 0;
  } catch (e) {
    const known = e instanceof LodenError;
    process.stderr.write(`loden: ${known ? e.message : e instanceof Error ? e.stack : String(e)}\n`);
    return exitCodeOf(e);
  }
}

// A reader that went away (`loden leases | head`) is no error of ours.
process.stdout.on('error', (e: NodeJS.ErrnoException) => {
  if (e.code !== 'EPIPE') throw e;
});

const code = await main();
// What was printed to a pipe is written before the process ends.
process.stdout.write('', () => process.exit(code));
