import { parseArgs } from 'node:util';

export const USAGE = `npm run demo -- [options]

  --backend vxlan|udp|host-gw   how packets get to other hosts (vxlan)
  --hosts N                     2 to 20 hosts (3)
  --ipv6                        IPv6 beside IPv4
  --keep                        leave it running, and say how to look around
  --remove                      remove what --keep left
  --json                        results as JSON on standard output, progress on standard error
`;

const BACKENDS = ['vxlan', 'udp', 'host-gw'] as const;
type DemoBackend = (typeof BACKENDS)[number];

export interface DemoOptions {
  readonly backend: DemoBackend;
  readonly hosts: number;
  readonly families: readonly (4 | 6)[];
  readonly keep: boolean;
  readonly remove: boolean;
  readonly json: boolean;
}

/** Parse the command line; throws Error with all that is wrong with it. `help` when help was asked for. */
export function parseOptions(argv: readonly string[]): DemoOptions | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: 'string', default: 'vxlan' },
      hosts: { type: 'string', default: '3' },
      ipv6: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      remove: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const backend = BACKENDS.find((name) => name === values.backend);
  const hosts = Number(values.hosts);
  if (!backend) {
    throw new Error(`--backend: expected vxlan, udp or host-gw, got ${JSON.stringify(values.backend)}`);
  }
  if (!Number.isInteger(hosts) || hosts < 2 || hosts > 20) {
    throw new Error(`--hosts: expected a number from 2 to 20, got ${JSON.stringify(values.hosts)}`);
  }
  return {
    backend,
    hosts,
    families: values.ipv6 ? [4, 6] : [4],
    keep: values.keep,
    remove: values.remove,
    json: values.json,
  };
}
