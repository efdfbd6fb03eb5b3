import { UDP_PORT } from '../../contract.ts';
import { fields } from '../../fields.ts';
import type { ParsedOptions } from '../backend.ts';

/** The checked Backend object of a udp network. */
export interface UdpConfig {
  /** UDP port of all hosts. */
  readonly port: number;
}

/** Check the Backend object; every problem carries its path below `Backend.`. */
export function parseUdp(options: Readonly<Record<string, unknown>>): ParsedOptions<UdpConfig> {
  const f = fields(options, 'Backend.');
  f.has('Type');
  // Go cannot tell an explicit zero from an absent number; flannel takes both for "the default".
  const port = f.integer('Port', 0, 65_535, UDP_PORT) || UDP_PORT;
  return f.problems.length > 0 ? { problems: f.problems } : { config: { port }, unknown: f.rest() };
}
