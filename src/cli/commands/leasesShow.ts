import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const leasesShow = command({
  name: 'leases show',
  positionals: [
    { name: 'subnet', describe: 'The subnet, e.g. 10.5.7.0/24, or the key.', complete: 'subnets' },
  ],
  description: 'Show all that one lease says.',
  parse: ({ flags, env, args }) => ({
    ...clientOptions(commandValues('leases show', flags, env)),
    subnet: args.subnet!,
  }),
  run: async (options, io) => {
    const { showLease } = await import('../leases/show.ts');
    await showLease(options, async (etcd) => (await import('../../subnet/store.ts')).listOnce(etcd), io);
    return 0;
  },
});
