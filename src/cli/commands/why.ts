import { commandValues } from '../../config/commands.ts';
import { etcdOptions } from '../../config/etcd.ts';
import { UsageError } from '../../errors.ts';
import { type Addr, parseAddr } from '../../net/addr.ts';
import { command } from '../command.ts';

/** The only text `--from` takes besides a pod's address. */
const HOST = 'host';

function address(text: string, what: string): Addr {
  const parsed = parseAddr(text);
  if (!parsed) throw new UsageError(`${what} must be an IP address, not ${JSON.stringify(text)}`);
  return unmapped(parsed);
}

/** `::ffff:10.5.9.3` is how some programs write 10.5.9.3 (RFC 4291, 2.5.5.2). */
const unmapped = (a: Addr): Addr =>
  a.family === 6 && a.value >> 32n === 0xffffn ? { family: 4, value: a.value & 0xffff_ffffn } : a;

function portOf(text: string | undefined): { proto: 'tcp' | 'udp'; port: number } | undefined {
  if (text === undefined) return undefined;
  const [, proto, digits] = /^(tcp|udp):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if ((proto !== 'tcp' && proto !== 'udp') || port < 1 || port > 65_535)
    throw new UsageError(`--port must be tcp:N or udp:N, not ${JSON.stringify(text)}`);
  return { proto, port };
}

export const why = command({
  name: 'why',
  positionals: [{ name: 'ip', describe: 'The address that does not answer.' }],
  description: 'Follow a packet to an address, hop by hop, and say what is wrong on its way.',
  epilogue:
    'It changes nothing, and works without a daemon too. As root it sees more: firewall rules are listed and echoes are sent. Ends with 0 when no hop is ' +
    'broken, with 1 when one is. docs/why.md explains every hop.',
  parse: ({ flags, env, args }) => {
    const values = commandValues('why', flags, env);
    const to = address(args.ip!, 'the address asked about');
    const from =
      values.from === undefined || values.from === HOST ? undefined : address(values.from, '--from');
    if (from && from.family !== to.family)
      throw new UsageError('--from must be of the same family as the address');
    return {
      question: { to, from, port: portOf(values.port) },
      runDir: values['run-dir'],
      stateDir: values['state-dir'],
      etcd: etcdOptions(values),
      json: values.json,
      color: values.color,
    };
  },
  run: async (options, io) => (await import('../why.ts')).why(options, io),
});
