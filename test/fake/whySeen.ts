import type { LeaseJson, StatusJson } from '../../src/api/shapes.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { type Devices, expectedFor } from '../../src/inspect/why/expect.ts';
import type { FoundRoute } from '../../src/inspect/why/kernelWords.ts';
import { placeOf } from '../../src/inspect/why/place.ts';
import type { Seen } from '../../src/inspect/why/seen.ts';
import type { Question } from '../../src/inspect/why/types.ts';
import type { World } from '../../src/inspect/world.ts';
import type { ObservedAddress, ObservedLink } from '../../src/kernel/observed.ts';
import { addr } from '../../src/net/addr.ts';
import type { Mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { leaseOf } from './doctorFacts.ts';

/** A healthy path of a vxlan network as `loden why` sees it, from which tests take away what they are about. */

export const OWN_MAC = '02:00:00:00:00:01' as Mac;
export const PEER_MAC = '02:00:00:00:00:02' as Mac;

export const leaseJson = (n: number, more: Partial<LeaseJson> = {}): LeaseJson =>
  leaseOf(n, {
    data: { VNI: 1, VtepMAC: `02:00:00:00:00:0${n}` },
    instance: '1'.repeat(16),
    etcdLease: '77',
    ...more,
  });

export interface WorldParts {
  readonly leases?: readonly LeaseJson[];
  readonly setAside?: readonly { readonly key: string; readonly reason: string }[];
  readonly backend?: Readonly<Record<string, unknown>>;
  readonly daemon?: boolean;
  readonly forwarder?: unknown;
}

const NONE = { missing: 'no daemon runs here' } as const;

export function world({
  leases = [leaseJson(1), leaseJson(2)],
  setAside = [],
  backend = { Type: 'vxlan' },
  daemon = true,
  forwarder = null,
}: WorldParts = {}): World {
  const from = daemon ? 'daemon' : 'etcd';
  const status = {
    lease: { state: 'held', lease: leaseJson(1), secondsLeft: 80_000, reason: null },
    uplink: { name: 'eth0', mtu: 1500, addrs: ['192.0.2.1/24'], publicIP: '192.0.2.1', publicIPv6: null },
    forwarder,
    problems: [],
  };
  return {
    daemon: { state: daemon ? 'running' : 'none', reason: undefined },
    status: daemon ? { value: status as unknown as StatusJson, from } : NONE,
    leases: { value: { revision: '9', source: from, leases, setAside }, from },
    network: {
      value: parseNetworkConfig(JSON.stringify({ Network: '10.42.0.0/16', Backend: backend })),
      from,
    },
    peers: NONE,
    probes: NONE,
    config: NONE,
  };
}

const link = (ifindex: number, name: string, more: Partial<ObservedLink> = {}): ObservedLink => ({
  kind: 'link',
  ifindex,
  name,
  mtu: 1500,
  up: true,
  carrier: true,
  ...more,
});

export const LINKS: readonly ObservedLink[] = [
  link(1, 'lo', { mtu: 65_536 }),
  link(2, 'eth0'),
  link(3, 'flannel.1', {
    type: 'vxlan',
    mac: OWN_MAC,
    mtu: 1450,
    vxlan: { vni: 1, port: 8472, local: addr('192.0.2.1'), underlay: 2, learning: false, gbp: false },
  }),
  link(4, 'cni0', { type: 'bridge', mtu: 1450 }),
  link(5, 'veth1', { type: 'veth', master: 4, mtu: 1450 }),
];

const address = (ifindex: number, dev: string, text: string): ObservedAddress => ({
  kind: 'address',
  ifindex,
  dev,
  addr: prefix(text),
  flags: 0x80,
  scope: 0,
});

export const ADDRESSES: readonly ObservedAddress[] = [
  address(2, 'eth0', '192.0.2.1/24'),
  address(3, 'flannel.1', '10.42.1.0/32'),
  address(4, 'cni0', '10.42.1.1/24'),
];

export const routeTo = (dst: string, more: Partial<FoundRoute> = {}): FoundRoute => ({
  dst: prefix(dst),
  type: 'unicast',
  table: 254,
  dev: 'flannel.1',
  via: addr('10.42.2.0'),
  src: undefined,
  protocol: 76,
  metric: 0,
  mtu: undefined,
  text: `${dst} via 10.42.2.0 dev flannel.1 onlink proto loden`,
  ...more,
});

const answered = { what: 'answered', rtt: 0.2 } as const;

/** Everything in order; `question` and `parts` as asked, the rest as it then should be. */
export function seen(
  question: Partial<Question> = {},
  parts: WorldParts = {},
  devices: Devices = { links: LINKS, addresses: ADDRESSES, own: leaseJson(1), uplink: 'eth0' },
): Seen {
  const asked: Question = { to: addr('10.42.2.2'), from: undefined, port: undefined, ...question };
  const around = world(parts);
  const place = placeOf(asked.to, around, devices.own);
  const ours = routeTo('10.42.2.0/24');
  const direct = routeTo('192.0.2.0/24', {
    dev: 'eth0',
    via: undefined,
    protocol: 2,
    src: addr('192.0.2.1'),
    text: '192.0.2.0/24 dev eth0',
  });
  return {
    question: asked,
    world: around,
    place,
    own: devices.own,
    surelyOwn: true,
    expected: place.kind === 'peer' ? expectedFor(place, asked.to, around, devices) : undefined,
    links: devices.links,
    addresses: devices.addresses,
    way: { route: ours },
    routes: [ours],
    rules: [],
    mark: 0,
    neighbour: { mac: PEER_MAC, state: 'PERMANENT' },
    fdb: { dst: addr('192.0.2.2'), port: 'flannel.1', permanent: true },
    underlay: {
      way: { route: direct },
      mark: 0,
      rules: [],
      link: devices.links.find((l) => l.name === 'eth0'),
      hop: addr('192.0.2.2'),
      neighbour: { mac: '02:00:00:00:00:f2' as Mac, state: 'REACHABLE' },
    },
    firewall: { bases: [], gaps: [] },
    packet: {
      family: 4,
      iif: asked.from ? 'cni0' : '',
      oif: 'flannel.1',
      saddr: asked.from ?? addr('10.42.1.0'),
      daddr: asked.to,
      proto: 1,
      icmpType: 8,
      ctState: 'new',
      mark: 0,
      saddrType: 'unicast',
      daddrType: 'unicast',
    },
    sysctls: asked.from ? { 'net/ipv4/ip_forward': '1' } : {},
    echoes: { tunnel: answered, full: answered, host: answered, target: answered },
    pathMtu: undefined,
    source: undefined,
    pod: undefined,
    connected: undefined,
  };
}
