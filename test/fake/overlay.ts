import { type HostFacts, NO_SLOTS, type Uplink } from '../../src/backends/backend.ts';
import { chooseBackend } from '../../src/backends/registry.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import type { KernelObject } from '../../src/kernel/types.ts';
import { type Addr, addr, type Family } from '../../src/net/addr.ts';
import { localMac, type Mac, mac } from '../../src/net/mac.ts';
import { containsAddr, type Prefix, prefix } from '../../src/net/prefix.ts';
import type { BackendData, Lease, LeaseView, NodeId, SubnetKey } from '../../src/subnet/types.ts';

/** Values for tests of what follows from leases: a host `192.0.2.1`, `2001:db8::1` with the first subnet, and peers. */

export const NETWORKS = {
  v4: { Network: '10.5.0.0/16' },
  v6: { EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fd00:5::/48' },
  dual: { Network: '10.5.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:5::/48' },
} as const;

export interface LeaseInit {
  readonly subnets: readonly string[];
  /** Of either family. */
  readonly endpoints?: readonly string[];
  /** Null: no BackendType in the value. */
  readonly backend?: string | null;
  readonly data?: BackendData;
  readonly dataV6?: BackendData;
  readonly revision?: number;
  readonly node?: string;
}

export function lease(init: LeaseInit): Lease {
  const subnets = init.subnets.map(prefix);
  const endpoints = (init.endpoints ?? []).map(addr);
  const data = new Map<Family, BackendData>();
  if (init.data !== undefined) data.set(4, init.data);
  if (init.dataV6 !== undefined) data.set(6, init.dataV6);
  const revision = BigInt(init.revision ?? 1);
  return {
    key: init.subnets.join('&').replaceAll('/', '-') as SubnetKey,
    subnets,
    endpoints: new Map(endpoints.map((a) => [a.family, a])),
    data,
    ...(init.backend === null ? {} : { backend: init.backend ?? 'vxlan' }),
    ...(init.node === undefined ? {} : { node: init.node as NodeId }),
    createRevision: revision,
    modRevision: revision,
    etcdLease: 7_587n,
  };
}

/** The MAC peer number `n` has on its device of a family. */
export const peerMac = (n: number, family: Family = 4): Mac => localMac([2, family, 0, 0, n >> 8, n & 255]);

/** Peer number `n` (2…255) as it should be, in all the families asked for. */
export function peer(n: number, families: readonly Family[] = [4], more: Partial<LeaseInit> = {}): Lease {
  const hex = n.toString(16);
  return lease({
    subnets: families.map((f) => (f === 4 ? `10.5.${n}.0/24` : `fd00:5:0:${hex}::/64`)),
    endpoints: families.map((f) => (f === 4 ? `192.0.2.${n}` : `2001:db8::${hex}`)),
    ...(families.includes(4) ? { data: { VNI: 1, VtepMAC: peerMac(n) } } : {}),
    ...(families.includes(6) ? { dataV6: { VNI: 1, VtepMAC: peerMac(n, 6) } } : {}),
    revision: n,
    ...more,
  });
}

export interface HostInit {
  readonly uplink?: Partial<Uplink>;
  /** Prefixes that need no gateway. */
  readonly onLink?: readonly string[];
  readonly publicAddrs?: readonly string[];
  readonly localAddrs?: readonly string[];
  readonly reserved?: readonly string[];
}

const byFamily = (texts: readonly string[]): Map<Family, Addr> =>
  new Map(texts.map(addr).map((a) => [a.family, a]));

export function host(init: HostInit = {}): HostFacts {
  const local = init.localAddrs ?? ['192.0.2.1', '2001:db8::1'];
  const onLink: readonly Prefix[] = (init.onLink ?? ['192.0.2.0/24', '2001:db8::/64']).map(prefix);
  return {
    uplink: {
      name: 'eth0',
      mtu: 1500,
      addrs: [prefix('192.0.2.1/24'), prefix('2001:db8::1/64')],
      ...init.uplink,
    },
    localAddrs: byFamily(local),
    publicAddrs: byFamily(init.publicAddrs ?? local),
    mac: (device) => (device.includes('v6') ? mac('02:00:00:00:06:01') : mac('02:00:00:00:04:01')),
    onLink: (a) => onLink.some((p) => containsAddr(p, a)),
    reserved: (init.reserved ?? []).map(addr),
  };
}

/** What a generator returns, whatever it yields before. */
export function finish<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** What a network config, peers and a host make of the kernel. */
export function desired(config: object, peers: readonly Lease[], facts: HostFacts = host(), self?: Lease) {
  const network = parseNetworkConfig(JSON.stringify(config));
  const families = [...network.families.keys()];
  const { backend, config: options } = chooseBackend(network);
  const view: LeaseView = {
    revision: 100n,
    network,
    self: self ?? peer(1, families, { backend: backend.type }),
    peers: new Map(peers.map((p) => [p.key, p])),
  };
  const all = [...backend.desired(options, view, facts)];
  return {
    objects: all.filter((o): o is KernelObject => o.kind !== 'problem'),
    problems: all.flatMap((o) =>
      o.kind === 'problem' ? [`${o.problem.lease.key}: ${o.problem.reason}`] : [],
    ),
    mtu: backend.mtu(options, families, facts),
    devices: backend.devices(options, families),
    check: backend.check(options, families, facts, network),
    forwarding: backend.forwarding && finish(backend.forwarding(options, view, facts, NO_SLOTS)).forwarding,
    advertisement: backend.advertise(options, families, facts),
  };
}
