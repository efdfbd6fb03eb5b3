import type { LeaseJson, PeerJson } from '../../api/shapes.ts';
import type { HostFacts, PeerProblem } from '../../backends/backend.ts';
import { findBackend } from '../../backends/registry.ts';
import { isObject } from '../../fields.ts';
import type { ObservedAddress, ObservedLink } from '../../kernel/observed.ts';
import type { Fdb, KernelObject, Link, Neigh, Route } from '../../kernel/types.ts';
import { type Addr, type Family, formatAddr, parseAddr, sameAddr } from '../../net/addr.ts';
import { type Mac, parseMac } from '../../net/mac.ts';
import { containsAddr, formatPrefix, network, type Prefix, parsePrefix } from '../../net/prefix.ts';
import {
  type Lease,
  type LeaseView,
  type NetworkConfig,
  type SubnetKey,
  subnetOf,
} from '../../subnet/types.ts';
import { isNobodys, leaseFrom, vtepMac } from '../ownHost.ts';
import { knownValue, type World, whyMissing } from '../world.ts';
import type { Place } from './place.ts';

/** What should be there for an address, by the same functions that the daemon goes by. Pure. */

/** What packets to a peer should meet. */
export interface Expected {
  readonly backend: string;
  /** Why the peer gets nothing; undefined: it is served. */
  readonly problem: string | undefined;
  /** Other leases that claim the peer's public address. */
  readonly sharing: readonly string[];
  readonly link: Link | undefined;
  /** The address that the tunnel device should have. */
  readonly tunnelAddr: Prefix | undefined;
  readonly route: Route | undefined;
  readonly neigh: Neigh | undefined;
  readonly fdb: Fdb | undefined;
  /** Where outer packets go, and to which UDP port; undefined: there are none. */
  readonly outer: { readonly endpoint: Addr; readonly port: number } | undefined;
  /** The peer's public address. */
  readonly endpoint: Addr | undefined;
  /** The device outer packets, or host-gw's, should leave by. */
  readonly uplink: string;
  /** The peer's own end of the tunnel, or its address on the underlay. */
  readonly probe: Addr | undefined;
  /** Bytes of the largest packet that should get there. */
  readonly mtu: number;
}

/** Devices and addresses of this host, and which lease is its own. */
export interface Devices {
  readonly own: LeaseJson | undefined;
  readonly uplink: string | undefined;
  readonly links: readonly ObservedLink[];
  readonly addresses: readonly ObservedAddress[];
}

/** What backends may know of this host, gathered from outside. */
function factsOf(world: World, devices: Devices): HostFacts {
  const { own, uplink: name = 'eth0' } = devices;
  const link = devices.links.find((l) => l.name === name);
  const status = knownValue(world.status)?.uplink;
  const addrs =
    status?.addrs.flatMap((text) => parsePrefix(text) ?? []) ??
    devices.addresses.filter((a) => a.dev === name && a.scope === 0).map((a) => a.addr);
  const publicAddrs = new Map<Family, Addr>();
  const localAddrs = new Map<Family, Addr>();
  for (const family of [4, 6] as const) {
    const text = family === 4 ? own?.publicIP : own?.publicIPv6;
    const told = text ? parseAddr(text) : undefined;
    const held = addrs.filter((p) => p.addr.family === family).map((p) => p.addr);
    const local = held.find((a) => sameAddr(a, told)) ?? held[0];
    if (local) localAddrs.set(family, local);
    const seen = told ?? local;
    if (seen) publicAddrs.set(family, seen);
  }
  const onDevices = new Map(devices.links.map((l) => [l.name, l.mac]));
  return {
    uplink: { name, mtu: status?.mtu ?? link?.mtu ?? 1500, addrs },
    publicAddrs,
    localAddrs,
    mac: (device) =>
      parseMac(vtepMac(own, device.startsWith('flannel-v6.') ? 6 : 4) ?? '') ??
      onDevices.get(device) ??
      ('00:00:00:00:00:00' as Mac),
    onLink: (a) => addrs.some((p) => containsAddr(network(p), a)),
  };
}

/** What packets to a peer's subnet should meet on this host; or why that cannot be told. */
export function expectedFor(
  place: Extract<Place, { kind: 'peer' | 'own' }>,
  to: Addr,
  world: World,
  devices: Devices,
): Expected | { readonly unknown: string } {
  const config: NetworkConfig | undefined = knownValue(world.network);
  if (!config) return { unknown: whyMissing(world.network) ?? 'the network config is not known' };
  const chosen = findBackend(config.backend.type, config.backend.options);
  if ('problems' in chosen)
    return { unknown: `the network's backend ${config.backend.type} is not usable here` };
  const { own } = devices;
  const host = factsOf(world, devices);
  const all = (knownValue(world.leases)?.leases ?? []).flatMap((l) =>
    isNobodys(world, l) ? [] : (leaseFrom(l) ?? []),
  );
  const self = all.find((l) => l.key === own?.key) ?? (own && leaseFrom(own)) ?? NOBODY;
  const view: LeaseView = {
    revision: 0n,
    network: config,
    self,
    peers: new Map(all.filter((l) => l.key !== self.key).map((l) => [l.key, l])),
  };
  const { backend, config: options } = chosen;
  const found = pick(backend.desired(options, view, host), place.lease.key, to);
  const lease = view.peers.get(place.lease.key as SubnetKey);
  const endpoint = endpointOf(backend.type, lease, to.family, host);
  const port = isObject(options) && typeof options.port === 'number' ? options.port : undefined;
  const tunnelled = found.route?.dev !== undefined && found.route.dev !== host.uplink.name;
  const told = knownValue(world.peers)?.peers.find((p) => p.key === place.lease.key);
  const tunnelSubnet = subnetOf(self, to.family);
  return {
    backend: backend.type,
    problem: told ? problemOf(told, to.family) : found.problem,
    sharing: sharing(all, lease, to.family),
    link: found.link,
    tunnelAddr: tunnelSubnet && { addr: network(tunnelSubnet).addr, len: to.family === 4 ? 32 : 128 },
    route: found.route,
    neigh: found.neigh,
    fdb: found.fdb,
    endpoint,
    outer: endpoint && tunnelled && port !== undefined ? { endpoint, port } : undefined,
    uplink: host.uplink.name,
    probe: backend.type === 'host-gw' || !tunnelled ? endpoint : network(place.subnet).addr,
    mtu: tunnelled ? (found.link?.mtu ?? host.uplink.mtu) : host.uplink.mtu,
  };
}

/** Stands for our own lease when there is none. */
const NOBODY: Lease = {
  key: '' as SubnetKey,
  subnets: [],
  endpoints: new Map(),
  data: new Map(),
  createRevision: 0n,
  modRevision: 0n,
  etcdLease: 'reservation',
};

/** A peer may be served in one family and refused in the other. */
const problemOf = ({ problem, paths }: PeerJson, family: Family): string | undefined =>
  problem === null || paths.some((p) => p.family === family) ? undefined : problem;

/** The same of what a backend says: a reason about one subnet begins with it, and an address may have another beside it. */
const concerns = ({ lease, reason }: PeerProblem, family: Family): boolean =>
  !reason.endsWith('it is served at its other one') &&
  !lease.subnets.some((s) => s.addr.family !== family && reason.startsWith(`${formatPrefix(s)}:`));

interface Picked {
  problem: string | undefined;
  link: Link | undefined;
  route: Route | undefined;
  neigh: Neigh | undefined;
  fdb: Fdb | undefined;
}

/** Of all that is desired, what a packet to the address meets. */
function pick(
  desired: Iterable<
    | KernelObject
    | { readonly kind: 'problem'; readonly problem: { readonly lease: Lease; readonly reason: string } }
  >,
  key: string,
  to: Addr,
): Picked {
  const links: Link[] = [];
  const neighs: Neigh[] = [];
  const fdbs: Fdb[] = [];
  const out: Picked = {
    problem: undefined,
    link: undefined,
    route: undefined,
    neigh: undefined,
    fdb: undefined,
  };
  for (const o of desired) {
    if (o.kind === 'problem') {
      if (o.problem.lease.key === key && concerns(o.problem, to.family)) out.problem ??= o.problem.reason;
    } else if (o.kind === 'link') links.push(o);
    else if (o.kind === 'neigh') neighs.push(o);
    else if (o.kind === 'fdb') fdbs.push(o);
    else if (o.kind === 'route' && containsAddr(o.dst, to) && (out.route?.dst.len ?? -1) < o.dst.len)
      out.route = o;
  }
  const { route } = out;
  out.link = links.find((l) => l.name === route?.dev);
  out.neigh = neighs.find((n) => n.dev === route?.dev && sameAddr(n.addr, route?.via));
  out.fdb = fdbs.find((f) => f.dev === route?.dev && f.mac === out.neigh?.mac);
  return out;
}

/** vxlan and host-gw send between addresses of the packet's own family, udp rather by IPv4. */
function endpointOf(
  backend: string,
  lease: Lease | undefined,
  family: Family,
  host: HostFacts,
): Addr | undefined {
  if (backend !== 'udp') return lease?.endpoints.get(family);
  return ([4, 6] as const).flatMap((f) => (host.localAddrs.has(f) ? (lease?.endpoints.get(f) ?? []) : []))[0];
}

function sharing(all: readonly Lease[], lease: Lease | undefined, family: Family): readonly string[] {
  const endpoint = lease?.endpoints.get(family);
  if (!lease || !endpoint) return [];
  return all
    .filter((l) => l.key !== lease.key && sameAddr(l.endpoints.get(family), endpoint))
    .map((l) => l.key);
}

/** An object of the kernel's as the daemon's log has it, for what is expected. */
export function words(o: Route | Neigh | Fdb): string {
  if (o.kind === 'neigh') return `${formatAddr(o.addr)} lladdr ${o.mac} PERMANENT on ${o.dev}`;
  if (o.kind === 'fdb') return `${o.mac} dst ${formatAddr(o.dst)} permanent on ${o.dev}`;
  const via = o.via ? ` via ${formatAddr(o.via)}` : '';
  return `${formatPrefix(o.dst)}${via} dev ${o.dev}${o.onlink ? ' onlink' : ''}`;
}
