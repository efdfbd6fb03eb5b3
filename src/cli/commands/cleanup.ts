import { cleanupOptions } from '../../config/commands.ts';
import { command } from '../command.ts';

export const cleanup = command({
  name: 'cleanup',
  description: 'Remove from the kernel all that a daemon put there, and nothing else. Stop the daemon first.',
  parse: ({ flags, env }) => cleanupOptions(flags, env),
  run: async (options, io) => {
    await (await import('../cleanup.ts')).cleanup(options, io.print);
    return 0;
  },
});
