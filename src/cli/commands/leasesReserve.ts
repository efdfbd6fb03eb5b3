import { clientOptions, commandValues } from '../../config/commands.ts';
import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';

export const leasesReserve = command({
  name: 'leases reserve',
  positionals: [
    {
      name: 'subnet',
      describe: 'The subnet, e.g. 10.5.7.0/24; both families joined by a comma.',
      complete: 'subnets',
    },
  ],
  description:
    'Reserve a subnet for a node: it never runs out. The lease that the node has there becomes one.',
  epilogue: 'Ends with 1 when the subnet is not of this network, or somebody else has it.',
  parse: ({ flags, env, args }) => {
    const values = commandValues('leases reserve', flags, env);
    if (values.node === undefined)
      throw new UsageError('--node is missing, which says whose the subnet is to be');
    return { ...clientOptions(values), subnet: args.subnet!, node: values.node };
  },
  run: async (options, io) => {
    await (await import('../leases/change.ts')).reserveLease(options, io);
    return 0;
  },
});
