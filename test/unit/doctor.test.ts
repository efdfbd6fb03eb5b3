import { describe, expect, test } from 'vitest';
import type { PeerJson, StatusJson } from '../../src/api/shapes.ts';
import { CHECKS } from '../../src/inspect/doctor/checks/index.ts';
import { chosen, examine } from '../../src/inspect/doctor/examine.ts';
import type { EndpointFact, Facts, LinkFact, Managers } from '../../src/inspect/doctor/facts.ts';
import { sampleOfPeers } from '../../src/inspect/doctor/peerSample.ts';
import { fact, type Level, missing } from '../../src/inspect/doctor/types.ts';
import { knownValue, type World } from '../../src/inspect/world.ts';
import { mac } from '../../src/net/mac.ts';
import { parseSubnetEnv } from '../../src/subnet/subnetEnv.ts';
import {
  addressOf,
  healthy,
  iptables,
  known,
  leaseOf,
  linkOf,
  networkOf,
  pathOf,
  routeOf,
  status,
  unit,
} from '../fake/doctorFacts.ts';

const AT = new Date('2026-01-02T00:00:00Z');
const report = (facts: Facts) => examine(facts, CHECKS, AT);

type Change = Partial<Facts>;
const value = <T>(f: { readonly value: T } | { readonly missing: string }): T => (f as { value: T }).value;

/** Healthy facts, changed. */
const base = healthy();
const world = (more: Partial<World>): Change => ({ world: { ...base.world, ...more } });
const says = (more: Partial<StatusJson>): Change => world({ status: known(status(more)) });
const leases = (...more: Parameters<typeof leaseOf>[]): Change =>
  world({
    leases: known({
      revision: '5',
      source: 'daemon',
      leases: [leaseOf(1), leaseOf(2), ...more.map((m) => leaseOf(...m))],
      setAside: [],
    }),
  });
/** The daemon cannot serve a peer. */
const refuses = (key: string, problem: string): Change => {
  const of = (k: string, p: string | null) => ({ key: k, problem: p }) as unknown as PeerJson;
  const peers = [of(key, problem), of('10.42.8.0-24', null)];
  return world({ peers: known({ revision: '5', at: '2026-01-02T00:00:00Z', peers }) });
};
const links = (...more: readonly LinkFact[]): Change => ({
  links: fact([...value(base.links).filter((l) => !more.some((m) => m.name === l.name)), ...more]),
});
const sysctls = (more: Readonly<Record<string, string>>): Change => ({
  sysctls: fact(new Map([...value(base.sysctls), ...Object.entries(more)])),
});
const managers = (more: Partial<Managers>): Change => ({
  managers: fact({ ...value(base.managers), ...more }),
});
const endpoint = (more: Partial<EndpointFact>): Change => ({
  etcd: fact([{ ...value(base.etcd)[0]!, ...more }]),
});
const probes = (...paths: ReturnType<typeof pathOf>[]): Change =>
  world({ probes: known({ ...knownValue(base.world.probes)!, paths }) });
const filter = (rules: string, forward = 'ACCEPT'): Change => ({
  firewall: fact(
    iptables({ filter: `:INPUT ACCEPT [0:0]\n:FORWARD ${forward} [0:0]\n:OUTPUT ACCEPT [0:0]\n${rules}` }),
  ),
});
const routed = networkOf({ Backend: { Type: 'vxlan', DirectRouting: true } });
const hostGw = networkOf({ Backend: { Type: 'host-gw' } });
const udp = networkOf({ Backend: { Type: 'udp' } });
const vxlanLink = (name: string, more: Partial<NonNullable<LinkFact['vxlan']>>, external = false): LinkFact =>
  linkOf(20, name, {
    type: 'vxlan',
    external,
    vxlan: { vni: 9, port: 9999, learning: false, gbp: false, ...more },
  });
const downLink = { ...value(base.links).find((l) => l.name === 'flannel.1')!, up: false };

/** What is wrong, which check says so, how badly, and in which words; the fix. */
const FAULTS: readonly (readonly [string, string, Level, Change, RegExp, RegExp?])[] = [
  [
    'kernel',
    'no vxlan, no device',
    'failure',
    { ...kernel('vxlan', 'absent'), links: fact([linkOf(2, 'eth0')]) },
    /the kernel 6\.1\.0 has no vxlan/,
    /linux-modules-extra-6\.1\.0/,
  ],
  [
    'kernel',
    'no nft_masq though --ip-masq',
    'failure',
    kernel('nft_masq', 'absent'),
    /no nft_masq, which --ip-masq needs/,
    /CONFIG_NFT_MASQ/,
  ],
  ['kernel', 'no bridge', 'warning', kernel('bridge', 'absent'), /no bridge, which attaching pods needs/],
  [
    'kernel',
    'no tun device',
    'failure',
    { ...world({ network: udp }), kernel: fact({ ...value(base.kernel), tunDevice: false }) },
    /no \/dev\/net\/tun/,
    /modprobe tun/,
  ],
  [
    'kernel',
    'no IPv6',
    'failure',
    {
      ...world({
        network: networkOf({ EnableIPv6: true, IPv6Network: 'fd00:42::/48', Backend: { Type: 'vxlan' } }),
      }),
      kernel: fact({ ...value(base.kernel), ipv6: false }),
    },
    /the network has IPv6/,
  ],
  [
    'uplink',
    'gone',
    'failure',
    { links: fact(value(base.links).filter((l) => l.name !== 'eth0')) },
    /the interface eth0 is gone/,
    /--iface/,
  ],
  [
    'uplink',
    'down',
    'failure',
    links(linkOf(2, 'eth0', { up: false })),
    /eth0 is down/,
    /ip link set eth0 up/,
  ],
  ['uplink', 'no carrier', 'failure', links(linkOf(2, 'eth0', { carrier: false })), /no carrier/],
  [
    'uplink',
    'none',
    'failure',
    {
      ...says({ uplink: null }),
      ...{ links: fact([linkOf(2, 'eth0')]), routes: fact([]), addresses: fact([]) },
    },
    /there is no default route/,
    /--iface eth0/,
  ],
  [
    'forwarding',
    'off',
    'failure',
    sysctls({ 'net/ipv4/ip_forward': '0' }),
    /ip_forward is 0/,
    /sysctl -w net\/ipv4\/ip_forward=1/,
  ],
  [
    'forwarding',
    'off on the bridge',
    'failure',
    sysctls({ 'net/ipv4/conf/cni0/forwarding': '0' }),
    /off for cni0/,
  ],
  [
    'rp-filter',
    'strict where peers are routed',
    'warning',
    { ...world({ network: routed }), ...sysctls({ 'net/ipv4/conf/all/rp_filter': '1' }) },
    /strict on flannel\.1/,
    /rp_filter=2/,
  ],
  [
    'bridge-netfilter',
    'kube-proxy without it',
    'warning',
    {
      ...managers({ running: new Set(['kube-proxy']) }),
      sysctls: fact(new Map([['net/ipv4/ip_forward', '1']])),
    },
    /br_netfilter is not loaded, and kube-proxy runs/,
    /modprobe br_netfilter/,
  ],
  [
    'clock',
    'far from etcd',
    'warning',
    endpoint({ clockAhead: 61_000 }),
    /61 s ahead of this host/,
    /timedatectl/,
  ],
  [
    'forward-drop',
    'policy without our rules',
    'failure',
    filter('', 'DROP'),
    /pods here to pods of other nodes are dropped by "policy drop" in iptables, table filter, chain FORWARD/,
    /iptables -t filter -I FORWARD -s 10\.42\.0\.0\/16 -j ACCEPT/,
  ],
  [
    'forward-drop',
    'a rule before ours',
    'failure',
    filter('-A FORWARD -i flannel.1 -j REJECT\n-A FORWARD -s 10.42.0.0/16 -j ACCEPT'),
    /pods of other nodes to pods here are rejected by/,
  ],
  [
    'tunnel-firewall',
    'closed',
    'failure',
    filter('-A INPUT -p udp -m udp --dport 8472 -j DROP'),
    /come in at UDP port 8472 are dropped/,
    /iptables -t filter -I INPUT -p udp --dport 8472 -j ACCEPT/,
  ],
  [
    'tunnel-firewall',
    'closed, before there is any lease',
    'failure',
    {
      ...filter('-A INPUT -d 192.0.2.1/32 -p udp -m udp --dport 8472 -j DROP'),
      ...world({
        status: { missing: 'no daemon' },
        leases: known({ revision: '5', source: 'etcd', leases: [], setAside: [] }),
      }),
    },
    /come in at UDP port 8472 are dropped/,
  ],
  [
    'tunnel-firewall',
    'closed outward',
    'failure',
    filter('-A OUTPUT -p udp -m udp --dport 8472 -j DROP'),
    /to UDP port 8472 of peers are dropped/,
  ],
  [
    'tunnel-firewall',
    'sent elsewhere',
    'failure',
    nat(':PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 8472 -j REDIRECT --to-ports 53'),
    /sent elsewhere \(redirect\)/,
    /--dport 8472 -j RETURN/,
  ],
  [
    'tunnel-firewall',
    'masqueraded',
    'warning',
    nat(':POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE'),
    /given another source \(masquerade\)/,
  ],
  [
    'tunnel-port',
    'a program',
    'failure',
    { sockets: fact([{ family: 4, address: '0.0.0.0', port: 8472, process: { pid: 77, name: 'snoop' } }]) },
    /the program snoop \(process 77\)/,
    /kill 77/,
  ],
  [
    'tunnel-port',
    'an external device',
    'warning',
    links(vxlanLink('vx_sys_8472', { port: 8472 }, true)),
    /vx_sys_8472 takes all of UDP port 8472/,
  ],
  [
    'tunnel-port',
    'the same VNI, ours down',
    'failure',
    links(vxlanLink('other', { port: 8472, vni: 1 }), downLink),
    /has our VNI 1 at our UDP port 8472/,
    /ip link del other/,
  ],
  [
    'tunnel-mac',
    'not what the lease says',
    'failure',
    links({ ...downLink, up: true, mac: mac('0a:00:00:00:00:ff') }),
    /has the MAC 0a:00:00:00:00:ff, but our lease tells peers 0a:00:00:00:00:01/,
    /ip link set flannel\.1 address 0a:00:00:00:00:01/,
  ],
  [
    'tunnel-mac',
    'a copy',
    'failure',
    leases([3, { data: { VNI: 1, VtepMAC: '0A:00:00:00:00:01' } }]),
    /same VtepMAC/,
    /--state-dir/,
  ],
  [
    'mtu',
    'larger than the uplink takes',
    'failure',
    links(linkOf(2, 'eth0', { mtu: 1400 })),
    /flannel\.1 takes packets of 1450 bytes/,
    /mtu 1350/,
  ],
  [
    'mtu',
    'a bridge',
    'warning',
    links(linkOf(4, 'cni0', { mtu: 1500 })),
    /cni0 has MTU 1500, but the overlay takes 1450/,
  ],
  [
    'mtu',
    'a configuration',
    'warning',
    {
      cni: fact({
        ...value(base.cni),
        configurations: [{ file: 'x.conflist', plugins: ['loden'], version: '1.0.0', mtu: 9000 }],
      }),
    },
    /x\.conflist gives pods MTU 9000/,
  ],
  [
    'mtu',
    'a path',
    'warning',
    probes(pathOf(2, { fullSize: 'lost', pathMtu: 1350, routeMtu: 1350 }), pathOf(3)),
    /10\.42\.2\.0-24 \(1350 bytes\).*lowered/,
    /1350 bytes/,
  ],
  [
    'checksum',
    'corrupted',
    'warning',
    probes(pathOf(2, { checksum: 'corrupted' })),
    /arrive corrupted at 10\.42\.2\.0-24/,
    /ethtool -K flannel\.1/,
  ],
  [
    'peers',
    'one',
    'failure',
    probes(pathOf(2, { health: 'unreachable' }), pathOf(3)),
    /^1 of 2 probed peers do not answer: 10\.42\.2\.0-24$/,
    /loden why 10\.42\.2\.0/,
  ],
  [
    'peers',
    'all',
    'failure',
    probes(pathOf(2, { health: 'unreachable' }), pathOf(3, { health: 'unreachable' })),
    /none of 2 probed peers answers/,
    /UDP port 8472 pass between the hosts/,
  ],
  [
    'peers',
    'lossy',
    'warning',
    probes(pathOf(2, { health: 'lossy', lost: 5 }), pathOf(3)),
    /10\.42\.2\.0-24 \(5 of 20\)/,
  ],
  [
    'udev',
    'persistent MACs',
    'warning',
    managers({
      running: new Set(['systemd-udevd']),
      linkFiles: [unit('99-default.link', '[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent')],
    }),
    /99-default\.link .* flannel\.1/,
    /10-loden\.link/,
  ],
  [
    'network-managers',
    'networkd on the uplink',
    'warning',
    {
      ...world({ network: hostGw }),
      ...managers({
        running: new Set(['systemd-network']),
        networkFiles: [unit('eth.network', '[Match]\nName=eth*')],
      }),
    },
    /manages eth0 by eth\.network/,
    /ManageForeignRoutes=no/,
  ],
  [
    'network-managers',
    'networkd on ours',
    'warning',
    managers({
      running: new Set(['systemd-network']),
      networkFiles: [unit('all.network', '[Match]\nName=*')],
    }),
    /all\.network fits flannel\.1/,
  ],
  [
    'network-managers',
    'NetworkManager',
    'warning',
    managers({ running: new Set(['NetworkManager']) }),
    /leave flannel\.1 and cni0 alone/,
  ],
  [
    'network-managers',
    'dhcpcd',
    'warning',
    managers({ running: new Set(['dhcpcd']), plain: new Map([['dhcpcd.conf', 'denyinterfaces cni*']]) }),
    /asks for addresses on flannel\.1 too/,
    /denyinterfaces/,
  ],
  [
    'network-managers',
    'connman',
    'warning',
    managers({
      running: new Set(['connmand']),
      plain: new Map([['main.conf', 'NetworkInterfaceBlacklist=flannel,veth']]),
    }),
    /takes cni0 for its own/,
  ],
  [
    'other-overlays',
    'weave',
    'warning',
    links(linkOf(9, 'weave')),
    /weave is a device of Weave Net/,
    /ip link del weave/,
  ],
  [
    'other-overlays',
    'another VNI',
    'warning',
    links(vxlanLink('flannel.7', { vni: 7 })),
    /flannel\.7 is left from another backend or VNI/,
  ],
  [
    'other-overlays',
    "Calico's tunl0",
    'warning',
    {
      ...links(linkOf(9, 'tunl0')),
      addresses: fact([...value(base.addresses), addressOf('tunl0', '10.99.0.1/32')]),
    },
    /tunl0 is a device of Calico/,
  ],
  [
    'other-overlays',
    'a bridge of another subnet',
    'failure',
    {
      addresses: fact([
        ...value(base.addresses).filter((a) => a.dev !== 'cni0'),
        addressOf('cni0', '10.42.9.1/24'),
      ]),
    },
    /cni0 has the address 10\.42\.9\.1\/24/,
  ],
  [
    'other-overlays',
    'flanneld',
    'failure',
    managers({ running: new Set(['flanneld']) }),
    /flanneld runs on this host too/,
  ],
  [
    'overlap',
    'docker0',
    'failure',
    { addresses: fact([...value(base.addresses), addressOf('docker0', '10.42.200.1/24')]) },
    /docker0 has the prefix 10\.42\.200\.0\/24/,
    /bip/,
  ],
  [
    'overlap',
    'a route inside',
    'failure',
    { routes: fact([...value(base.routes), routeOf('10.42.9.0/24', 'eth0', 186, '192.0.2.7')]) },
    /10\.42\.9\.0\/24 via 192\.0\.2\.7 dev eth0/,
    /routing protocol 186/,
  ],
  [
    'overlap',
    'a route around',
    'warning',
    { routes: fact([...value(base.routes), routeOf('10.0.0.0/8', 'tun9', 4)]) },
    /covers the overlay's whole network/,
  ],
  [
    'etcd',
    'refused',
    'failure',
    endpoint({ state: 'unreachable', error: 'connection refused', latency: null, clockAhead: null }),
    /cannot be reached: connection refused/,
    /2379/,
  ],
  [
    'etcd',
    'another scheme',
    'failure',
    endpoint({ state: 'wrong-scheme', error: 'it speaks TLS', latency: null }),
    /it speaks TLS/,
    /https:\/\//,
  ],
  [
    'etcd',
    'no password',
    'failure',
    endpoint({ state: 'unauthorized', error: 'permission denied', latency: null }),
    /refuses us/,
    /--etcd-password/,
  ],
  ['etcd', 'slow', 'warning', endpoint({ latency: 400, least: 160 }), /takes 400 ms/],
  ['etcd', 'very slow', 'failure', endpoint({ latency: 1400, least: 1100 }), /takes 1400 ms/],
  [
    'etcd',
    'full',
    'failure',
    endpoint({ alarms: ['NOSPACE'] }),
    /out of space \(alarm NOSPACE\)/,
    /etcdctl alarm disarm/,
  ],
  [
    'certificates',
    'expired',
    'failure',
    certificate(-86_400_000),
    /ca\.pem \(--etcd-cafile\) has expired on 2026-01-01/,
  ],
  ['certificates', 'soon', 'warning', certificate(86_400_000), /expires on 2026-01-03/],
  [
    'certificates',
    'unusable',
    'failure',
    { certificates: fact([{ option: '--etcd-keyfile', path: 'k', from: null, to: null, error: 'EACCES' }]) },
    /k \(--etcd-keyfile\) cannot be used: EACCES/,
  ],
  [
    'certificates',
    "the server's",
    'failure',
    endpoint({ certificate: { from: 0, to: AT.getTime() - 1, subject: 'x' } }),
    /the certificate of etcd at .* has expired/,
  ],
  [
    'network-config',
    'none',
    'failure',
    world({ network: { missing: 'there is no network config at /x/config in etcd' } }),
    /no network config at \/x\/config/,
  ],
  [
    'network-config',
    'not in force',
    'warning',
    world({
      config: known({
        options: [],
        network: { key: 'k', config: {}, inForce: false, problem: 'restart needed' },
      }),
    }),
    /not what the daemon goes by: restart needed/,
  ],
  [
    'own-lease',
    'fenced',
    'failure',
    says({ lease: { state: 'fenced', lease: leaseOf(1), secondsLeft: null, reason: 'etcd is away' } }),
    /has run out and is fenced: etcd is away/,
  ],
  [
    'own-lease',
    'little left',
    'warning',
    says({ lease: { state: 'held', lease: leaseOf(1), secondsLeft: 7300, reason: null } }),
    /only 2h 1m left of 1d/,
  ],
  [
    'leases',
    'overlap',
    'failure',
    leases([9, { key: '10.42.2.128-25', subnets: ['10.42.2.128/25'] }]),
    /10\.42\.2\.0-24 and 10\.42\.2\.128-25 overlap/,
  ],
  [
    'leases',
    'outside',
    'warning',
    leases([9, { key: '10.9.9.0-24', subnets: ['10.9.9.0/24'] }]),
    /10\.9\.9\.0-24 is outside the network/,
  ],
  [
    'leases',
    'not served',
    'warning',
    refuses('10.42.9.0-24', 'it uses the backend "udp", not vxlan'),
    /the peer 10\.42\.9\.0-24 is not served: it uses the backend "udp"/,
    /loden leases show 10\.42\.9\.0\/24/,
  ],
  [
    'leases',
    'unreadable',
    'warning',
    world({
      leases: known({
        revision: '5',
        source: 'etcd',
        leases: [leaseOf(1)],
        setAside: [{ key: '/p/subnets/x', reason: 'no JSON' }],
      }),
    }),
    /cannot be read as a lease/,
  ],
  [
    'duplicate-ips',
    'of two',
    'failure',
    leases([3, { publicIP: '192.0.2.2' }]),
    /10\.42\.2\.0-24 and 10\.42\.3\.0-24 have one public address, 192\.0\.2\.2/,
  ],
  [
    'duplicate-ips',
    'ours',
    'failure',
    {
      ...leases([3, { publicIP: '198.51.100.1' }]),
      addresses: fact([...value(base.addresses), addressOf('eth0', '198.51.100.1/24')]),
    },
    /198\.51\.100\.1, which is this host's own/,
  ],
  [
    'daemon',
    'none',
    'warning',
    world({ daemon: { state: 'none', reason: 'ENOENT' } }),
    /no daemon answers at \/run\/loden/,
    /systemctl start loden/,
  ],
  [
    'daemon',
    'silent',
    'failure',
    world({ daemon: { state: 'refusing', reason: 'no answer within 3 s' } }),
    /does not answer: no answer within 3 s/,
  ],
  [
    'daemon',
    'not ready',
    'failure',
    says({ ready: false, reason: 'waiting for etcd' }),
    /not ready: waiting for etcd/,
  ],
  [
    'objects',
    'refused',
    'failure',
    kernelSays({ failing: [{ object: 'route x', error: 'EINVAL' }] }),
    /the kernel refuses route x: EINVAL/,
  ],
  [
    'objects',
    'in conflict',
    'warning',
    kernelSays({ conflicts: [{ object: 'route x', with: 'route x dev eth1' }] }),
    /for route x dev eth1 is in its place/,
  ],
  [
    'objects',
    'fought over',
    'warning',
    kernelSays({ repairs: { route: 500 } }),
    /500 times somebody has removed or changed a route/,
  ],
  ['subnet-file', 'gone', 'failure', { subnetEnv: fact(null) }, /is missing, though the daemon is ready/],
  [
    'subnet-file',
    'another subnet',
    'failure',
    {
      subnetEnv: fact(
        parseSubnetEnv('FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.9.1/24\nFLANNEL_MTU=1450'),
      ),
    },
    /says 10\.42\.9\.0\/24, but this node's lease is 10\.42\.1\.0\/24/,
  ],
  [
    'cni',
    'no configuration',
    'warning',
    { cni: fact({ ...value(base.cni), configurations: [] }) },
    /no network configuration in .*, but kubelet runs here/,
    /loden cni install/,
  ],
  [
    'cni',
    'another first',
    'warning',
    {
      cni: fact({
        ...value(base.cni),
        configurations: [
          { file: '05-x.conf', plugins: ['bridge'], version: '1.0.0', mtu: null },
          ...value(base.cni).configurations!,
        ],
      }),
    },
    /take 05-x\.conf, the first/,
  ],
  [
    'cni',
    'no plugin',
    'failure',
    { cni: fact({ ...value(base.cni), binaries: new Set(['loden']) }) },
    /names the plugin portmap, which is not in/,
  ],
  [
    'pods',
    'stale',
    'warning',
    says({ cni: { attachments: 3, queued: 0, stale: ['a/eth0', 'b/eth0'], commands: {} } }),
    /2 pods have addresses of a subnet.*: a\/eth0 and b\/eth0/,
  ],
];

function kernel(name: string, state: 'absent' | 'unknown'): Change {
  const features = new Map(value(base.kernel).features).set(name, state);
  return { kernel: fact({ ...value(base.kernel), features }) };
}

function nat(rules: string): Change {
  return { firewall: fact(iptables({ nat: rules })) };
}

function certificate(left: number): Change {
  const to = AT.getTime() + left;
  return { certificates: fact([{ option: '--etcd-cafile', path: 'ca.pem', from: 0, to, error: null }]) };
}

function kernelSays(more: Partial<StatusJson['kernel']>): Change {
  return says({ kernel: { ...status().kernel, ...more } });
}

test('a healthy host has neither failures nor warnings, and nothing is skipped', () => {
  const { findings, well, counts } = report(base);
  expect(findings.filter((f) => f.level !== 'ok')).toEqual([]);
  expect({ well, counts }).toEqual({
    well: true,
    counts: { ok: CHECKS.length, info: 0, warning: 0, failure: 0, skipped: 0 },
  });
});

describe('each check names the cause', () => {
  test.each(FAULTS.map(([id, what, ...rest]) => [`${id}: ${what}`, id, ...rest] as const))(
    '%s',
    (_, id, level, change, cause, fix) => {
      const { findings } = report({ ...base, ...change });
      const [said, ...more] = findings.filter(
        (f) => f.check === id && f.level !== 'ok' && f.level !== 'info',
      );
      expect(said).toMatchObject({
        level,
        cause: expect.stringMatching(cause),
        fix: expect.stringMatching(fix ?? /./),
      });
      expect(more.every((m) => m.level === level)).toBe(true);
    },
  );

  test('and every check is among them', () =>
    expect([...new Set(FAULTS.map(([id]) => id))].sort()).toEqual(CHECKS.map((c) => c.id).sort()));
});

/** What looks like a fault and is none. */
const HARMLESS: readonly (readonly [string, string, Change])[] = [
  ['kernel', 'a device that is there needs no module', kernel('vxlan', 'absent')],
  ['rp-filter', 'strict with a tunnel alone', sysctls({ 'net/ipv4/conf/all/rp_filter': '1' })],
  [
    'rp-filter',
    'loose',
    { ...world({ network: routed }), ...sysctls({ 'net/ipv4/conf/all/rp_filter': '2' }) },
  ],
  ['tunnel-port', 'another VNI at the same port', links(vxlanLink('other', { port: 8472 }))],
  [
    'tunnel-port',
    "the daemon's own socket",
    {
      ...world({ network: udp }),
      sockets: fact([{ family: 4, address: '192.0.2.1', port: 8285, process: { pid: 4711, name: 'node' } }]),
    },
  ],
  ['tunnel-firewall', 'another port', filter('-A INPUT -p udp -m udp --dport 4789 -j DROP')],
  ['forward-drop', 'a drop of others', filter('-A FORWARD -i eth7 -j DROP')],
  [
    'udev',
    'our file comes first',
    managers({
      running: new Set(['systemd-udevd']),
      linkFiles: [
        unit(
          '10-loden.link',
          '[Match]\nOriginalName=flannel* cni0 veth???????????\n[Link]\nMACAddressPolicy=none',
        ),
        unit('99-default.link', '[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent'),
      ],
    }),
  ],
  [
    'network-managers',
    'networkd leaves ours alone',
    managers({
      running: new Set(['systemd-network']),
      networkFiles: [
        unit('10-loden.network', '[Match]\nName=flannel* cni0\n[Link]\nUnmanaged=yes'),
        unit('all.network', '[Match]\nName=*'),
      ],
    }),
  ],
  [
    'network-managers',
    'networkd keeps foreign routes',
    {
      ...world({ network: hostGw }),
      ...managers({
        running: new Set(['systemd-network']),
        networkFiles: [unit('eth.network', '[Match]\nName=eth*')],
        networkdConf: [
          unit('a', '[Network]\nManageForeignRoutes=yes'),
          unit('b', '[Network]\nManageForeignRoutes=no'),
        ],
      }),
    },
  ],
  [
    'network-managers',
    'NetworkManager knows',
    managers({
      running: new Set(['NetworkManager']),
      networkManagerConf: [
        unit('x', '[keyfile]\nunmanaged-devices=interface-name:flannel*;interface-name:cni0'),
      ],
    }),
  ],
  [
    'network-managers',
    'NetworkManager knows by section',
    managers({
      running: new Set(['NetworkManager']),
      networkManagerConf: [
        unit('x', '[device-ours]\nmatch-device=interface-name:flannel*,interface-name:cni*\nmanaged=0'),
      ],
    }),
  ],
  ['other-overlays', 'the module ipip alone', links(linkOf(9, 'tunl0'))],
  [
    'overlap',
    "Docker's bridge with our own subnet",
    { addresses: fact([...value(base.addresses), addressOf('docker0', '10.42.1.1/24')]) },
  ],
  [
    'overlap',
    'routes of pods',
    {
      routes: fact([
        ...value(base.routes),
        routeOf('10.42.1.7/32', 'veth0', 77),
        routeOf('10.42.1.8/32', 'cali1', 3),
      ]),
    },
  ],
  [
    'etcd',
    'one of the two defaults',
    {
      options: { ...base.options, endpointsByDefault: true },
      etcd: fact([
        {
          ...value(base.etcd)[0]!,
          endpoint: 'http://127.0.0.1:4001',
          state: 'unreachable',
          error: 'refused',
          latency: null,
        },
        value(base.etcd)[0]!,
      ]),
    },
  ],
  ['etcd', 'a busy machine', endpoint({ latency: 400, least: 20 })],
  ['clock', 'not synchronised, but like etcd', { clock: fact({ now: AT.getTime(), synchronised: false }) }],
  [
    'cni',
    'no configuration, no runtime',
    { cni: fact({ ...value(base.cni), configurations: [], runtime: undefined }) },
  ],
  [
    'cni',
    'a configuration of others',
    {
      cni: fact({
        ...value(base.cni),
        configurations: [{ file: '10-x.conf', plugins: ['calico'], version: null, mtu: null }],
      }),
    },
  ],
  ['leases', 'a prefix in itself', leases()],
  ['duplicate-ips', 'no address at all', leases([3, { publicIP: '0.0.0.0' }], [4, { publicIP: '0.0.0.0' }])],
  [
    'own-lease',
    'a reservation',
    says({ lease: { state: 'held', lease: leaseOf(1), secondsLeft: null, reason: null } }),
  ],
];

describe('what does no harm is not complained of', () => {
  test.each(HARMLESS.map(([id, what, change]) => [`${id}: ${what}`, id, change] as const))(
    '%s',
    (_, id, change) => {
      const { findings } = report({ ...base, ...change });
      const levels = findings.filter((f) => f.check === id).map((f) => f.level);
      expect(levels.length).toBeGreaterThan(0);
      expect(levels.filter((l) => l !== 'ok' && l !== 'info')).toEqual([]);
    },
  );
});

test('what could not be looked at is skipped, with the reason, and nothing fails for it', () => {
  const gone = missing('it could not be read');
  const nothing: Facts = {
    ...base,
    privileged: false,
    world: {
      daemon: { state: 'refusing', reason: 'permission denied; only root may ask' },
      ...Object.fromEntries(
        ['status', 'leases', 'network', 'peers', 'probes', 'config'].map((k) => [
          k,
          { missing: 'nobody may ask' },
        ]),
      ),
    } as unknown as World,
    ...Object.fromEntries(
      [
        'links',
        'addresses',
        'routes',
        'sysctls',
        'kernel',
        'firewall',
        'sockets',
        'managers',
        'etcd',
        'certificates',
        'clock',
        'subnetEnv',
        'cni',
      ].map((k) => [k, gone]),
    ),
  };
  const { findings, well } = report(nothing);
  expect(findings.map((f) => [f.check, f.level])).toEqual(CHECKS.map((c) => [c.id, 'skipped']));
  expect(findings.every((f) => f.cause.length > 5)).toBe(true);
  expect(well).toBe(true);
});

test('the rules of a firewall that cannot be read prove nothing', () => {
  const facts: Facts = { ...base, firewall: fact({ bases: [], gaps: ['nftables: it\nhangs'] }) };
  const said = report(facts).findings.filter((f) => /firewall|drop/.test(f.check));
  expect(said.map((f) => f.level)).toEqual(['skipped', 'skipped']);
  expect(said[0]!.cause).toContain('nftables: it; hangs');
  expect(report({ ...facts, privileged: false }).findings[6]!.cause).toContain('only root');
});

test('without a daemon our lease is known by our id, else by our address', () => {
  const own = leaseOf(1, { self: false });
  const without = (lease: typeof own, node: Facts['node']): Facts => ({
    ...base,
    node,
    world: {
      ...base.world,
      daemon: { state: 'none', reason: undefined },
      status: { missing: 'no daemon runs here' },
      leases: known({ revision: '5', source: 'etcd', leases: [lease, leaseOf(2)], setAside: [] }),
    },
  });
  const said = (facts: Facts) =>
    report(facts)
      .findings.filter((f) => ['own-lease', 'duplicate-ips'].includes(f.check))
      .map((f) => [f.check, f.level]);
  const ours = [
    ['own-lease', 'ok'],
    ['duplicate-ips', 'ok'],
  ];
  expect(said(without({ ...own, self: true }, own.node))).toEqual(ours);
  // flanneld's.
  expect(said(without({ ...own, node: null }, 'f'.repeat(32)))).toEqual(ours);
  // Not as root the id cannot be read; and there may be none, here: then it may be ours or not.
  for (const node of [undefined, null])
    expect(said(without(own, node))).toEqual([
      ['own-lease', 'info'],
      ['duplicate-ips', 'ok'],
    ]);
  // Somebody else's id, at our address.
  expect(said(without(own, 'f'.repeat(32)))).toEqual([
    ['own-lease', 'info'],
    ['duplicate-ips', 'failure'],
  ]);
});

test('a tunnel fits or not by its headers', () => {
  const { findings } = report({ ...base, ...links(linkOf(2, 'eth0', { mtu: 1499 })) });
  expect(findings.find((f) => f.check === 'mtu')?.fix).toContain('ip link set flannel.1 mtu 1449');
});

test('a single peer that is silent is not all of them', () => {
  const { findings } = report({ ...base, ...probes(pathOf(2, { health: 'unreachable' })) });
  expect(findings.find((f) => f.check === 'peers')?.cause).toMatch(/^1 of 1 probed peers do not answer/);
});

test('warnings are no failures', () => {
  const warned = report({
    ...base,
    ...says({ setAside: 0, kernel: { ...status().kernel, repairs: { route: 500 } } }),
  });
  expect(warned).toMatchObject({ well: true, counts: { warning: 1, failure: 0 } });
  expect(report({ ...base, ...says({ ready: false, reason: 'x' }) })).toMatchObject({ well: false });
});

test('while the daemon goes by another config than etcd has, nothing is judged by the latter', () => {
  const config = known({
    options: [],
    network: { key: 'k', config: {}, inForce: false, problem: 'restart needed' },
  });
  const { findings } = report({ ...base, ...world({ config, network: hostGw }) });
  const skipped = findings.filter((f) => f.level === 'skipped').map((f) => f.check);
  expect(skipped).toEqual([
    'rp-filter',
    'forward-drop',
    'tunnel-firewall',
    'tunnel-port',
    'tunnel-mac',
    'mtu',
    'overlap',
  ]);
});

test('a check that fails itself hides no other', () => {
  const broken = { ...CHECKS[0]!, look: () => JSON.parse('{') as never };
  const { findings } = examine(base, [broken, CHECKS[1]!], AT);
  expect(findings.map((f) => f.level)).toEqual(['skipped', 'ok']);
  expect(findings[0]!.cause).toMatch(/a bug in loden/);
});

test('--only takes ids, and no others', () => {
  expect(chosen([]).length).toBe(CHECKS.length);
  expect(chosen(['mtu', 'kernel']).map((c) => c.id)).toEqual(['kernel', 'mtu']);
  expect(() => chosen(['nonsense'])).toThrow(/no check "nonsense"/);
});

test('ids are words, and no two are alike', () => {
  const ids = CHECKS.map((c) => c.id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.filter((id) => !/^[a-z]+(-[a-z]+)*$/.test(id))).toEqual([]);
});

describe('rules of the firewall', () => {
  const said = (change: Change, check: string) =>
    report({ ...base, ...change }).findings.filter((f) => f.check === check);

  test('that are for one peer only are found, and it is told for which', () => {
    const only3 =
      '-A FORWARD -s 10.42.3.0/24 -j DROP\n-A INPUT -s 192.0.2.3/32 -p udp -m udp --dport 8472 -j DROP';
    const leases3 = leases([3], [4]);
    for (const check of ['forward-drop', 'tunnel-firewall'])
      expect(said({ ...filter(only3), ...leases3 }, check)).toMatchObject([
        { level: 'failure', cause: expect.stringContaining('(of the peer 10.42.3.0-24)') },
      ]);
  });

  test('that are for all are told once, and not of whom', () => {
    const [finding, ...more] = said({ ...filter('', 'DROP'), ...leases([3], [4]) }, 'forward-drop');
    expect(more).toEqual([]);
    expect(finding?.cause).toMatch(/to pods of other nodes are dropped/);
  });

  test('that could not be read keep both from saying that all is well', () => {
    const { bases } = value(base.firewall);
    const firewall = fact({ bases, gaps: ['nft table netdev x: not judged'] });
    for (const check of ['forward-drop', 'tunnel-firewall'])
      expect(said({ firewall }, check)).toMatchObject([
        { level: 'skipped', cause: expect.stringContaining('nft table netdev x') },
      ]);
  });

  test('are gone through for those who do not answer and some others among thousands', () => {
    const many = Array.from({ length: 2000 }, (_, i) =>
      leaseOf(2, {
        key: `10.42.${(i >> 8) + 2}.${i & 255}-32`,
        subnets: [`10.42.${(i >> 8) + 2}.${i & 255}/32`],
        publicIP: `192.0.${(i >> 8) + 10}.${i & 255}`,
        node: i.toString(16).padStart(32, '0'),
        self: false,
      }),
    );
    const { leases: all } = knownValue(base.world.leases)!;
    const silent = many[777]!;
    const facts = {
      ...base,
      ...world({
        leases: known({ revision: '5', source: 'daemon', leases: [all[0]!, ...many], setAside: [] }),
        probes: known({
          ...knownValue(base.world.probes)!,
          paths: [pathOf(2, { key: silent.key, health: 'unreachable' })],
        }),
      }),
    };
    const sample = sampleOfPeers(facts);
    expect(sample.of).toBe(2000);
    expect(sample.peers.length).toBe(65);
    expect(sample.peers).toContain(silent);
    expect(report(facts).findings.find((f) => f.check === 'tunnel-firewall')?.cause).toContain(
      '(judged for 65 of 2000 peers)',
    );
    const { subnets } = silent;
    expect(
      said({ ...facts, ...filter(`-A FORWARD -d ${subnets[0]} -j DROP`) }, 'forward-drop'),
    ).toMatchObject([{ level: 'failure' }]);
  });
});

test('a MAC is not held against a lease that may be another node’s', () => {
  const { findings } = report({
    ...base,
    node: undefined,
    world: {
      ...base.world,
      status: { missing: 'permission denied' },
      leases: known({ revision: '5', source: 'etcd', leases: [leaseOf(1, { self: false })], setAside: [] }),
    },
    ...links(linkOf(3, 'flannel.1', { mac: mac('0a:00:00:00:00:77') })),
  });
  expect(findings.find((f) => f.check === 'tunnel-mac')).toMatchObject({
    level: 'skipped',
    cause: expect.stringContaining('cannot be told'),
  });
});

test('nobody is behind a reservation that is not taken up, though it names an address', () => {
  const reserved = { reservation: true, etcdLease: null, instance: null, backend: null, data: null };
  const facts = { ...base, ...leases([9, { ...reserved, node: null, publicIP: '192.0.2.2' }]) };
  const levels = report(facts).findings.filter((f) => ['leases', 'duplicate-ips'].includes(f.check));
  expect(levels.map((f) => f.level)).toEqual(['ok', 'ok']);
  const taken = { ...base, ...leases([9, { reservation: true, etcdLease: null, publicIP: '192.0.2.2' }]) };
  expect(report(taken).findings.find((f) => f.check === 'duplicate-ips')?.level).toBe('failure');
});
