import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const metrics = command({
  name: 'metrics',
  description: "Print the daemon's metrics, as Prometheus reads them.",
  parse: ({ flags, env }) => clientOptions(commandValues('metrics', flags, env)),
  run: async (options, io) => {
    await (await import('../metrics.ts')).metrics(options, io);
    return 0;
  },
});
