import type { LeaseJson } from '../../api/shapes.ts';
import { chooseBackend } from '../../backends/registry.ts';
import { parseUdp } from '../../backends/udp/config.ts';
import { parseVxlan } from '../../backends/vxlan/config.ts';
import type { Addr, Family } from '../../net/addr.ts';
import { network, type Prefix } from '../../net/prefix.ts';
import type { NetworkConfig } from '../../subnet/types.ts';
import {
  hasAddress,
  isNobodys,
  type OwnHost,
  ownLease as ownLeaseOf,
  subnetsOf,
  uplinkName as uplinkOf,
} from '../ownHost.ts';
import { knownValue } from '../world.ts';
import type { Facts, LinkFact } from './facts.ts';

/** What follows from the network config and the leases for this host: what several checks ask. */
export interface Overlay {
  readonly type: string;
  readonly families: readonly Family[];
  /** The whole network of each family. */
  readonly networks: readonly Prefix[];
  /** Our devices, by name. */
  readonly devices: readonly string[];
  /** UDP port of the tunnel; undefined: there is none. */
  readonly port: number | undefined;
  readonly vni: number | undefined;
  /** Do packets to peers leave by the uplink without a tunnel, all or some? */
  readonly routed: boolean;
  readonly config: NetworkConfig;
}

/** Undefined while nobody knows the network config, or a daemon still goes by another one than etcd has. */
export function overlayOf(facts: Pick<Facts, 'world'>): Overlay | undefined {
  const config = knownValue(facts.world.network);
  if (!config || knownValue(facts.world.config)?.network.inForce === false) return undefined;
  const families = [...config.families.keys()];
  const { type, options } = config.backend;
  const chosen = chooseBackend(config);
  const common = {
    type,
    families,
    networks: [...config.families.values()].map((f) => network(f.network)),
    devices: chosen.backend.devices(chosen.config, families),
    config,
  };
  if (type === 'vxlan') {
    const parsed = parseVxlan(options);
    if (!('config' in parsed)) return undefined;
    const { port, vni, directRouting } = parsed.config;
    return { ...common, port, vni, routed: directRouting };
  }
  if (type === 'udp') {
    const parsed = parseUdp(options);
    return 'config' in parsed
      ? { ...common, port: parsed.config.port, vni: undefined, routed: false }
      : undefined;
  }
  return { ...common, port: undefined, vni: undefined, routed: type === 'host-gw' };
}

type Who = Pick<Facts, 'world' | 'addresses' | 'node' | 'links'>;

/** What of the facts tells who this host is. */
const hostOf = ({ world, node, links, addresses }: Who): OwnHost => ({
  world,
  node,
  links: 'value' in links ? links.value : [],
  addresses: 'value' in addresses ? addresses.value : [],
});

/** Our lease, as far as it can be told. */
export const ownLease = (facts: Who): LeaseJson | undefined => ownLeaseOf(hostOf(facts));

/** Everybody else's, of nodes that have taken theirs. */
export function peerLeases(facts: Who): readonly LeaseJson[] {
  const own = ownLease(facts);
  return (knownValue(facts.world.leases)?.leases ?? []).filter(
    (l) => l.key !== own?.key && !isNobodys(facts.world, l),
  );
}

export const subnetOf = (lease: LeaseJson | undefined, family: Family): Prefix | undefined =>
  subnetsOf(lease).find((p) => p.addr.family === family);

/** Does this host have the address? */
export const isHere = (facts: Who, a: Addr): boolean => hasAddress(hostOf(facts), a);

export const linkNamed = ({ links }: Pick<Facts, 'links'>, name: string): LinkFact | undefined =>
  'value' in links ? links.value.find((l) => l.name === name) : undefined;

/** The device that carries traffic between hosts. */
export function uplinkName(
  facts: Who & Pick<Facts, 'routes' | 'options'>,
  overlay?: Overlay,
): string | undefined {
  const routes = 'value' in facts.routes ? facts.routes.value : [];
  return uplinkOf(hostOf(facts), {
    devices: overlay?.devices ?? [],
    iface: facts.options.ifaces[0],
    defaultDev: routes.find((r) => r.dst.len === 0 && r.dev !== undefined)?.dev,
  });
}

/** `a`, `a and b`, `a, b and c`; at most `most` of them. */
export function listed(words: readonly string[], most = 5): string {
  if (words.length > most) return `${words.slice(0, most).join(', ')} and ${words.length - most} more`;
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
