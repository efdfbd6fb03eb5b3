import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const peers = command({
  name: 'peers',
  description: 'Show every peer: where it is, how it is reached, what goes to it; those in trouble first.',
  parse: ({ flags, env }) => {
    const values = commandValues('peers', flags, env);
    return { ...clientOptions(values), watch: values.watch };
  },
  run: async (options, io) => {
    await (await import('../peers.ts')).peers(options, io);
    return 0;
  },
});
