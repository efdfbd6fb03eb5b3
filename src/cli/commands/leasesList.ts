import { leasesOptions } from '../../config/commands.ts';
import { command } from '../command.ts';

export const leasesList = command({
  name: 'leases list',
  usual: true,
  description: 'List all leases, from the running daemon or straight from etcd.',
  parse: ({ flags, env }) => leasesOptions(flags, env),
  run: async (options, io) => {
    const [{ leases }, { listOnce }] = await Promise.all([
      import('../leases.ts'),
      import('../../subnet/store.ts'),
    ]);
    await leases(options, listOnce, io.print);
    return 0;
  },
});
