import { cniInstallOptions } from '../../config/commands.ts';
import { command } from '../command.ts';

export const cniInstall = command({
  name: 'cni install',
  description: 'Put the plugin and a network configuration where runtimes look for them.',
  parse: ({ flags, env }) => cniInstallOptions(flags, env),
  run: async (options, io) => {
    await (await import('../cni/install.ts')).cniInstall(options, io.print);
    return 0;
  },
});
