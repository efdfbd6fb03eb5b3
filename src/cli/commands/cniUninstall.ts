import { cniUninstallOptions } from '../../config/commands.ts';
import { command } from '../command.ts';

export const cniUninstall = command({
  name: 'cni uninstall',
  description: 'Take away again what install has put there, and nothing else.',
  parse: ({ flags, env }) => cniUninstallOptions(flags, env),
  run: async (options, io) => {
    await (await import('../cni/uninstall.ts')).cniUninstall(options, io.print);
    return 0;
  },
});
