import { fields } from '../../fields.ts';
import type { ParsedOptions } from '../backend.ts';

/** The checked Backend object of a vxlan network. */
export interface VxlanConfig {
  /** 0 … 2^24-1 (RFC 7348). */
  readonly vni: number;
  /** UDP port. flannel's default is the kernel's 8472, not IANA's 4789. */
  readonly port: number;
  /** Largest outer packet, bytes; undefined: the uplink's MTU. */
  readonly outerMtu: number | undefined;
  readonly learning: boolean;
  readonly gbp: boolean;
  readonly directRouting: boolean;
}

const DEFAULT_VNI = 1;
const DEFAULT_PORT = 8472;

/** Check the Backend object; every problem carries its path below `Backend.`. */
export function parseVxlan(options: Readonly<Record<string, unknown>>): ParsedOptions<VxlanConfig> {
  const f = fields(options, 'Backend.');
  f.has('Type');
  // Go cannot tell an explicit zero from an absent number; flannel takes both for "the default".
  const port = f.integer('Port', 0, 65_535, DEFAULT_PORT) || DEFAULT_PORT;
  const mtu = f.integer('MTU', 0, 65_535, 0);
  const config: VxlanConfig = {
    vni: f.integer('VNI', 0, 0xff_ffff, DEFAULT_VNI),
    port,
    outerMtu: mtu === 0 ? undefined : mtu,
    learning: f.boolean('Learning', false),
    gbp: f.boolean('GBP', false),
    directRouting: f.boolean('DirectRouting', false),
  };
  return f.problems.length > 0 ? { problems: f.problems } : { config, unknown: f.rest() };
}
