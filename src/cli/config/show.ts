import type { ConfigJson } from '../../api/shapes.ts';
import type { ClientOptions } from '../../config/commands.ts';
import { masked } from '../../config/mask.ts';
import { parseNetworkConfig } from '../../config/network.ts';
import { EXIT, KEYS } from '../../contract.ts';
import { ConfigError, LodenError } from '../../errors.ts';
import { printable, printableLines } from '../../text.ts';
import { coloured, type Io } from '../command.ts';
import { ask, fromEither } from '../daemon.ts';
import { paint } from '../paint.ts';
import { json } from '../render.ts';

type Network = ConfigJson['network'];

/** `loden config show`: the network config in etcd, secrets masked. Exit 1 when there is none, or it cannot be used. */
export async function showConfig(options: ClientOptions, io: Io): Promise<number> {
  const { network, from } = await find(options);
  const bad = network.config === null || (from === 'etcd' && network.problem !== null);
  if (options.json) {
    io.print(json({ ...network, inForce: from === 'daemon' ? network.inForce : null, source: from }));
    return bad ? EXIT.failure : EXIT.ok;
  }
  const look = paint(coloured(options.color, io));
  if (network.config !== null) io.print(printableLines(json(network.config)));
  const key = printable(network.key);
  if (network.problem !== null) io.warn(printableLines(network.problem));
  else if (network.config === null) io.warn(`there is no network config at ${key}`);
  else if (from === 'daemon') {
    const words = network.inForce ? look.good('in force') : look.warn('not in force yet');
    io.print(`${key}: ${words} at this host's daemon\n`);
  } else io.print(`${key}, from etcd\n`);
  return bad ? EXIT.failure : EXIT.ok;
}

interface Found {
  readonly network: Network;
  readonly from: 'daemon' | 'etcd';
}

const find = ({ source, runDir, etcd }: ClientOptions): Promise<Found> =>
  fromEither<Found>(
    source,
    async () => ({ network: (await ask(runDir, '/v1/config')).network, from: 'daemon' }),
    async () => {
      const { listOnce } = await import('../../subnet/store.ts');
      const { config } = await listOnce(etcd);
      const key = `${etcd.prefix}/${KEYS.config}`;
      return { network: { key, inForce: false, ...read(config) }, from: 'etcd' };
    },
  );

/** The text as it may be shown, and what is wrong with it. */
function read(text: string | undefined): Pick<Network, 'config' | 'problem'> {
  if (text === undefined) return { config: null, problem: null };
  let config: unknown = null;
  try {
    config = masked(JSON.parse(text));
    parseNetworkConfig(text);
    return { config, problem: null };
  } catch (e) {
    if (e instanceof ConfigError || e instanceof LodenError) return { config, problem: e.message };
    return { config: null, problem: 'what is there is no JSON' };
  }
}
