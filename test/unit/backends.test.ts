import { describe, expect, test } from 'vitest';
import { blackholes } from '../../src/backends/blackhole.ts';
import { backendTypes, findBackend } from '../../src/backends/registry.ts';
import { addr, type Family } from '../../src/net/addr.ts';
import { desired, host, lease, NETWORKS, peer, peerMac } from '../fake/overlay.ts';
import { forwardingWords, words } from '../fake/words.ts';

const FAMILIES = { v4: [4], v6: [6], dual: [4, 6] } as const;

/** Three peers in the same families, and one beyond a router. */
const peers = (families: readonly Family[], backend: string) => [
  peer(2, families, { backend }),
  peer(3, families, { backend }),
  peer(9, families, {
    backend,
    endpoints: families.map((f) => (f === 4 ? '198.51.100.9' : '2001:db8:9::9')),
  }),
];

const OPTIONS: Readonly<Record<string, readonly (readonly [string, object])[]>> = {
  vxlan: [
    ['plain', {}],
    ['direct-routing', { DirectRouting: true }],
    ['all', { VNI: 7, Port: 4789, MTU: 1400, Learning: true, GBP: true }],
  ],
  udp: [
    ['plain', {}],
    ['all', { Port: 9000 }],
  ],
  'host-gw': [['plain', {}]],
  alloc: [['plain', {}]],
};

describe('the kernel state of', () => {
  for (const [type, variants] of Object.entries(OPTIONS)) {
    for (const [name, options] of variants) {
      for (const stack of ['v4', 'v6', 'dual'] as const) {
        test(`${type} ${name} ${stack}`, async () => {
          const vni = 'VNI' in options ? options.VNI : 1;
          const theirs = peers(FAMILIES[stack], type).map((p) => ({
            ...p,
            data: new Map([...p.data].map(([f, d]) => [f, { ...(d as object), VNI: vni }])),
          }));
          const result = desired({ ...NETWORKS[stack], Backend: { Type: type, ...options } }, theirs);
          expect(result.check).toEqual([]);
          const { type: told, data } = result.advertisement;
          const text = [
            `# pods' MTU ${result.mtu}; devices: ${result.devices.join(' ') || 'none'}`,
            `# lease: ${JSON.stringify({ BackendType: told, BackendData: data.get(4), BackendV6Data: data.get(6) })}`,
            ...result.objects.map(words),
            ...(result.forwarding ? forwardingWords(result.forwarding) : []),
            ...result.problems.map((p) => `# problem: ${p}`),
            '',
          ].join('\n');
          await expect(text).toMatchFileSnapshot(`golden/backends/${type}-${name}-${stack}.txt`);
        });
      }
    }
  }
});

const VXLAN = { ...NETWORKS.v4, Backend: { Type: 'vxlan' } };
const texts = (r: ReturnType<typeof desired>) => r.objects.map(words);
/** The lines that come from peers alone. */
const ofPeers = (r: ReturnType<typeof desired>) => texts(r).slice(texts(desired(VXLAN, [])).length);

describe('vxlan', () => {
  test('a peer is a neighbour, an FDB entry and a route', () => {
    const result = desired(VXLAN, [peer(9)]);
    expect(ofPeers(result)).toEqual([
      `ip neigh add 10.5.9.0 lladdr ${peerMac(9)} dev flannel.1 nud permanent`,
      `bridge fdb add ${peerMac(9)} dev flannel.1 dst 192.0.2.9 self permanent`,
      'ip route add 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink',
    ]);
    expect(result.problems).toEqual([]);
  });

  test('a value without BackendType is of the network type', () => {
    expect(ofPeers(desired(VXLAN, [peer(9, [4], { backend: null })]))).toHaveLength(3);
  });

  test.each([
    ['no data', undefined],
    ['a list', [1]],
    ['text', 'x'],
    ['no MAC', { VNI: 1 }],
    ['a number for a MAC', { VNI: 1, VtepMAC: 5 }],
    ['a bad MAC', { VNI: 1, VtepMAC: '02:00:00:00:00' }],
    ['a multicast MAC', { VNI: 1, VtepMAC: '01:00:5e:00:00:01' }],
    ['a broadcast MAC', { VNI: 1, VtepMAC: 'ff:ff:ff:ff:ff:ff' }],
    ['a zero MAC', { VNI: 1, VtepMAC: '00:00:00:00:00:00' }],
    ['our own MAC', { VNI: 1, VtepMAC: '02:00:00:00:04:01' }],
    ['another VNI', { VNI: 2, VtepMAC: '02:00:00:00:00:09' }],
    ['text for a VNI', { VNI: '1', VtepMAC: '02:00:00:00:00:09' }],
  ])('%s in a peer is a problem of that peer alone', (_, data) => {
    const result = desired(VXLAN, [peer(8), peer(9, [4], { data }), peer(10)]);
    expect(ofPeers(result)).toEqual(ofPeers(desired(VXLAN, [peer(8), peer(10)])));
    expect(result.problems).toHaveLength(1);
    expect(result.problems[0]).toMatch(/^10\.5\.9\.0-24: /);
  });

  test('a missing VNI is taken, as flannel takes it', () => {
    expect(desired(VXLAN, [peer(9, [4], { data: { VtepMAC: '02:00:00:00:00:09' } })]).problems).toEqual([]);
  });

  test('a VNI beyond 16 bits is written and read as flannel writes it', () => {
    const result = desired({ ...NETWORKS.v4, Backend: { Type: 'vxlan', VNI: 70_000 } }, [
      peer(8, [4], { data: { VNI: 70_000, VtepMAC: peerMac(8) } }),
      peer(9, [4], { data: { VNI: 70_000 & 0xffff, VtepMAC: peerMac(9) } }),
    ]);
    expect(result.problems).toEqual([]);
    expect(result.advertisement.data.get(4)).toEqual({ VNI: 4464, VtepMAC: '02:00:00:00:04:01' });
  });

  test('of two peers with one MAC the older is served', () => {
    const young = peer(2, [4], { data: { VNI: 1, VtepMAC: peerMac(9) }, revision: 50 });
    const result = desired(VXLAN, [young, peer(9)]);
    expect(ofPeers(result)).toEqual(ofPeers(desired(VXLAN, [peer(9)])));
    expect(result.problems).toEqual([
      `10.5.2.0-24: its VtepMAC ${peerMac(9)} belongs to the older lease 10.5.9.0-24`,
    ]);
  });

  test('one MAC may be used in both families', () => {
    const result = desired({ ...NETWORKS.dual, Backend: { Type: 'vxlan' } }, [
      peer(9, [4, 6], { dataV6: { VNI: 1, VtepMAC: peerMac(9) } }),
    ]);
    expect(result.problems).toEqual([]);
  });

  test('a peer broken in one family is served in the other', () => {
    const config = { ...NETWORKS.dual, Backend: { Type: 'vxlan' } };
    const result = desired(config, [peer(9, [4, 6], { dataV6: null })]);
    expect(texts(result).filter((t) => t.includes('route'))).toEqual([
      'ip route add 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink',
    ]);
    expect(result.problems[0]).toMatch(/^10\.5\.9\.0-24&fd00:5:0:9::-64: its BackendData is null/);
  });

  test('a direct route needs no neighbour, and only a peer on the link gets one', () => {
    const config = { ...NETWORKS.v4, Backend: { Type: 'vxlan', DirectRouting: true } };
    const far = peer(9, [4], { endpoints: ['198.51.100.9'] });
    expect(ofPeers(desired(config, [peer(8), far]))).toEqual([
      'ip route add 10.5.8.0/24 via 192.0.2.8 dev eth0',
      ...ofPeers(desired(VXLAN, [far])),
    ]);
  });

  test.each([
    [1500, {}, { 4: 1450, 6: 1430 }],
    [9000, {}, { 4: 8950, 6: 8930 }],
    [9000, { MTU: 1500 }, { 4: 1450, 6: 1430 }],
    // The kernel would not take more than the underlay has room for.
    [1500, { MTU: 9000 }, { 4: 1450, 6: 1430 }],
    [1500, { MTU: 0 }, { 4: 1450, 6: 1430 }],
  ])('an uplink of %d and %j make MTUs %j', (mtu, options, expected) => {
    const config = (stack: 'v4' | 'v6' | 'dual') => ({
      ...NETWORKS[stack],
      Backend: { Type: 'vxlan', ...options },
    });
    const facts = host({ uplink: { mtu } });
    const links = desired(config('dual'), [], facts).objects.filter((o) => o.kind === 'link');
    expect(links.map((l) => l.mtu)).toEqual([expected[4], expected[6]]);
    expect(desired(config('v4'), [], facts).mtu).toBe(expected[4]);
    expect(desired(config('v6'), [], facts).mtu).toBe(expected[6]);
    expect(desired(config('dual'), [], facts).mtu).toBe(expected[6]);
  });

  test('an uplink that listens to router advertisements goes on after forwarding is on', () => {
    const config = { ...NETWORKS.v6, Backend: { Type: 'vxlan' } };
    expect(texts(desired(config, [], host({ uplink: { acceptRa: 1 } }))).slice(0, 2)).toEqual([
      'sysctl net/ipv6/conf/eth0/accept_ra=2',
      'sysctl net/ipv6/conf/all/forwarding=1',
    ]);
    expect(texts(desired(config, [], host({ uplink: { acceptRa: 0 } })))[0]).toBe(
      'sysctl net/ipv6/conf/all/forwarding=1',
    );
  });

  test.each([
    ['a name too long', 'v6', { VNI: 10_000 }, host(), 'Backend.VNI'],
    ['a name too long', 'v4', { VNI: 10_000_000 }, host(), 'Backend.VNI'],
    ['no local address', 'dual', {}, host({ localAddrs: ['192.0.2.1'] }), '--iface'],
    ['too little room', 'v6', { MTU: 1300 }, host(), 'Backend.MTU'],
    ['an uplink with too little room', 'v6', {}, host({ uplink: { mtu: 1300 } }), '--iface'],
  ] as const)('%s (%s) is refused', (_, stack, options, facts, path) => {
    const { check } = desired({ ...NETWORKS[stack], Backend: { Type: 'vxlan', ...options } }, [], facts);
    expect(check.map((p) => p.path)).toEqual([path]);
  });

  test('the longest names fit', () => {
    expect(desired({ ...NETWORKS.v4, Backend: { Type: 'vxlan', VNI: 9_999_999 } }, []).check).toEqual([]);
    expect(desired({ ...NETWORKS.dual, Backend: { Type: 'vxlan', VNI: 9_999 } }, []).check).toEqual([]);
  });
});

describe('host-gw', () => {
  const config = { ...NETWORKS.v4, Backend: { Type: 'host-gw' } };

  test('refuses a PublicIP that is not the interface address', () => {
    const { check } = desired(config, [], host({ publicAddrs: ['203.0.113.1'] }));
    expect(check).toEqual([
      { path: '--public-ip', expected: expect.stringContaining('192.0.2.1'), got: '203.0.113.1' },
    ]);
  });

  test('a peer that is not on the link is a problem', () => {
    const far = peer(9, [4], { backend: 'host-gw', endpoints: ['198.51.100.9'] });
    const result = desired(config, [peer(8, [4], { backend: 'host-gw' }), far]);
    expect(texts(result)).toEqual([
      'sysctl net/ipv4/ip_forward=1',
      'ip route add 10.5.8.0/24 via 192.0.2.8 dev eth0',
    ]);
    expect(result.problems[0]).toMatch(/198\.51\.100\.9 is not on the link of eth0/);
  });
});

test('a blackhole for our subnets loses against any other route there', () => {
  expect(blackholes(lease({ subnets: ['10.5.1.0/24', 'fd00:5:0:1::/64'] })).map(words)).toEqual([
    'ip route add blackhole 10.5.1.0/24 metric 1000000',
    'ip route add blackhole fd00:5:0:1::/64 metric 1000000',
  ]);
});

describe('the options of a backend', () => {
  const problemsOf = (type: string, options: Readonly<Record<string, unknown>>) => {
    const found = findBackend(type, options);
    return 'problems' in found ? found.problems.map((p) => p.path) : [];
  };

  test('may have any case', () => {
    const found = findBackend('vxlan', { TYPE: 'vxlan', vni: 5, directrouting: true, LEARNING: null });
    expect(found).toMatchObject({ config: { vni: 5, directRouting: true, learning: false, port: 8472 } });
  });

  test('are all judged at once', () => {
    expect(
      problemsOf('vxlan', {
        VNI: 16_777_216,
        Port: '8472',
        MTU: -1,
        GBP: 1,
        Learning: 'no',
        DirectRouting: [],
        Foo: 1,
        vni: 2,
      }),
    ).toEqual([
      'Backend.vni',
      ...['Port', 'MTU', 'VNI', 'Learning', 'GBP', 'DirectRouting'].map((k) => `Backend.${k}`),
    ]);
  });

  test.each(backendTypes)('%s names what it does not know, and works', (type) => {
    expect(findBackend(type, { Type: type, MacPrefix: '0E-2A', Frobnicate: 1 })).toMatchObject({
      unknown: ['MacPrefix', 'Frobnicate'],
    });
  });

  test('a Port of 0 is the default', () => {
    expect(findBackend('vxlan', { Port: 0 })).toMatchObject({ config: { port: 8472 } });
    expect(findBackend('udp', { Port: 0 })).toMatchObject({ config: { port: 8285 } });
  });
});

test('two addresses of one host are told apart from a peer by value', () => {
  const facts = host({ uplink: { addrs: [] }, localAddrs: ['192.0.2.1'] });
  const result = desired(VXLAN, [peer(9, [4], { endpoints: ['192.0.2.1'] })], facts);
  expect(result.problems[0]).toMatch(/192\.0\.2\.1 is this host's own/);
  expect(facts.localAddrs.get(4)).toEqual(addr('192.0.2.1'));
});
