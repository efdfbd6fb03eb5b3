import { exitCodeOf, program } from './cli/program.ts';
import { LodenError } from './errors.ts';

/** argv to command; the only process.exit. Each command loads what it needs: what a daemon has loaded it keeps for life. */
async function main(): Promise<number> {
  const print = (text: string): void => {
    process.stdout.write(text);
  };
  try {
    await program(
      process.argv.slice(2),
      process.env,
      {
        run: async (options) => (await import('./daemon/run.ts')).runDaemon(options, process.env),
        leases: async (options) => {
          const [{ leases }, { listOnce }] = await Promise.all([
            import('./cli/leases.ts'),
            import('./subnet/store.ts'),
          ]);
          return leases(options, listOnce, print);
        },
        cleanup: async (options) => (await import('./cli/cleanup.ts')).cleanup(options, print),
        cniInstall: async (options) => (await import('./cli/cni/install.ts')).cniInstall(options, print),
        cniUninstall: async (options) =>
          (await import('./cli/cni/uninstall.ts')).cniUninstall(options, print),
        dockerOpts: async (options) =>
          (await import('./cli/dockerOpts.ts')).dockerOpts(options, process.env, (text) => {
            process.stderr.write(`loden: ${text}\n`);
          }),
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
