import type { LeaseJson } from '../api/shapes.ts';
import { isObject } from '../fields.ts';
import type { ObservedAddress, ObservedLink } from '../kernel/observed.ts';
import { type Addr, type Family, parseAddr, sameAddr } from '../net/addr.ts';
import { network, type Prefix, parsePrefix } from '../net/prefix.ts';
import type { Lease, NodeId, SubnetKey } from '../subnet/types.ts';
import { isUnclaimed } from '../subnet/unclaimed.ts';
import { knownValue, type World } from './world.ts';

/** Which lease and which device are this host's, and what a lease says, read from JSON: for `why` and `doctor` alike. Pure. */

/** What tells who this host is. */
export interface OwnHost {
  readonly world: Pick<World, 'status' | 'leases' | 'network'>;
  /** The id in the state directory; null: there is none; undefined: it cannot be read. */
  readonly node: string | null | undefined;
  readonly links: readonly ObservedLink[];
  readonly addresses: readonly ObservedAddress[];
}

/** This node's id, if anybody here can tell it. */
export const nodeOf = ({ world, node }: Pick<OwnHost, 'world' | 'node'>): string | undefined =>
  knownValue(world.status)?.node ?? node ?? undefined;

/** Has this host the address? */
export const hasAddress = ({ addresses }: Pick<OwnHost, 'addresses'>, a: Addr): boolean =>
  addresses.some((o) => sameAddr(o.addr.addr, a));

/** Is the lease reached at an address of this host, so that it may be ours? */
const isAtHome = (host: Pick<OwnHost, 'addresses'>, lease: LeaseJson): boolean =>
  endpointsOf(lease).some((a) => hasAddress(host, a));

/**
 * Our lease: the daemon's word, else the one with our node id, else one with an address of this host, unless it is known to be another
 * node's. {@link isSurelyOwn} says how sure that is.
 */
export function ownLease(host: OwnHost): LeaseJson | undefined {
  const held = knownValue(host.world.status)?.lease.lease;
  if (held) return held;
  const leases = knownValue(host.world.leases)?.leases ?? [];
  const id = nodeOf(host);
  return (
    leases.find((l) => l.self || (id !== undefined && l.node === id)) ??
    leases.find(
      (l) => (l.node === null || id === undefined) && isAtHome(host, l) && !isNobodys(host.world, l),
    )
  );
}

/** Is it known that what {@link ownLease} found is ours? Else only its address says so, and whose its node id is cannot be told. */
export const isSurelyOwn = (host: Pick<OwnHost, 'world' | 'node'>, lease: LeaseJson): boolean =>
  lease.node === null || lease.self || nodeOf(host) !== undefined;

/** What may tell the uplink besides the host itself. */
export interface UplinkHints {
  /** The tunnel's devices, as the network config has them; undefined: any of flannel's names. */
  readonly devices?: readonly string[] | undefined;
  /** `--iface`: a name or an address. */
  readonly iface?: string | undefined;
  /** The device of the default route. */
  readonly defaultDev?: string | undefined;
}

/** The device for traffic between hosts: the daemon's word, else --iface, else that of our lease's address, else what a tunnel of ours stands on, else the default route's. */
export function uplinkName(host: OwnHost, hints: UplinkHints): string | undefined {
  const told = knownValue(host.world.status)?.uplink?.name;
  if (told !== undefined) return told;
  const { devices, iface, defaultDev } = hints;
  const holder = (a: Addr) => host.addresses.find((o) => sameAddr(o.addr.addr, a))?.dev;
  if (iface !== undefined) {
    const address = parseAddr(iface);
    return address ? holder(address) : iface;
  }
  const own = ownLease(host);
  for (const a of own ? endpointsOf(own) : []) {
    const dev = holder(a);
    if (dev !== undefined) return dev;
  }
  const isOurs = (name: string) => devices?.includes(name) ?? name.startsWith('flannel');
  const under = host.links.find((l) => l.vxlan?.underlay !== undefined && isOurs(l.name))?.vxlan?.underlay;
  return host.links.find((l) => under !== undefined && l.ifindex === under)?.name ?? defaultDev;
}

/** A reservation that no node has taken up: nobody is behind it, whatever address stands in it. */
export function isNobodys(world: Pick<World, 'network'>, json: LeaseJson): boolean {
  const lease = json.reservation ? leaseFrom(json) : undefined;
  return lease !== undefined && isUnclaimed(lease, knownValue(world.network));
}

/** The addresses by which a lease's node is reached. */
export const endpointsOf = (lease: LeaseJson): Addr[] =>
  [lease.publicIP, lease.publicIPv6].flatMap((text) => {
    const a = text === null ? undefined : parseAddr(text);
    return a && a.value !== 0n ? [a] : [];
  });

/** What can be read of a lease's subnets. */
export const subnetsOf = (lease: LeaseJson | undefined): Prefix[] =>
  (lease?.subnets ?? []).flatMap((text) => {
    const p = parsePrefix(text);
    return p ? [network(p)] : [];
  });

/** The MAC of the tunnel's end that a lease names for a family, as it stands there but in lower case. */
export function vtepMac(lease: LeaseJson | undefined, family: Family): string | undefined {
  const data: unknown = family === 4 ? lease?.data : lease?.dataV6;
  const mac = isObject(data) ? data.VtepMAC : undefined;
  return typeof mac === 'string' ? mac.toLowerCase() : undefined;
}

/** The value that JSON stands for, as backends take it; undefined when it is none of ours. */
export function leaseFrom(json: LeaseJson): Lease | undefined {
  const subnets = json.subnets.map((text) => parsePrefix(text));
  if (subnets.length === 0 || !subnets.every((p) => p !== undefined)) return undefined;
  const endpoints = new Map<Family, Addr>();
  for (const text of [json.publicIP, json.publicIPv6]) {
    const a = text === null ? undefined : parseAddr(text);
    if (a) endpoints.set(a.family, a);
  }
  const data = new Map<Family, unknown>();
  if (json.data !== null) data.set(4, json.data);
  if (json.dataV6 !== null) data.set(6, json.dataV6);
  try {
    return {
      key: json.key as SubnetKey,
      subnets,
      endpoints,
      data,
      ...(json.backend === null ? {} : { backend: json.backend }),
      ...(json.node === null ? {} : { node: json.node as NodeId }),
      ...(json.instance === null ? {} : { instance: json.instance }),
      createRevision: BigInt(json.createRevision),
      modRevision: BigInt(json.modRevision),
      etcdLease: json.etcdLease === null ? 'reservation' : BigInt(json.etcdLease),
    };
  } catch {
    // A revision that is no number.
    return undefined;
  }
}
