import { commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const configValidate = command({
  name: 'config validate',
  positionals: [{ name: 'file', describe: 'A file, or - for standard input.', complete: 'files' }],
  description: 'Tell everything that is wrong with a network config.',
  epilogue: 'Ends with 78 when something is wrong.',
  parse: ({ flags, env, args }) => {
    const { json, color } = commandValues('config validate', flags, env);
    return { json, color, file: args.file! };
  },
  run: async (options, io) => (await import('../config/validate.ts')).validateConfig(options, io),
});
