import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LINK_ALIAS, ROUTE_PROTOCOL } from '../../src/contract.ts';
import { ConfigError } from '../../src/errors.ts';
import {
  chooseUplink,
  type Surroundings,
  type UplinkFacts,
  type UplinkWish,
} from '../../src/kernel/facts.ts';
import { onLinkOf, type WayOut } from '../../src/kernel/onlink.ts';
import { addr, type Family, formatAddr } from '../../src/net/addr.ts';
import { containsAddr, prefix } from '../../src/net/prefix.ts';
import { anyAddr, crowdedPrefix } from '../fake/arbitraries.ts';

/** ifa_flags (linux/if_addr.h). */
const SECONDARY = 0x01;
const DADFAILED = 0x08;
const DEPRECATED = 0x20;
const TENTATIVE = 0x40;

type LinkInit = readonly [
  name: string,
  addrs: readonly (string | readonly [string, number])[],
  alias?: string,
];

/** `10.0.0.0/8 dev eth0`, `default via 10.0.0.1 dev eth0 metric 100`, `blackhole 10.9.0.0/16`. */
function route(text: string): WayOut {
  const words = text.split(' ');
  const blackhole = words[0] === 'blackhole';
  const after = (word: string) => (words.includes(word) ? words[words.indexOf(word) + 1] : undefined);
  const via = after('via');
  const dev = after('dev');
  const metric = after('metric');
  const where = words[blackhole ? 1 : 0]!;
  const dst = prefix(
    where === 'default' ? (via?.includes(':') || words.includes('v6') ? '::/0' : '0.0.0.0/0') : where,
  );
  return {
    dst,
    ...(via === undefined ? {} : { via: addr(via) }),
    ...(dev === undefined ? {} : { dev }),
    ...(metric === undefined ? {} : { metric: Number(metric) }),
    rtmType: blackhole ? 6 : 1,
    tos: Number(after('tos') ?? 0),
    protocol: Number(after('proto') ?? 2),
  };
}

function seen(links: readonly LinkInit[], routes: readonly string[] = [], reach?: string): Surroundings {
  return {
    links: links.map(([name, , alias], i) => ({
      ifindex: i + 1,
      name,
      mtu: 1500,
      ...(alias ? { alias } : {}),
    })),
    addresses: links.flatMap(([dev, addrs]) =>
      addrs.map((a) => {
        const [text, flags] = typeof a === 'string' ? [a, 0x80] : a;
        return { dev, addr: prefix(text), flags };
      }),
    ),
    routes: routes.map(route),
    reach: reach === undefined ? undefined : { dev: reach },
  };
}

const HOST: readonly LinkInit[] = [
  ['lo', ['127.0.0.1/8', '::1/128']],
  ['eth0', ['192.0.2.7/24', '2001:db8::7/64', 'fe80::7/64']],
  ['eth1', ['10.1.0.7/16', 'fd00:1::7/64']],
  ['docker0', ['172.17.0.1/16']],
];
const ROUTES = [
  'default via 192.0.2.254 dev eth0',
  'default via fe80::1 dev eth0',
  '192.0.2.0/24 dev eth0',
  '10.1.0.0/16 dev eth1',
];

interface Wish {
  readonly ifaces?: readonly string[];
  readonly regexes?: readonly RegExp[];
  readonly canReach?: string;
  readonly publicAddrs?: readonly string[];
}

const wish = (w: Wish): UplinkWish => ({
  ifaces: w.ifaces ?? [],
  regexes: w.regexes ?? [],
  canReach: w.canReach === undefined ? undefined : addr(w.canReach),
  publicAddrs: new Map((w.publicAddrs ?? []).map(addr).map((a) => [a.family, a])),
});

const choose = (w: Wish, families: readonly Family[] = [4], around = seen(HOST, ROUTES)): UplinkFacts =>
  chooseUplink(wish(w), families, around);

/** `eth0 192.0.2.7 2001:db8::7 public 203.0.113.7`. */
const summary = (f: UplinkFacts): string => {
  const local = [...f.localAddrs.values()].map(formatAddr);
  const outside = [...f.publicAddrs.values()].map(formatAddr).filter((a) => !local.includes(a));
  return [f.uplink.name, ...local, ...(outside.length > 0 ? ['public', ...outside] : [])].join(' ');
};

function problems(w: Wish, families: readonly Family[] = [4], around = seen(HOST, ROUTES)) {
  try {
    choose(w, families, around);
  } catch (e) {
    expect(e).toBeInstanceOf(ConfigError);
    return (e as ConfigError).problems.map((p) => `${p.path}: ${p.got}`);
  }
  throw new Error('an uplink was found');
}

describe('the uplink is', () => {
  test.each<[string, Wish, readonly Family[], string]>([
    ["the default route's", {}, [4], 'eth0 192.0.2.7'],
    ["the default route's, for IPv6", {}, [6], 'eth0 2001:db8::7'],
    ["the default route's, for both", {}, [4, 6], 'eth0 192.0.2.7 2001:db8::7'],
    ['the one named', { ifaces: ['eth1'] }, [4], 'eth1 10.1.0.7'],
    ['the one named, for both', { ifaces: ['eth1'] }, [4, 6], 'eth1 10.1.0.7 fd00:1::7'],
    ['the first named that is there', { ifaces: ['eth9', 'eth1', 'eth0'] }, [4], 'eth1 10.1.0.7'],
    ['the first named with all families', { ifaces: ['docker0', 'eth1'] }, [4, 6], 'eth1 10.1.0.7 fd00:1::7'],
    ['the one with the address named', { ifaces: ['10.1.0.7'] }, [4], 'eth1 10.1.0.7'],
    ['the one with the address of one family', { ifaces: ['10.1.0.7'] }, [4, 6], 'eth1 10.1.0.7 fd00:1::7'],
    ['the one with an address of the other family', { ifaces: ['fd00:1::7'] }, [4], 'eth1 10.1.0.7'],
    ['one whose address matches', { regexes: [/^10\.1\./] }, [4], 'eth1 10.1.0.7'],
    ['one whose name matches', { regexes: [/^eth1$/] }, [4], 'eth1 10.1.0.7'],
    ['one whose address matches, before names', { regexes: [/eth1|^192/] }, [4], 'eth0 192.0.2.7'],
    ['of the first pattern that finds one', { regexes: [/nothing/, /eth1/] }, [4], 'eth1 10.1.0.7'],
    [
      'one that matches and has all families',
      { regexes: [/docker|eth1/] },
      [4, 6],
      'eth1 10.1.0.7 fd00:1::7',
    ],
    ['the one named, before patterns', { ifaces: ['eth1'], regexes: [/eth0/] }, [4], 'eth1 10.1.0.7'],
    [
      'one that matches, where no name is there',
      { ifaces: ['eth9'], regexes: [/eth1/] },
      [4],
      'eth1 10.1.0.7',
    ],
    ['the one with the PublicIP', { publicAddrs: ['10.1.0.7'] }, [4], 'eth1 10.1.0.7'],
    ['the one with the PublicIPv6', { publicAddrs: ['fd00:1::7'] }, [6], 'eth1 fd00:1::7'],
    [
      "the default route's behind a NAT",
      { publicAddrs: ['203.0.113.7'] },
      [4],
      'eth0 192.0.2.7 public 203.0.113.7',
    ],
    [
      'the one named behind a NAT',
      { ifaces: ['eth1'], publicAddrs: ['203.0.113.7'] },
      [4],
      'eth1 10.1.0.7 public 203.0.113.7',
    ],
    ['a PublicIPv6 is of no use without IPv6', { publicAddrs: ['2001:db8::99'] }, [4], 'eth0 192.0.2.7'],
  ])('%s', (_, w, families, expected) => expect(summary(choose(w, families))).toBe(expected));

  test('the one that reaches an address', () => {
    const around = seen(HOST, ROUTES, 'eth1');
    expect(summary(choose({ canReach: '10.9.9.9' }, [4], around))).toBe('eth1 10.1.0.7');
    const from = { ...around, reach: { dev: 'eth1', src: addr('10.1.0.7') } };
    expect(summary(choose({ ifaces: ['eth9'], canReach: '10.9.9.9' }, [4, 6], from))).toBe(
      'eth1 10.1.0.7 fd00:1::7',
    );
  });

  test('where the best default route leads', () => {
    const two = seen(HOST, [
      'default via 192.0.2.254 dev eth0 metric 200',
      'default via 10.1.0.1 dev eth1 metric 100',
    ]);
    expect(choose({}, [4], two).uplink.name).toBe('eth1');
    const none = seen(HOST, ['default via 192.0.2.254 dev eth0', 'default via 10.1.0.1 dev eth1 metric 100']);
    expect(choose({}, [4], none).uplink.name).toBe('eth0');
  });

  test('of both families even if only one has a default route', () => {
    const around = seen(HOST, ['default via 192.0.2.254 dev eth0']);
    expect(summary(choose({}, [4, 6], around))).toBe('eth0 192.0.2.7 2001:db8::7');
  });

  test('never an overlay, but by name', () => {
    const links: LinkInit[] = [
      ['flannel.1', ['10.5.1.0/32']],
      ['vx7', ['10.5.1.1/32'], LINK_ALIAS],
      ['eth0', ['10.9.0.7/24']],
    ];
    const around = seen(links, ['default via 10.5.1.9 dev vx7', 'default via 10.9.0.1 dev eth0 metric 5']);
    expect(choose({}, [4], around).uplink.name).toBe('eth0');
    expect(choose({ regexes: [/^10\./] }, [4], around).uplink.name).toBe('eth0');
    expect(choose({ ifaces: ['vx7'] }, [4], around).uplink.name).toBe('vx7');
  });
});

describe('its address is', () => {
  /** Of eth0 with these addresses, of one family. */
  function local(...addrs: (string | readonly [string, number])[]): string {
    const family = String(addrs[0]).includes(':') ? 6 : 4;
    const facts = choose({ ifaces: ['eth0'] }, [family], seen([['eth0', addrs]]));
    return formatAddr(facts.localAddrs.get(family)!);
  }

  test('the first', () => expect(local('10.0.0.2/24', '10.0.0.1/24')).toBe('10.0.0.2'));
  test('a primary one', () => expect(local(['10.0.0.2/24', SECONDARY], '10.0.0.1/24')).toBe('10.0.0.1'));
  test('a stable one', () =>
    expect(local(['2001:db8::2/64', SECONDARY], '2001:db8::1/64')).toBe('2001:db8::1'));
  test('a secondary one where there is no other', () =>
    expect(local(['10.0.0.2/24', SECONDARY])).toBe('10.0.0.2'));
  test('not link-local', () => {
    expect(local('169.254.1.1/16', '10.0.0.1/24')).toBe('10.0.0.1');
    expect(local('fe80::1/64', '2001:db8::1/64')).toBe('2001:db8::1');
  });
  test.each([
    ['deprecated', DEPRECATED],
    ['tentative', TENTATIVE],
    ['a duplicate', DADFAILED],
  ])('not %s', (_, flag) => {
    expect(local(['2001:db8::2/64', flag], '2001:db8::1/64')).toBe('2001:db8::1');
    expect(problems({ ifaces: ['eth0'] }, [6], seen([['eth0', [['2001:db8::2/64', flag]]]]))).toHaveLength(1);
  });
  test('the PublicIP if the interface has it', () => {
    const around = seen([['eth0', ['10.0.0.1/24', '10.0.0.2/24']]]);
    expect(summary(choose({ ifaces: ['eth0'], publicAddrs: ['10.0.0.2'] }, [4], around))).toBe(
      'eth0 10.0.0.2',
    );
  });
});

describe('without an uplink', () => {
  test('each attempt tells what it found, and the first what there is', () => {
    const w = {
      ifaces: ['eth9', '10.9.9.9', 'docker0', '127.0.0.1'],
      regexes: [/wlan/],
      canReach: '2001:db8:9::9',
    };
    expect(problems(w, [4, 6])).toEqual([
      '--iface: eth9, which does not exist',
      '--iface: 10.9.9.9, which no interface has',
      '--iface: docker0 without a usable IPv6 address',
      '--iface: 127.0.0.1, which other hosts cannot reach',
      '--iface-regex: nothing that matches /wlan/',
      '--iface-can-reach: no route to 2001:db8:9::9',
    ]);
    expect(() => choose(w, [4, 6])).toThrow(
      'an interface with an IPv4 and an IPv6 address; there are eth0 (192.0.2.7/24, 2001:db8::7/64), eth1 (10.1.0.7/16, fd00:1::7/64), docker0 (172.17.0.1/16)',
    );
  });

  test('nothing is guessed in place of what was asked for', () => {
    expect(problems({ ifaces: ['eth9'] })).toEqual(['--iface: eth9, which does not exist']);
  });

  test.each<[string, readonly Family[], readonly string[], RegExp]>([
    ['no default route', [4], ['192.0.2.0/24 dev eth0'], /no default route/],
    [
      'default routes that part',
      [4, 6],
      ['default via 192.0.2.254 dev eth0', 'default via fe80::1 dev eth1'],
      /eth0 and eth1: say which/,
    ],
    ['a default route into the void', [4], ['blackhole 0.0.0.0/0'], /no default route/],
    [
      'a default route without the family',
      [4, 6],
      ['default via 172.17.0.9 dev docker0'],
      /docker0 without a usable IPv6/,
    ],
  ])('%s', (_, families, routes, reason) => {
    expect(problems({}, families, seen(HOST, routes))).toEqual([expect.stringMatching(reason)]);
  });
});

describe('on the link is', () => {
  const facts = choose(
    {},
    [4],
    seen(HOST, [
      ...ROUTES,
      '192.0.2.128/26 via 192.0.2.9 dev eth0',
      'blackhole 192.0.2.64/32',
      '192.0.2.5/32 via 192.0.2.9 dev eth0 proto 76',
      '192.0.2.6/32 dev eth1',
    ]),
  );
  test.each([
    ['192.0.2.9', true],
    ['192.0.2.5', true], // our own routes are not asked
    ['192.0.2.130', false], // a longer prefix through a gateway
    ['192.0.2.64', false],
    ['192.0.2.6', false], // another interface
    ['198.51.100.1', false], // the default route
    ['10.1.0.9', false], // another interface
    ['2001:db8::9', false], // no such route was seen
  ])('%s: %s', (text, expected) => expect(facts.onLink(addr(text))).toBe(expected));

  test('what the longest of all routes says', () => {
    const routes = fc.array(fc.tuple(crowdedPrefix(4), fc.boolean(), fc.integer({ min: 0, max: 3 })), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(routes, anyAddr(4), (specs, any) => {
        const table: WayOut[] = specs.map(([dst, direct, metric]) => ({
          dst,
          ...(direct ? {} : { via: any }),
          dev: 'eth0',
          metric,
          rtmType: 1,
          tos: 0,
          protocol: 2,
        }));
        const a = { family: 4, value: any.value & 1023n } as const;
        const best = table
          .filter((r) => containsAddr(r.dst, a))
          .sort((x, y) => y.dst.len - x.dst.len || x.metric! - y.metric!)[0];
        expect(onLinkOf('eth0', table)(a)).toBe(best !== undefined && best.via === undefined);
      }),
    );
  });
});

describe('the facts', () => {
  test('have all reachable addresses, and the gateways', () => {
    const f = choose(
      {},
      [4],
      seen(HOST, [...ROUTES, 'default via 2001:db8::fe dev eth0', 'default via 10.1.0.1 dev eth1 metric 9']),
    );
    expect(f.uplink.addrs).toEqual(['192.0.2.7/24', '2001:db8::7/64'].map(prefix));
    expect(f.gateways.map(formatAddr)).toEqual(['192.0.2.254', '2001:db8::fe']);
  });

  test('have a fingerprint that changes with what matters and with nothing else', () => {
    const now = (links = HOST, routes: readonly string[] = ROUTES) =>
      choose({}, [4], seen(links, routes)).fingerprint;
    const changed = (name: string, addrs: LinkInit[1]) =>
      HOST.map((l): LinkInit => (l[0] === name ? [name, addrs] : l));
    expect(now()).toBe(now());
    expect(now(HOST, [...ROUTES].reverse())).toBe(now());
    expect(now(HOST, [...ROUTES, `10.5.9.0/24 via 10.5.9.0 dev flannel.1 proto ${ROUTE_PROTOCOL}`])).toBe(
      now(),
    );
    expect(now(changed('docker0', []))).toBe(now());
    expect(now(changed('eth0', ['192.0.2.8/24']))).not.toBe(now());
    expect(now(HOST, [...ROUTES, '192.0.3.0/24 dev eth0'])).not.toBe(now());
    expect(now(HOST, ['default via 192.0.2.253 dev eth0', ...ROUTES.slice(1)])).not.toBe(now());
  });
});
