import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const status = command({
  name: 'status',
  description: 'Show whether the daemon is ready, or why not, and all that is not in order.',
  epilogue: 'Ends with 0 when the daemon is ready, with 1 when it is not, with 69 when none answers.',
  parse: ({ flags, env }) => clientOptions(commandValues('status', flags, env)),
  run: async (options, io) => (await import('../status.ts')).status(options, io),
});
