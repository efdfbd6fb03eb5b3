import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CniError } from '../../src/cni/errors.ts';
import { parseResult } from '../../src/cni/protocol/parseResult.ts';
import { differences, macIn, mergeResults } from '../../src/cni/protocol/prevResult.ts';
import { type CniResult, formatResult, type ResultFacts, resultOf } from '../../src/cni/protocol/result.ts';
import { atLeast, VERSIONS } from '../../src/cni/protocol/version.ts';
import type { Attachment } from '../../src/cni/types.ts';
import { addr, type Family } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';

/** What an ADD answers, in each version's form; what plugins of a chain hand on; what a CHECK finds in that. */

const V4 = { address: prefix('10.42.1.5/24'), gateway: addr('10.42.1.1') };
const V6 = { address: prefix('fd00:42:0:1::5/64'), gateway: addr('fd00:42:0:1::1') };

const BRIDGE: Attachment = {
  network: 'pods',
  containerId: 'c1',
  ifname: 'eth0',
  netns: '/run/netns/pod',
  mode: 'bridge',
  bridge: 'cni0',
  hostIf: 'veth0123456789a',
  hostMac: mac('02:11:22:33:44:55'),
  mac: mac('0a:58:0a:2a:01:05'),
  mtu: 1450,
  hairpin: true,
  addresses: [V4],
  routes: [],
  dataDir: '/var/lib/cni/networks',
};
const { bridge: _, ...PTP } = { ...BRIDGE, mode: 'ptp' as const, addresses: [V4, V6] };
const ROUTES = [prefix('10.96.0.0/12'), prefix('fd00:96::/112')];
const DNS = { nameservers: ['10.96.0.10'], domain: 'cluster.local', search: ['svc'], options: ['ndots:5'] };

const CASES: Readonly<Record<string, readonly [Attachment, ResultFacts?]>> = {
  'bridge, IPv4': [BRIDGE, { bridgeMac: mac('0a:58:0a:2a:01:01') }],
  'bridge, both families, routes, dns': [
    { ...BRIDGE, addresses: [V4, V6], routes: ROUTES },
    { bridgeMac: mac('0a:58:0a:2a:01:01'), dns: DNS },
  ],
  'bridge, IPv6, a route of each family': [{ ...BRIDGE, addresses: [V6], routes: ROUTES }],
  'ptp, both families': [PTP],
  'ptp, IPv4, net1': [{ ...PTP, addresses: [V4], ifname: 'net1' }],
};

describe.each(VERSIONS)('the result of %s', (version) => {
  const all = Object.entries(CASES).map(([name, [a, facts]]) => [
    name,
    formatResult(version, resultOf(a, facts)),
  ]);

  test('is as written down', async () => {
    const text = `${JSON.stringify(Object.fromEntries(all), null, 2)}\n`;
    await expect(text).toMatchFileSnapshot(`golden/cni-result-${version}.json`);
  });

  test('has the members of its version and no others', () => {
    const keys = (value: unknown): string[] =>
      Array.isArray(value)
        ? value.flatMap(keys)
        : typeof value === 'object' && value !== null
          ? Object.entries(value).flatMap(([k, v]) => [k, ...keys(v)])
          : [];
    const used = new Set(keys(all.map(([, result]) => result)));
    const dns = ['nameservers', 'domain', 'search', 'options'];
    const old = ['cniVersion', 'ip4', 'ip6', 'ip', 'gateway', 'routes', 'dst', 'gw', 'dns', ...dns];
    const since03 = [
      'cniVersion',
      'interfaces',
      'name',
      'mac',
      'sandbox',
      'ips',
      'interface',
      'address',
      'gateway',
      'routes',
      'dst',
      'gw',
      'dns',
      ...dns,
    ];
    const expected = !atLeast(version, '0.3.0')
      ? old
      : [
          ...since03,
          ...(atLeast(version, '1.0.0') ? [] : ['version']),
          ...(version === '1.1.0' ? ['mtu'] : []),
        ];
    expect([...used].toSorted()).toEqual(expected.toSorted());
  });
});

test('0.1.0 and 0.2.0 have one address of each family, with the routes of that family', () => {
  const second = { ...V4, address: prefix('10.42.1.9/24') };
  const result = resultOf({ ...BRIDGE, addresses: [V6, V4, second], routes: ROUTES });
  expect(formatResult('0.2.0', result)).toEqual({
    cniVersion: '0.2.0',
    ip4: {
      ip: '10.42.1.5/24',
      gateway: '10.42.1.1',
      routes: expect.arrayContaining([{ dst: '10.96.0.0/12' }, { dst: '0.0.0.0/0', gw: '10.42.1.1' }]),
    },
    ip6: {
      ip: 'fd00:42:0:1::5/64',
      gateway: 'fd00:42:0:1::1',
      routes: [{ dst: 'fd00:96::/112' }, { dst: '::/0', gw: 'fd00:42:0:1::1' }],
    },
    dns: {},
  });
});

test('1.1.0 says the further members of interfaces and routes, which earlier versions leave out', () => {
  const result: CniResult = {
    interfaces: [{ name: 'a', mtu: 9000, socketPath: '/s', pciID: '0000:00:1f.6' }],
    ips: [],
    routes: [{ dst: prefix('10.0.0.0/8'), mtu: 1400, advmss: 1360, priority: 10, table: 100, scope: 253 }],
    dns: {},
  };
  expect(formatResult('1.1.0', result)).toEqual({
    cniVersion: '1.1.0',
    interfaces: [{ name: 'a', mtu: 9000, socketPath: '/s', pciID: '0000:00:1f.6' }],
    routes: [{ dst: '10.0.0.0/8', mtu: 1400, advmss: 1360, priority: 10, table: 100, scope: 253 }],
    dns: {},
  });
  expect(formatResult('1.0.0', result)).toEqual({
    cniVersion: '1.0.0',
    interfaces: [{ name: 'a' }],
    routes: [{ dst: '10.0.0.0/8' }],
    dns: {},
  });
});

describe('a prevResult', () => {
  test('is read in the form of any version', () => {
    expect(parseResult({})).toEqual({ interfaces: [], ips: [], routes: [], dns: {} });
    expect(
      parseResult({
        cniVersion: '0.2.0',
        ip4: { ip: '10.1.2.3/24', gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0', gw: '' }] },
        dns: null,
      }),
    ).toEqual({
      interfaces: [],
      ips: [{ address: prefix('10.1.2.3/24'), gateway: addr('10.1.2.1') }],
      routes: [{ dst: prefix('0.0.0.0/0') }],
      dns: {},
    });
    // Members of later versions, and empty ones as Go writes them, do no harm.
    expect(
      parseResult({
        Interfaces: [{ name: 'a', mac: '', sandbox: '', mtu: 0, later: {} }],
        ips: [{ version: '4', address: '10.1.2.3/24', gateway: '', interface: 0 }],
        routes: null,
        dns: { nameservers: ['x'], domain: '' },
        more: 1,
      }),
    ).toEqual({
      interfaces: [{ name: 'a' }],
      ips: [{ address: prefix('10.1.2.3/24'), interface: 0 }],
      routes: [],
      dns: { nameservers: ['x'] },
    });
  });

  test.each([
    [5, 'prevResult: expected a JSON object, got 5'],
    [[], 'prevResult: expected a JSON object, got []'],
    [{ interfaces: {} }, 'prevResult.interfaces: expected a list'],
    [{ interfaces: [5] }, 'prevResult.interfaces[0]: expected a JSON object, got 5'],
    [{ interfaces: [{}] }, 'prevResult.interfaces[0].name: expected the name of an interface, got nothing'],
    [
      { interfaces: [{ name: 'a', mac: 5, mtu: -1 }] },
      'prevResult.interfaces[0].mtu: expected a whole number from 0 to 4294967295, got -1; prevResult.interfaces[0].mac: expected a string, got 5',
    ],
    [{ ips: [{}] }, 'prevResult.ips[0].address: expected address/length, got nothing'],
    [
      { ips: [{ address: '10.0.0.1' }] },
      'prevResult.ips[0].address: expected address/length, got "10.0.0.1"',
    ],
    [
      { ips: [{ address: '10.0.0.1/8', gateway: 'x' }] },
      'prevResult.ips[0].gateway: expected an IP address, got "x"',
    ],
    [
      { ips: [{ address: '10.0.0.1/8', interface: 0 }] },
      'prevResult.ips[0].interface: expected the index of one of 0 interfaces, got 0',
    ],
    [
      { ips: [{ address: '10.0.0.1/8', interface: -1 }] },
      'prevResult.ips[0].interface: expected a whole number',
    ],
    [{ routes: [{ gw: '10.0.0.1' }] }, 'prevResult.routes[0].dst: expected address/length, got nothing'],
    [
      { routes: [{ dst: '10.0.0.0/8', table: 'main' }] },
      'prevResult.routes[0].table: expected a whole number',
    ],
    [{ ip4: { gateway: '10.0.0.1' } }, 'prevResult.ip4.ip: expected address/length, got nothing'],
    [{ ip6: 5 }, 'prevResult.ip6: expected a JSON object, got 5'],
    [{ dns: { search: [1] } }, 'prevResult.dns.search[0]: expected a string, got 1'],
  ])('%j is refused', (value, msg) => {
    expect(() => parseResult(value)).toThrow(CniError);
    expect(() => parseResult(value)).toThrow(
      expect.objectContaining({ code: 7, message: expect.stringContaining(msg) }),
    );
  });
});

const word = fc.stringMatching(/^[a-z0-9]{1,12}$/);
const address = fc.oneof(
  fc.ipV4().map((t) => addr(t)),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => ({ family: 6 as Family, value })),
);
const prefixes = fc
  .tuple(address, fc.nat(128))
  .map(([a, len]) => ({ addr: a, len: a.family === 4 ? len % 33 : len }));
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
/** Only members that are set: an absent one and one of undefined are not the same. */
const members = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }, required: (keyof T)[]) =>
  fc.record(model, { requiredKeys: required }) as fc.Arbitrary<never>;
const results: fc.Arbitrary<CniResult> = fc
  .record({
    interfaces: fc.array(
      members(
        {
          name: word,
          mac: word,
          sandbox: word,
          mtu: fc.integer({ min: 1, max: 0xffff_ffff }),
          socketPath: word,
          pciID: word,
        },
        ['name'],
      ),
      { maxLength: 4 },
    ),
    ips: fc.array(members({ address: prefixes, gateway: address, interface: fc.nat(3) }, ['address']), {
      maxLength: 4,
    }),
    routes: fc.array(
      members({ dst: prefixes, gw: address, mtu: u32, advmss: u32, priority: u32, table: u32, scope: u32 }, [
        'dst',
      ]),
      { maxLength: 4 },
    ),
    dns: fc.oneof(
      fc.constant({}),
      members(
        {
          nameservers: fc.array(word, { minLength: 1, maxLength: 3 }),
          domain: word,
          search: fc.array(word, { minLength: 1, maxLength: 3 }),
          options: fc.array(word, { minLength: 1, maxLength: 3 }),
        },
        [],
      ),
    ),
  })
  .map((r: CniResult) => ({
    ...r,
    // Indices of interfaces that are there.
    ips: r.ips.map(({ interface: i, ...ip }) =>
      i === undefined || r.interfaces.length === 0 ? ip : { ...ip, interface: i % r.interfaces.length },
    ),
  }));

describe('any result', () => {
  const again = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

  test('said in 1.1.0 and read again is the same', () => {
    fc.assert(
      fc.property(results, (r) => {
        expect(parseResult(again(formatResult('1.1.0', r)))).toEqual(r);
      }),
    );
  });

  test.each(VERSIONS)('said in %s, read and said again is the same', (version) => {
    fc.assert(
      fc.property(results, (r) => {
        const said = formatResult(version, r);
        expect(formatResult(version, parseResult(again(said)))).toEqual(said);
      }),
    );
  });

  test('appended to another keeps every address on its interface', () => {
    const placed = (r: CniResult) =>
      r.ips.map((ip) => [ip.address, ip.interface === undefined ? undefined : r.interfaces[ip.interface]]);
    fc.assert(
      fc.property(results, results, (before, ours) => {
        const merged = mergeResults(before, ours);
        expect(placed(merged)).toEqual([...placed(before), ...placed(ours)]);
        expect(merged.routes).toEqual([...before.routes, ...ours.routes]);
        expect(merged.dns).toEqual(Object.keys(ours.dns).length > 0 ? ours.dns : before.dns);
      }),
    );
  });
});

describe('a CHECK', () => {
  const dual: Attachment = { ...BRIDGE, addresses: [V4, V6], routes: ROUTES };
  const of = (a: Attachment) => formatResult('1.0.0', resultOf(a));
  type Json = {
    interfaces: { name: string; mac?: string; sandbox?: string }[];
    ips: { address: string; gateway?: string; interface?: number }[];
    routes: { dst: string }[];
  };
  /** The differences after something was done to the attachment's own result. */
  const changed = (change: (r: Json) => void, a = dual): string[] => {
    const r = JSON.parse(JSON.stringify(of(a)));
    change(r);
    return differences(parseResult(r), a);
  };

  test.each([dual, BRIDGE, PTP, { ...PTP, addresses: [V6] }])('finds nothing in its own result', (a) => {
    for (const version of ['0.3.0', '0.4.0', '1.0.0', '1.1.0'] as const)
      expect(differences(parseResult(formatResult(version, resultOf(a))), a)).toEqual([]);
  });

  test('finds nothing in what other plugins have added', () => {
    expect(
      changed((r) => {
        r.interfaces.unshift({ name: 'other0' }, { name: 'eth0' });
        for (const ip of r.ips) ip.interface! += 2;
        r.interfaces.push({ name: 'net1', sandbox: '/run/netns/pod' });
        r.ips.push({ address: '10.9.9.9/24', interface: 5 }, { address: '10.8.8.8/24' });
        r.routes.push({ dst: '10.7.0.0/16' });
        r.interfaces[4]!.mac = '0a:00:00:00:00:01';
      }),
    ).toEqual([]);
    expect(changed((r) => r.ips.map((ip) => delete ip.interface))).toEqual([]);
  });

  test.each([
    [
      'the interface',
      (r: Json) => r.interfaces.splice(2, 1, { name: 'net7', sandbox: '/x' }),
      ['prevResult has no interface eth0 in a container'],
    ],
    [
      'the interface on the host',
      (r: Json) => delete r.interfaces[2]!.sandbox,
      ['prevResult has no interface eth0 in a container'],
    ],
    [
      'the namespace',
      (r: Json) => {
        r.interfaces[2]!.sandbox = '/run/netns/b';
      },
      ['eth0 is in /run/netns/pod, and in /run/netns/b for prevResult'],
    ],
    [
      'the bridge',
      (r: Json) => {
        r.interfaces[0]!.name = 'br1';
      },
      ['prevResult has no interface cni0 on the host'],
    ],
    [
      'the host end',
      (r: Json) => {
        r.interfaces[1]!.name = 'veth1';
      },
      ['prevResult has no interface veth0123456789a on the host'],
    ],
    [
      'an address',
      (r: Json) => {
        r.ips[0]!.address = '10.42.1.6/24';
      },
      [
        'prevResult has no address 10.42.1.5/24 on eth0',
        'prevResult has 10.42.1.6/24 on eth0, which it was not given',
      ],
    ],
    [
      'a length',
      (r: Json) => {
        r.ips[1]!.address = 'fd00:42:0:1::5/80';
      },
      [
        'prevResult has no address fd00:42:0:1::5/64 on eth0',
        'prevResult has fd00:42:0:1::5/80 on eth0, which it was not given',
      ],
    ],
    [
      'an address elsewhere',
      (r: Json) => {
        r.ips[0]!.interface = 1;
      },
      ['prevResult has no address 10.42.1.5/24 on eth0'],
    ],
    [
      'no addresses',
      (r: Json) => r.ips.splice(0),
      [
        'prevResult has no address 10.42.1.5/24 on eth0',
        'prevResult has no address fd00:42:0:1::5/64 on eth0',
      ],
    ],
    [
      'a gateway',
      (r: Json) => {
        r.ips[0]!.gateway = '10.42.1.254';
      },
      ['the gateway of 10.42.1.5/24 on eth0 is 10.42.1.1, and 10.42.1.254 for prevResult'],
    ],
    [
      'no gateway',
      (r: Json) => delete r.ips[1]!.gateway,
      ['the gateway of fd00:42:0:1::5/64 on eth0 is fd00:42:0:1::1, and none for prevResult'],
    ],
    ['a route', (r: Json) => r.routes.shift(), ['prevResult has no route to 10.96.0.0/12']],
    ['the default route', (r: Json) => r.routes.pop(), ['prevResult has no route to ::/0']],
  ] as const)('finds another or no %s', (_what, change, words) => expect(changed(change)).toEqual(words));

  test('takes the MAC from prevResult: a plugin behind may have changed it', () => {
    const prev = parseResult(of(dual));
    expect(macIn(prev, dual)).toBe('0a:58:0a:2a:01:05');
    expect(macIn(prev, { ...dual, ifname: 'net1' })).toBeUndefined();
    expect(
      changed((r) => {
        r.interfaces[2]!.mac = '02:00:00:00:00:01';
      }),
    ).toEqual([]);
  });
});
