import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const configShow = command({
  name: 'config show',
  description: 'Show the network config in etcd, secrets masked.',
  epilogue: 'Ends with 1 when there is none, or it cannot be used.',
  parse: ({ flags, env }) => clientOptions(commandValues('config show', flags, env)),
  run: async (options, io) => (await import('../config/show.ts')).showConfig(options, io),
});
