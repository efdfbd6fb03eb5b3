import { commandValues } from '../../config/commands.ts';
import { command } from '../command.ts';

export const doctor = command({
  name: 'doctor',
  description:
    'Look for what keeps this host or the overlay from working: each finding names its cause and its fix.',
  epilogue:
    'It changes nothing, and works without a daemon too; then options say what a daemon would be told. As root it sees more. Ends with 0 when nothing ' +
    'fails (warnings may be there), with 1 when something does. docs/doctor.md explains every check.',
  parse: ({ flags, env }) => ({ flags, env, values: commandValues('doctor', flags, env) }),
  run: async (options, io) => (await import('../doctor.ts')).doctor(options, io),
});
