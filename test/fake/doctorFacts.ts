import type { LeaseJson, PathJson, StatusJson } from '../../src/api/shapes.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { VERSION } from '../../src/contract.ts';
import type { Facts, LinkFact } from '../../src/inspect/doctor/facts.ts';
import { fact } from '../../src/inspect/doctor/types.ts';
import { parseUnitFile } from '../../src/inspect/doctor/unitFile.ts';
import type { Firewall } from '../../src/inspect/firewall/index.ts';
import { iptablesBases } from '../../src/inspect/firewall/iptables.ts';
import type { Known } from '../../src/inspect/world.ts';
import { parseSave } from '../../src/kernel/iptablesSave.ts';
import type { ObservedAddress, ObservedRoute } from '../../src/kernel/observed.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { parseSubnetEnv } from '../../src/subnet/subnetEnv.ts';

/** A node of three, in good health: 10.42.1.0/24 at 192.0.2.1. */

export const known = <T>(value: T): Known<T> => ({ value, from: 'daemon' });

export const leaseOf = (n: number, more: Partial<LeaseJson> = {}): LeaseJson => ({
  key: `10.42.${n}.0-24`,
  subnets: [`10.42.${n}.0/24`],
  publicIP: `192.0.2.${n}`,
  publicIPv6: null,
  backend: 'vxlan',
  data: { VNI: 1, VtepMAC: `0a:00:00:00:00:0${n % 10}` },
  dataV6: null,
  node: String(n).repeat(32).slice(0, 32),
  instance: null,
  reservation: false,
  etcdLease: '1',
  createRevision: String(n),
  modRevision: String(n),
  self: n === 1,
  ...more,
});

export const linkOf = (ifindex: number, name: string, more: Partial<LinkFact> = {}): LinkFact => ({
  kind: 'link',
  ifindex,
  name,
  mtu: 1500,
  up: true,
  carrier: true,
  external: false,
  ...more,
});

export const addressOf = (dev: string, text: string): ObservedAddress => ({
  kind: 'address',
  dev,
  ifindex: 0,
  addr: prefix(text),
  flags: 0x80,
  scope: 0,
});

export const routeOf = (dst: string, dev: string, protocol: number, via?: string): ObservedRoute => ({
  kind: 'route',
  type: 'unicast',
  dst: prefix(dst),
  dev,
  ...(via === undefined ? {} : { via: addr(via) }),
  onlink: false,
  protocol,
  rtmType: 1,
  scope: 0,
  tos: 0,
  odd: false,
});

export const pathOf = (n: number, more: Partial<PathJson> = {}): PathJson => ({
  key: `10.42.${n}.0-24`,
  family: 4,
  target: `10.42.${n}.0`,
  health: 'reachable',
  at: '2026-01-01T00:00:00Z',
  rtt: 1,
  leastRtt: 1,
  sent: 20,
  lost: 0,
  fullSize: 'passes',
  pathMtu: 1450,
  routeMtu: null,
  checksum: 'good',
  error: null,
  ...more,
});

export const networkOf = (config: object): Facts['world']['network'] =>
  known(parseNetworkConfig(JSON.stringify({ Network: '10.42.0.0/16', ...config })));

/** What `iptables-save` prints of some tables, each in its own text. */
export const iptables = (tables: Readonly<Record<string, string>>): Firewall => ({
  bases: Object.entries(tables).flatMap(([name, text]) =>
    iptablesBases('iptables', 4, name, parseSave(`*${name}\n${text}\nCOMMIT\n`, name)!),
  ),
  gaps: [],
});

export const status = (more: Partial<StatusJson> = {}): StatusJson => ({
  version: VERSION,
  node: '1'.repeat(32),
  instance: '1'.repeat(16),
  pid: 4711,
  startedAt: '2026-01-01T00:00:00.000Z',
  ready: true,
  reason: null,
  lease: { state: 'held', lease: leaseOf(1), secondsLeft: 86_000, reason: null },
  network: { IPv4: '10.42.0.0/16', IPv6: null, backend: 'vxlan' },
  uplink: { name: 'eth0', mtu: 1500, addrs: ['192.0.2.1/24'], publicIP: '192.0.2.1', publicIPv6: null },
  mtu: 1450,
  subnetFile: '/run/flannel/subnet.env',
  peers: 2,
  paths: { unprobed: 0, reachable: 2, lossy: 0, unreachable: 0, lowered: 0 },
  setAside: 0,
  kernel: {
    revision: '5',
    objects: { link: { desired: 1, inSync: 1, failing: 0 }, route: { desired: 2, inSync: 2, failing: 0 } },
    failing: [],
    conflicts: [],
    repairs: {},
    messages: 10,
  },
  forwarder: null,
  cni: { attachments: 1, queued: 0, stale: [], commands: {} },
  store: { connected: true, revision: '5', requests: 3, error: null },
  problems: [],
  ...more,
});

export const unit = (path: string, text: string) => parseUnitFile(path, [text]);

const NOW = Date.parse('2026-01-02T00:00:00Z');

export const healthy = (): Facts => ({
  options: {
    runDir: '/run/loden',
    stateDir: '/var/lib/loden',
    subnetFile: '/run/flannel/subnet.env',
    endpoints: ['http://192.0.2.9:2379'],
    endpointsByDefault: false,
    passwordHidden: false,
    ipMasq: true,
    forwardRules: true,
    ifaces: [],
  },
  privileged: true,
  node: '1'.repeat(32),
  world: {
    daemon: { state: 'running', reason: undefined },
    status: known(status()),
    leases: known({
      revision: '5',
      source: 'daemon',
      leases: [leaseOf(1), leaseOf(2), leaseOf(3)],
      setAside: [],
    }),
    network: networkOf({ Backend: { Type: 'vxlan' } }),
    peers: known({ revision: '5', at: '2026-01-02T00:00:00Z', peers: [] }),
    probes: known({
      enabled: true,
      interval: 10_000,
      sample: 3,
      sent: 9,
      received: 9,
      checksumOffload: { device: 'flannel.1', state: 'on', reason: null },
      paths: [pathOf(2), pathOf(3)],
    }),
    config: known({
      options: [{ name: 'lease-ttl', origin: 'default', from: '--lease-ttl', values: ['24h'] }],
      network: { key: '/coreos.com/network/config', config: {}, inForce: true, problem: null },
    }),
  },
  links: fact([
    linkOf(1, 'lo', { mtu: 65_536 }),
    linkOf(2, 'eth0'),
    linkOf(3, 'flannel.1', {
      mtu: 1450,
      mac: mac('0a:00:00:00:00:01'),
      type: 'vxlan',
      vxlan: { vni: 1, port: 8472, local: addr('192.0.2.1'), underlay: 2, learning: false, gbp: false },
    }),
    linkOf(4, 'cni0', { mtu: 1450, type: 'bridge' }),
  ]),
  addresses: fact([
    addressOf('lo', '127.0.0.1/8'),
    addressOf('eth0', '192.0.2.1/24'),
    addressOf('flannel.1', '10.42.1.0/32'),
    addressOf('cni0', '10.42.1.1/24'),
  ]),
  routes: fact([
    routeOf('0.0.0.0/0', 'eth0', 3, '192.0.2.254'),
    routeOf('192.0.2.0/24', 'eth0', 2),
    routeOf('10.42.1.0/24', 'cni0', 2),
    routeOf('10.42.2.0/24', 'flannel.1', 76, '10.42.2.0'),
    routeOf('10.42.3.0/24', 'flannel.1', 76, '10.42.3.0'),
  ]),
  sysctls: fact(
    new Map([
      ['net/ipv4/ip_forward', '1'],
      ['net/ipv4/conf/all/rp_filter', '0'],
      ['net/ipv4/conf/eth0/rp_filter', '0'],
      ['net/ipv4/conf/flannel.1/forwarding', '1'],
      ['net/bridge/bridge-nf-call-iptables', '1'],
    ]),
  ),
  kernel: fact({
    release: '6.1.0',
    features: new Map(
      ['vxlan', 'tun', 'bridge', 'veth', 'nf_tables', 'nft_masq', 'br_netfilter'].map((f) => [f, 'module']),
    ),
    tunDevice: true,
    ipv6: true,
  }),
  firewall: fact(
    iptables({
      filter:
        ':INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A FORWARD -s 10.42.0.0/16 -j ACCEPT\n-A FORWARD -d 10.42.0.0/16 -j ACCEPT',
    }),
  ),
  sockets: fact([
    { family: 4, address: '0.0.0.0', port: 8472, process: undefined },
    { family: 4, address: '0.0.0.0', port: 53, process: { pid: 9, name: 'named' } },
  ]),
  managers: fact({
    running: new Set(['systemd', 'node']),
    linkFiles: [],
    networkFiles: [],
    networkdConf: [],
    networkManagerConf: [],
    plain: new Map(),
  }),
  etcd: fact([
    {
      endpoint: 'http://192.0.2.9:2379',
      state: 'answers',
      error: null,
      latency: 2,
      least: 1,
      asked: 5,
      clockAhead: 20,
      version: '3.5.9',
      alarms: [],
      certificate: null,
    },
  ]),
  certificates: fact([]),
  clock: fact({ now: NOW, synchronised: true }),
  subnetEnv: fact(
    parseSubnetEnv(
      'FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
    ),
  ),
  cni: fact({
    confDir: '/etc/cni/net.d',
    configurations: [
      { file: '10-loden.conflist', plugins: ['loden', 'portmap'], version: '1.0.0', mtu: null },
    ],
    binDir: '/opt/cni/bin',
    binaries: new Set(['loden', 'flannel', 'portmap']),
    runtime: 'kubelet',
  }),
});
