import { versionOptions } from '../../config/commands.ts';
import { VERSION } from '../../contract.ts';
import { command } from '../command.ts';

export const version = command({
  name: 'version',
  description: 'Show the version.',
  parse: ({ flags, env }) => versionOptions(flags, env),
  run: async ({ json }, io) => {
    io.print(json ? `${JSON.stringify({ version: VERSION }, null, 2)}\n` : `${VERSION}\n`);
    return 0;
  },
});
