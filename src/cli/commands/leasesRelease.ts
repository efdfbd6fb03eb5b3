import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const leasesRelease = command({
  name: 'leases release',
  positionals: [
    { name: 'subnet', describe: 'The subnet, e.g. 10.5.7.0/24, or the key.', complete: 'subnets' },
  ],
  description:
    'Give back a reservation: it becomes an ordinary lease of its node, or goes if no node has taken it up.',
  epilogue: 'Ends with 1 when there is nothing to release, or only --force does it.',
  parse: ({ flags, env, args }) => {
    const values = commandValues('leases release', flags, env);
    return { ...clientOptions(values), subnet: args.subnet!, force: values.force };
  },
  run: async (options, io) => {
    await (await import('../leases/change.ts')).releaseLease(options, io);
    return 0;
  },
});
