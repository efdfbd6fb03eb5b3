import type { LeaseJson } from '../../api/shapes.ts';
import { chooseBackend } from '../../backends/registry.ts';
import { parseUdp } from '../../backends/udp/config.ts';
import { parseVxlan } from '../../backends/vxlan/config.ts';
import { type Addr, type Family, parseAddr, sameAddr } from '../../net/addr.ts';
import { network, type Prefix, parsePrefix } from '../../net/prefix.ts';
import type { NetworkConfig } from '../../subnet/types.ts';
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

/** Our lease: the daemon's word, else the one with our node id, else one with our address that belongs to no other node. */
export function ownLease(facts: Pick<Facts, 'world' | 'addresses' | 'node'>): LeaseJson | undefined {
  const held = knownValue(facts.world.status)?.lease.lease;
  if (held) return held;
  const leases = knownValue(facts.world.leases)?.leases ?? [];
  const own = leases.find((l) => l.self);
  if (own) return own;
  const isOurs = (l: LeaseJson) => l.node === null || facts.node === undefined;
  return leases.find((l) => isOurs(l) && endpoints(l).some((a) => isHere(facts, a)));
}

/** Everybody else's. */
export function peerLeases(facts: Pick<Facts, 'world' | 'addresses' | 'node'>): readonly LeaseJson[] {
  const own = ownLease(facts);
  return (knownValue(facts.world.leases)?.leases ?? []).filter((l) => l.key !== own?.key);
}

/** The addresses by which a lease's node is reached. */
export const endpoints = (lease: LeaseJson): Addr[] =>
  [lease.publicIP, lease.publicIPv6].flatMap((text) => {
    const a = text === null ? undefined : parseAddr(text);
    return a && a.value !== 0n ? [a] : [];
  });

export const subnets = (lease: LeaseJson | undefined): Prefix[] =>
  (lease?.subnets ?? []).flatMap((text) => {
    const p = parsePrefix(text);
    return p ? [network(p)] : [];
  });

export const subnetOf = (lease: LeaseJson | undefined, family: Family): Prefix | undefined =>
  subnets(lease).find((p) => p.addr.family === family);

/** Does this host have the address? */
export const isHere = ({ addresses }: Pick<Facts, 'addresses'>, a: Addr): boolean =>
  'value' in addresses && addresses.value.some((o) => sameAddr(o.addr.addr, a));

export const linkNamed = ({ links }: Pick<Facts, 'links'>, name: string): LinkFact | undefined =>
  'value' in links ? links.value.find((l) => l.name === name) : undefined;

/** The device that carries traffic between hosts: the daemon's word, else what a tunnel of ours stands on, else the default route's. */
export function uplinkName(
  facts: Pick<Facts, 'world' | 'links' | 'routes' | 'addresses' | 'options'>,
  overlay?: Overlay,
): string | undefined {
  const told = knownValue(facts.world.status)?.uplink?.name;
  if (told !== undefined) return told;
  const links = 'value' in facts.links ? facts.links.value : [];
  for (const device of overlay?.devices ?? []) {
    const under = links.find((l) => l.name === device)?.vxlan?.underlay;
    const link = under === undefined ? undefined : links.find((l) => l.ifindex === under);
    if (link) return link.name;
  }
  const [asked] = facts.options.ifaces;
  if (asked !== undefined) {
    const address = parseAddr(asked);
    const holders = 'value' in facts.addresses ? facts.addresses.value : [];
    return address ? holders.find((a) => sameAddr(a.addr.addr, address))?.dev : asked;
  }
  const routes = 'value' in facts.routes ? facts.routes.value : [];
  return routes.find((r) => r.dst.len === 0 && r.dev !== undefined)?.dev;
}

/** The VtepMAC that a lease names for a family, lower case. */
export function vtepMac(lease: LeaseJson, family: Family): string | undefined {
  const data = family === 4 ? lease.data : lease.dataV6;
  const mac = (data as { VtepMAC?: unknown } | null)?.VtepMAC;
  return typeof mac === 'string' ? mac.toLowerCase() : undefined;
}

/** `a`, `a and b`, `a, b and c`; at most `most` of them. */
export function listed(words: readonly string[], most = 5): string {
  if (words.length > most) return `${words.slice(0, most).join(', ')} and ${words.length - most} more`;
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
