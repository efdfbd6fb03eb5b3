import { runOptions } from '../../config/run.ts';
import { command } from '../command.ts';

export const run = command({
  name: 'run',
  description: 'Run the daemon on this host: a drop-in for flanneld.',
  parse: ({ flags, env }) => runOptions(flags, env),
  run: async (options, io) => {
    await (await import('../../daemon/run.ts')).runDaemon(options, io.env);
    return 0;
  },
});
