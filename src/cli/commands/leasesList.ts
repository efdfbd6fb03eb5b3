import { leasesOptions } from '../../config/commands.ts';
import { command } from '../command.ts';

export const leasesList = command({
  name: 'leases list',
  usual: true,
  description: 'List all leases, from the running daemon or straight from etcd.',
  parse: ({ flags, env }) => leasesOptions(flags, env),
  run: async (options, io) => {
    if (options.watch) {
      const { watchEtcd, watchLeases } = await import('../leases/watch.ts');
      await watchLeases(options, { watchEtcd: (signal) => watchEtcd(options, io, signal) }, io);
    } else {
      const { leases } = await import('../leases/list.ts');
      await leases(options, async (etcd) => (await import('../../subnet/store.ts')).listOnce(etcd), io);
    }
    return 0;
  },
});
