import { clientOptions, commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const configSet = command({
  name: 'config set',
  positionals: [{ name: 'file', describe: 'A file, or - for standard input.', complete: 'files' }],
  description: 'Check a network config, show what it changes, and put it into etcd.',
  epilogue:
    'Ends with 1 when it would orphan leases (--force sets it all the same) or somebody else was quicker, with 78 when it is wrong.',
  parse: ({ flags, env, args }) => {
    const values = commandValues('config set', flags, env);
    return {
      ...clientOptions(values),
      file: args.file!,
      force: values.force,
      dryRun: values['dry-run'],
    };
  },
  run: async (options, io) => (await import('../config/set.ts')).setConfig(options, io),
});
