import { chooseBackend } from '../../backends/registry.ts';
import { parseNetworkConfig } from '../../config/network.ts';
import { EXIT } from '../../contract.ts';
import { ConfigError } from '../../errors.ts';
import { formatAddr } from '../../net/addr.ts';
import { formatPrefix } from '../../net/prefix.ts';
import type { NetworkConfig } from '../../subnet/types.ts';
import { printable } from '../../text.ts';
import { coloured, type Io } from '../command.ts';
import { paint } from '../paint.ts';
import { fieldRows } from '../render/leases.ts';
import { count, json } from '../render.ts';
import { readConfigFile } from './set.ts';

/** `loden config validate`: exit 78 when something is wrong, all of which is told. */
export async function validateConfig(
  options: {
    readonly file: string;
    readonly json: boolean;
    readonly color: 'auto' | 'always' | 'never';
  },
  io: Io,
): Promise<number> {
  const text = await readConfigFile(options.file, io);
  const look = paint(coloured(options.color, io));
  let network: NetworkConfig;
  try {
    network = parseNetworkConfig(text.trim());
    chooseBackend(network);
  } catch (e) {
    if (!(e instanceof ConfigError)) throw e;
    if (options.json) io.print(json({ valid: false, problems: e.problems, unknownKeys: [] }));
    else {
      io.print(`${look.bad('wrong')}: ${count(e.problems.length, 'problem')}\n`);
      for (const { path, expected, got } of e.problems)
        io.print(
          `  ${look.strong(printable(path))}: expected ${printable(expected)}, got ${printable(got)}\n`,
        );
    }
    return EXIT.config;
  }
  const { unknownKeys = [] } = network;
  if (options.json) io.print(json({ valid: true, problems: [], unknownKeys }));
  else {
    io.print(`${look.good('right')}\n`);
    for (const key of unknownKeys)
      io.print(`${look.warn('unknown')}: ${printable(key)} means nothing to this version\n`);
    io.print(fieldRows(networkRows(network), look));
  }
  return EXIT.ok;
}

/** What follows from a network config, in words. */
function networkRows(network: NetworkConfig): [string, string][] {
  const families = [...network.families.values()].map((f): [string, string] => [
    `IPv${f.network.addr.family}`,
    `${formatPrefix(f.network)}; a /${f.subnetLen} for each node, from ${formatAddr(f.min)} to ${formatAddr(f.max)}`,
  ]);
  return [...families, ['backend', printable(network.backend.type)]];
}
