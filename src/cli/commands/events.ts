import { clientOptions, commandValues } from '../../config/commands.ts';
import { parseDuration } from '../../config/kinds.ts';
import { ConfigError } from '../../errors.ts';
import { show } from '../../fields.ts';
import { command } from '../command.ts';
import type { Since } from '../events.ts';

export const events = command({
  name: 'events',
  description: 'Show what has happened: leases, repairs, paths, etcd; --follow goes on.',
  parse: ({ flags, env }) => {
    const values = commandValues('events', flags, env);
    return {
      ...clientOptions(values),
      since: readSince(values.since),
      kinds: values.kind,
      follow: values.follow,
    };
  },
  run: async (options, io) => {
    await (await import('../events.ts')).events(options, io);
    return 0;
  },
});

/** `123`, `2026-03-14T09:26:53Z`, `10m`. */
function readSince(text: string | undefined): Since | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return { id: Number(text) };
  const ago = parseDuration(text);
  if (ago !== undefined) return { ago };
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return { at };
  throw new ConfigError('the options of loden events cannot be used', [
    {
      path: '--since',
      expected: 'the number of an event, a time such as 2026-03-14T09:26:53Z, or a duration such as 10m',
      got: show(text),
    },
  ]);
}
