import type {
  EventJson,
  PathJson,
  PeerJson,
  PeersJson,
  ProbesJson,
  StatusJson,
} from '../../src/api/shapes.ts';
import { leaseJson } from '../../src/subnet/json.ts';
import { peer, peerMac } from './overlay.ts';

/** What a daemon may answer, with values that never change. */

export const NODE = '0123456789abcdef0123456789abcdef';
export const INSTANCE = 'fedcba9876543210';
/** When it was asked. */
export const NOW = new Date('2026-03-14T12:00:00Z');

/** A control sequence, a line end and an override of the writing direction: what etcd may hold. */
export const EVIL = '\u001b[31mevil\u001b[0m\n\u202etxet\u0007';

const own = { ...peer(7, [4, 6], { node: NODE }), instance: INSTANCE };

export const STATUS: StatusJson = {
  version: '0.1.0',
  node: NODE,
  instance: INSTANCE,
  pid: 4711,
  startedAt: '2026-03-12T08:59:00Z',
  ready: true,
  reason: null,
  lease: { state: 'held', lease: leaseJson(own, true), secondsLeft: 86_000, reason: null },
  network: { IPv4: '10.5.0.0/16', IPv6: 'fd00:5::/48', backend: 'vxlan' },
  uplink: {
    name: 'eth0',
    mtu: 1500,
    addrs: ['192.0.2.7/24', '2001:db8::7/64'],
    publicIP: '192.0.2.7',
    publicIPv6: '2001:db8::7',
  },
  mtu: 1430,
  subnetFile: '/run/flannel/subnet.env',
  peers: 3,
  paths: { unprobed: 0, reachable: 3, lossy: 0, unreachable: 0, lowered: 0 },
  setAside: 0,
  kernel: {
    revision: '123',
    objects: {
      link: { desired: 2, inSync: 2, failing: 0 },
      address: { desired: 2, inSync: 2, failing: 0 },
      route: { desired: 6, inSync: 6, failing: 0 },
      rule: { desired: 0, inSync: 0, failing: 0 },
    },
    failing: [],
    conflicts: [],
    repairs: { route: 0, forward: 0 },
    messages: 20,
  },
  forwarder: null,
  cni: { attachments: 0, queued: 0, stale: [], commands: {} },
  store: { connected: true, revision: '123', requests: 5, error: null },
  problems: [],
};

/** All that can be wrong at once, and hostile. */
export const BROKEN: StatusJson = {
  ...STATUS,
  ready: false,
  reason: `waiting for etcd at http://192.0.2.1:2379: ${EVIL}`,
  lease: {
    ...STATUS.lease,
    state: 'fenced',
    secondsLeft: null,
    reason: 'the lease ran out by this host’s clock',
  },
  paths: { unprobed: 1, reachable: 0, lossy: 1, unreachable: 1, lowered: 2 },
  setAside: 1,
  kernel: {
    ...STATUS.kernel,
    objects: { ...STATUS.kernel.objects, route: { desired: 6, inSync: 4, failing: 1 } },
    failing: [
      {
        object: 'route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink',
        error: 'EINVAL: Nexthop has invalid gateway',
      },
      { object: `route ${EVIL}`, error: EVIL },
    ],
    conflicts: [{ object: 'route 10.5.8.0/24', with: 'route 10.5.8.0/24 dev eth1 proto static' }],
    repairs: { route: 12, forward: 1, link: 0 },
  },
  cni: { attachments: 3, queued: 1, stale: [`deadbeef/eth0 (10.5.3.7/24)`, EVIL], commands: {} },
  store: {
    ...STATUS.store,
    connected: false,
    error: 'etcd at http://192.0.2.1:2379: KV.range: connection refused',
  },
  problems: ['10.5.9.0-24 is not served: its VNI is 2, not 1', EVIL],
};

export const OFFLOAD: NonNullable<ProbesJson['checksumOffload']> = {
  device: 'flannel.1',
  state: 'off',
  reason: 'packets to 2 peers came corrupted',
};

export const PROBES: ProbesJson = {
  enabled: true,
  interval: 10_000,
  sample: 4,
  sent: 10,
  received: 10,
  checksumOffload: { device: 'flannel.1', state: 'on', reason: null },
  paths: [],
};

const path = (n: number, family: 4 | 6, more: Partial<PathJson> = {}): PathJson => ({
  key: `10.5.${n}.0-24`,
  family,
  target: family === 4 ? `10.5.${n}.0` : `fd00:5:0:${n.toString(16)}::`,
  health: 'reachable',
  at: '2026-03-14T11:59:58Z',
  rtt: 0.123,
  leastRtt: 0.1,
  sent: 20,
  lost: 0,
  fullSize: 'passes',
  pathMtu: 1450,
  routeMtu: null,
  checksum: 'good',
  error: null,
  ...more,
});

const peerValue = (n: number, paths: readonly PathJson[], more: Partial<PeerJson> = {}): PeerJson => ({
  key: `10.5.${n}.0-24`,
  subnets: [`10.5.${n}.0/24`],
  publicIP: `192.0.2.${n}`,
  publicIPv6: null,
  backend: 'vxlan',
  data: { VNI: 1, VtepMAC: peerMac(n) },
  dataV6: null,
  node: NODE,
  reservation: false,
  unclaimed: false,
  problem: null,
  paths,
  traffic: { outPackets: 10 * n, outBytes: 1_500_000 * n, inPackets: n, inBytes: 64 * n },
  ...more,
});

/** By subnet, as the daemon gives them; each kind of trouble once. */
export const PEERS: PeersJson = {
  revision: '123',
  at: NOW.toISOString(),
  peers: [
    peerValue(2, [path(2, 4)]),
    peerValue(3, [
      path(3, 4, { health: 'unprobed', at: null, rtt: null, sent: 0, fullSize: 'unknown', pathMtu: null }),
    ]),
    peerValue(4, [path(4, 4, { fullSize: 'lost', pathMtu: 1400 })]),
    peerValue(5, [path(5, 4, { fullSize: 'passes', pathMtu: 1350, routeMtu: 1350 })], { traffic: null }),
    peerValue(6, [path(6, 4, { checksum: 'corrupted' })]),
    peerValue(7, [], {
      problem: `its VNI is 2, not 1 ${EVIL}`,
      data: { VNI: 2, VtepMAC: EVIL },
      traffic: null,
    }),
    peerValue(8, [path(8, 4, { health: 'lossy', lost: 5, rtt: 12.345 })]),
    peerValue(
      9,
      [
        path(9, 4, { health: 'unreachable', lost: 20, rtt: null, error: `EPERM ${EVIL}` }),
        path(9, 6, { rtt: 250 }),
      ],
      {
        key: '10.5.9.0-24&fd00:5:0:9::-64',
        subnets: ['10.5.9.0/24', 'fd00:5:0:9::/64'],
        publicIPv6: '2001:db8::9',
        dataV6: { VNI: 4096, VtepMAC: peerMac(9, 6) },
      },
    ),
    peerValue(10, [], { backend: 'udp', data: null, node: null }),
  ],
};

export const EVENTS: readonly EventJson[] = [
  {
    id: 1,
    at: '2026-03-14T11:00:00.123Z',
    level: 'info',
    kind: 'daemon',
    subject: null,
    message: 'started',
    fields: { version: '0.1.0' },
  },
  {
    id: 2,
    at: '2026-03-14T11:50:00.000Z',
    level: 'warn',
    kind: 'path',
    subject: '10.5.9.0-24',
    message: 'unreachable: none of the last 3 probes was answered',
    fields: { family: 4, ok: false, peer: '10.5.9.0-24', why: 'no answer at all', odd: 'a="b"' },
  },
  {
    id: 3,
    at: '2026-03-14T11:59:59.999Z',
    level: 'error',
    kind: 'store',
    subject: EVIL,
    message: EVIL,
    fields: { x: EVIL },
  },
];
