import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ForwarderTable, NO_SLOTS } from '../../src/backends/backend.ts';
import { assignSlots, MAX_SLOTS } from '../../src/backends/udp/slots.ts';
import { slotsOf, udpForwarding } from '../../src/backends/udp/table.ts';
import { decodeTable, encodeTable, MAX_TABLE_BYTES } from '../../src/backends/udp/tableBytes.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { type Addr, bits, formatAddr } from '../../src/net/addr.ts';
import { formatPrefix, network } from '../../src/net/prefix.ts';
import type { Lease, LeaseView } from '../../src/subnet/types.ts';
import { anyAddr, anyPrefix } from '../fake/arbitraries.ts';
import {
  desired,
  finish,
  type HostInit,
  host,
  type LeaseInit,
  lease,
  NETWORKS,
  peer,
} from '../fake/overlay.ts';

const UDP = { ...NETWORKS.v4, Backend: { Type: 'udp' } };
const DUAL = { ...NETWORKS.dual, Backend: { Type: 'udp' } };

/** A lease as flannel's or our udp backend writes it: without a BackendType. */
const udpPeer = (n: number, families: readonly (4 | 6)[] = [4], more: Partial<LeaseInit> = {}): Lease =>
  peer(n, families, { backend: null, ...more });

const peersOf = (result: ReturnType<typeof desired>) =>
  result.forwarding!.table.peers.map(
    ({ endpoints, prefixes }) =>
      `${endpoints.map(formatAddr).join(' ')}: ${prefixes.map(formatPrefix).join(' ')}`,
  );

describe('a peer', () => {
  test('is one, with all its subnets and addresses', () => {
    const result = desired(DUAL, [udpPeer(9, [4, 6])]);
    expect(peersOf(result)).toEqual(['192.0.2.9 2001:db8::9: 10.5.9.0/24 fd00:5:0:9::/64']);
    expect(result.problems).toEqual([]);
  });

  test('with a PublicIP alone is sent IPv6 in IPv4', () => {
    const result = desired(DUAL, [udpPeer(9, [4, 6], { endpoints: ['192.0.2.9'] })]);
    expect(peersOf(result)).toEqual(['192.0.2.9: 10.5.9.0/24 fd00:5:0:9::/64']);
    expect(result.problems).toEqual([]);
  });

  test('is not offered an address of a family this host has no socket for', () => {
    const v6 = { ...NETWORKS.v6, Backend: { Type: 'udp' } };
    const both = udpPeer(9, [6], { endpoints: ['192.0.2.9', '2001:db8::9'] });
    const only4 = udpPeer(8, [6], { endpoints: ['192.0.2.8'] });
    const result = desired(v6, [both, only4], host({ localAddrs: ['2001:db8::1'] }));
    expect(peersOf(result)).toEqual(['2001:db8::9: fd00:5:0:9::/64']);
    expect(result.problems).toEqual(['fd00:5:0:8::-64: fd00:5:0:8::/64: it has no PublicIPv6']);
  });

  test('with one bad address is served at the other, and that is told once', () => {
    const result = desired(DUAL, [udpPeer(9, [4, 6], { endpoints: ['192.0.2.9', '::1'] })]);
    expect(peersOf(result)).toEqual(['192.0.2.9: 10.5.9.0/24 fd00:5:0:9::/64']);
    expect(result.problems).toEqual([
      expect.stringMatching(
        /its address ::1 is not one other hosts can reach; it is served at its other one$/,
      ),
    ]);
  });

  test.each([
    ['no address', [], /it has no PublicIP and no PublicIPv6$/],
    ['our own address', ['192.0.2.1'], /is this host's own$/],
    ['an address in its own other subnet', ['fd00:5:0:9::7'], /inside the overlay, in its own subnet$/],
    ['an address in the network', ['10.5.77.7'], /inside the overlay, in the network 10\.5\.0\.0\/16$/],
    [
      'an address in the IPv6 network',
      ['fd00:5:0:77::7'],
      /inside the overlay, in the network fd00:5::\/48$/,
    ],
  ])('with %s gets nothing', (_, endpoints, reason) => {
    const result = desired(DUAL, [udpPeer(8, [4, 6]), udpPeer(9, [4, 6], { endpoints })]);
    expect(peersOf(result)).toEqual(['192.0.2.8 2001:db8::8: 10.5.8.0/24 fd00:5:0:8::/64']);
    expect(result.problems).toHaveLength(2);
    for (const problem of result.problems) expect(problem).toMatch(reason);
  });

  test("whose IPv6 address is in an older peer's subnet gets neither subnet", () => {
    // On the link, so that only the older peer's claim is against it.
    const facts = host({ onLink: ['192.0.2.0/24', '2001:db8::/64', 'fd00:5:0:8::/64'] });
    const result = desired(
      DUAL,
      [udpPeer(8, [4, 6]), udpPeer(9, [4, 6], { endpoints: ['192.0.2.9', 'fd00:5:0:8::7'] })],
      facts,
    );
    expect(peersOf(result)).toEqual(['192.0.2.8 2001:db8::8: 10.5.8.0/24 fd00:5:0:8::/64']);
    expect(result.problems).toEqual([
      expect.stringMatching(
        /10\.5\.9\.0\/24: its address fd00:5:0:8::7 is inside the overlay, in the subnet of the older/,
      ),
      expect.stringMatching(/fd00:5:0:9::\/64: its address fd00:5:0:8::7 is inside the overlay/),
    ]);
  });

  test("whose subnet covers another's address of the other pair gets nothing", () => {
    const wide = { Network: '10.0.0.0/8', ...{ EnableIPv6: true, IPv6Network: 'fd00:5::/48' } };
    const facts = host({
      onLink: ['10.0.0.0/24'],
      localAddrs: ['10.0.0.1', '2001:db8::1'],
      uplink: { addrs: [] },
    });
    const self = lease({ subnets: ['10.200.1.0/24', 'fd00:5:0:1::/64'], backend: null });
    // Only an IPv6 subnet, but it is reached at an IPv4 address.
    const first = lease({
      subnets: ['fd00:5:0:2::/64'],
      endpoints: ['10.0.0.2'],
      backend: null,
      revision: 1,
    });
    const young = lease({ subnets: ['10.0.0.2/31'], endpoints: ['192.0.2.9'], backend: null, revision: 2 });
    const result = desired({ ...wide, Backend: { Type: 'udp' } }, [first, young], facts, self);
    expect(peersOf(result)).toEqual(['10.0.0.2: fd00:5:0:2::/64']);
    expect(result.problems).toEqual([
      expect.stringMatching(/take over the address of the older lease fd00:5:0:2::-64/),
    ]);
  });

  test('on the link is served though its address is in the network', () => {
    const facts = host({ onLink: ['10.5.200.0/24'], localAddrs: ['10.5.200.1'], uplink: { addrs: [] } });
    const result = desired(UDP, [udpPeer(9, [4], { endpoints: ['10.5.200.9'] })], facts);
    expect(peersOf(result)).toEqual(['10.5.200.9: 10.5.9.0/24']);
  });

  test('of another backend gets nothing', () => {
    const result = desired(UDP, [peer(9)]);
    expect(peersOf(result)).toEqual([]);
    expect(result.problems).toEqual(['10.5.9.0-24: it uses the backend "vxlan", not udp']);
  });
});

describe('this host cannot run it when', () => {
  const paths = (config: object, init: HostInit) => desired(config, [], host(init)).check.map((p) => p.path);

  test('a gateway or etcd server would be captured by the route to the network', () => {
    const wide = { Network: '10.0.0.0/8', Backend: { Type: 'udp' } };
    expect(desired(wide, [], host({ reserved: ['10.9.0.5'] })).check).toEqual([
      { path: 'Network', expected: expect.stringContaining('10.9.0.5'), got: '10.0.0.0/8' },
    ]);
    expect(paths(wide, { reserved: ['10.9.0.5'], onLink: ['10.9.0.0/24'] })).toEqual([]);
    expect(paths(wide, { reserved: ['10.9.0.5'], localAddrs: ['10.9.0.5'] })).toEqual([]);
    expect(paths(wide, { reserved: ['192.0.2.254'] })).toEqual([]);
    expect(paths(DUAL, { reserved: ['fd00:5::99'] })).toEqual(['IPv6Network']);
  });

  test('it has no address of a family', () => {
    expect(paths(DUAL, { localAddrs: ['192.0.2.1'] })).toEqual(['--iface']);
  });

  test('inner packets would have too little room', () => {
    expect(paths(DUAL, { uplink: { mtu: 1308 } })).toEqual([]);
    expect(paths(DUAL, { uplink: { mtu: 1307 } })).toEqual(['--iface']);
    expect(paths(UDP, { uplink: { mtu: 96 } })).toEqual([]);
    expect(paths(UDP, { uplink: { mtu: 95 } })).toEqual(['--iface']);
  });
});

describe('slots', () => {
  test('are kept, and given anew as late as possible', () => {
    const first = assignSlots(NO_SLOTS, ['a', 'b', 'c']);
    expect([...first.slots]).toEqual([
      ['a', 0],
      ['b', 1],
      ['c', 2],
    ]);
    const second = assignSlots(first, ['a', 'c', 'd']);
    expect(Object.fromEntries(second.slots)).toEqual({ a: 0, c: 2, d: 3 });
    const third = assignSlots(assignSlots(second, ['a']), ['b', 'a']);
    expect(Object.fromEntries(third.slots)).toEqual({ a: 0, b: 4 });
  });

  test('go round when they are at an end', () => {
    const before = { slots: new Map([['a', 0]]), last: MAX_SLOTS - 1 };
    expect(assignSlots(before, ['a', 'b'])).toEqual({
      slots: new Map([
        ['a', 0],
        ['b', 1],
      ]),
      last: 1,
    });
  });

  test('are not enough for more than all of them', () => {
    const names = Array.from({ length: MAX_SLOTS + 10 }, (_, i) => `n${i}`);
    const { slots } = assignSlots(NO_SLOTS, names);
    expect(slots.size).toBe(MAX_SLOTS);
    expect(new Set(slots.values()).size).toBe(MAX_SLOTS);
  });

  test('are distinct and kept, whoever comes and goes', () => {
    const views = fc.array(fc.uniqueArray(fc.constantFrom(...'abcdefghij')), { maxLength: 20 });
    fc.assert(
      fc.property(views, (all) => {
        let book = { slots: new Map() as ReadonlyMap<string, number>, last: MAX_SLOTS - 5 };
        for (const names of all) {
          const next = assignSlots(book, names);
          expect([...next.slots.keys()].sort()).toEqual([...names].sort());
          expect(new Set(next.slots.values()).size).toBe(names.length);
          for (const name of names)
            if (book.slots.has(name)) expect(next.slots.get(name)).toBe(book.slots.get(name));
          book = next;
        }
      }),
    );
  });

  test('outlive a restart by way of the table', () => {
    const parsed = parseNetworkConfig(JSON.stringify(DUAL));
    const view = (...ns: number[]): LeaseView => ({
      revision: 1n,
      network: parsed,
      self: udpPeer(1, [4, 6]),
      peers: new Map(ns.map((n) => udpPeer(n, [4, 6])).map((p) => [p.key, p])),
    });
    const facts = host();
    const { forwarding } = finish(udpForwarding({ port: 8285 }, view(2, 3, 4), facts, NO_SLOTS));
    const decoded = decodeTable(encodeTable(forwarding.table));
    const slots = slotsOf('table' in decoded ? decoded.table.peers : []);
    const after = finish(udpForwarding({ port: 8285 }, view(2, 4, 5), facts, slots)).forwarding;
    expect(after.table.peers.map((p) => p.slot)).toEqual([0, 2, 3]);
  });
});

test('the bytes of a table are made with it, a peer at a time', () => {
  const view: LeaseView = {
    revision: 1n,
    network: parseNetworkConfig(JSON.stringify(UDP)),
    self: udpPeer(1),
    peers: new Map(Array.from({ length: 50 }, (_, n) => udpPeer(n + 2)).map((p) => [p.key, p])),
  };
  const steps = udpForwarding({ port: 8285 }, view, host(), NO_SLOTS);
  let count = 0;
  let step = steps.next();
  for (; !step.done; step = steps.next()) count++;
  expect(count).toBeGreaterThanOrEqual(4 * 50);
  const { table } = step.value.forwarding;
  const bytes = encodeTable({ ...table });
  Object.defineProperty(table, 'peers', { get: () => expect.unreachable() });
  expect(encodeTable(table)).toEqual(bytes);
});

const distinct = <T extends { readonly family: number }>(all: readonly T[]): T[] => [
  ...new Map([...all].sort((a, b) => a.family - b.family).map((a) => [a.family, a])).values(),
];
const anyEnds = fc.array(anyAddr(), { maxLength: 4 }).map((all: Addr[]) => distinct(all));
const plainPrefix = anyPrefix().map(network);
const anyTable: fc.Arbitrary<ForwarderTable> = fc
  .record({
    mtu: fc.integer({ min: 68, max: 65_535 }),
    tun: anyEnds,
    own: fc
      .array(plainPrefix, { maxLength: 4 })
      .map((all) =>
        distinct(all.map((p) => ({ ...p, family: p.addr.family }))).map(({ addr, len }) => ({ addr, len })),
      ),
    ends: fc.uniqueArray(fc.record({ slot: fc.nat(MAX_SLOTS - 1), endpoints: anyEnds }), {
      selector: (p) => p.slot,
      maxLength: 8,
    }),
    prefixes: fc.uniqueArray(plainPrefix, { selector: formatPrefix, maxLength: 24 }),
  })
  .map(({ ends, prefixes, ...rest }) => ({
    ...rest,
    peers: ends.map((p, i) => ({ ...p, prefixes: prefixes.filter((_, j) => j % ends.length === i) })),
  }));

describe('the table as bytes', () => {
  test('is the table again when read back', () => {
    fc.assert(
      fc.property(anyTable, (table) => {
        expect(decodeTable(encodeTable(table))).toEqual({ table });
      }),
      { numRuns: 500 },
    );
  });

  test('is what native/core/table.h says', () => {
    const { forwarding } = desired(UDP, [udpPeer(9)]);
    const hex = Buffer.from(encodeTable(forwarding!.table)).toString('hex');
    const none = '00'.repeat(17);
    const v4 = (text: string) => `04${text}${'00'.repeat(12)}`;
    expect(hex).toBe(
      [
        Buffer.from('LodenFT1').toString('hex'),
        'c005', // 1472
        '0000',
        '01000000',
        '01000000',
        v4('0a050100'),
        none,
        `${v4('0a050100')}18`,
        `${none}00`,
        `00000000${v4('c0000209')}${none}`,
        `00000000${v4('0a050900')}18`,
      ].join(''),
    );
  });

  test('cut or changed anywhere is refused, or is another table that is as right', () => {
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat(255) });
    let refused = 0;
    fc.assert(
      fc.property(anyTable, fc.array(change, { maxLength: 3 }), fc.nat(40), (table, changes, cut) => {
        const bytes = encodeTable(table);
        for (const { at, to } of changes) bytes[Math.floor(at * (bytes.length - 1))] = to;
        const read = decodeTable(bytes.subarray(0, bytes.length - (changes.length > 0 ? 0 : cut + 1)));
        if ('wrong' in read) {
          refused++;
          expect(read.wrong).not.toBe('');
          return;
        }
        for (const { addr, len } of [...read.table.own, ...read.table.peers.flatMap((p) => p.prefixes)])
          expect(len <= bits(addr.family)).toBe(true);
        expect(decodeTable(encodeTable(read.table))).toEqual(read);
      }),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  test.each([
    ['nothing', new Uint8Array(0)],
    ['zeros', new Uint8Array(1000)],
    ['too many peers', header({ peers: MAX_SLOTS + 1, routes: 0 })],
    ['too many prefixes', header({ peers: 0, routes: 262_145 })],
    ['more peers than bytes', header({ peers: MAX_SLOTS, routes: 262_144 })],
    ['an MTU of 67', header({ peers: 0, routes: 0, mtu: 67 })],
    ['longer than they say', Uint8Array.of(...header({ peers: 0, routes: 0 }), 0)],
    ['two peers in one slot', twoPeers(7, 7)],
    ['a peer in a slot beyond all', twoPeers(7, MAX_SLOTS)],
  ])('that are %s are refused', (_, bytes) => {
    expect(decodeTable(bytes)).toHaveProperty('wrong');
    expect(decodeTable(twoPeers(7, 8))).toHaveProperty('table');
  });

  test('of 10,000 dual-stack peers are made and read without a long pause', () => {
    const peers = Array.from({ length: 10_000 }, (_, slot) => ({
      slot,
      endpoints: [
        { family: 4 as const, value: BigInt(0xc0000000 + slot) },
        { family: 6 as const, value: (0x20010db8n << 96n) + BigInt(slot) },
      ],
      prefixes: [
        { addr: { family: 4 as const, value: BigInt(0x0a000000 + slot * 256) }, len: 24 },
        { addr: { family: 6 as const, value: (0xfd000005n << 96n) + (BigInt(slot) << 64n) }, len: 64 },
      ],
    }));
    const table = { mtu: 1472, tun: [], own: [], peers };
    const bytes = encodeTable(table);
    expect(bytes.length).toBeLessThan(MAX_TABLE_BYTES);
    expect(decodeTable(bytes)).toEqual({ table });
  });
});

/** A table of two peers, who have nothing. */
function twoPeers(...slots: readonly number[]): Uint8Array {
  return encodeTable({
    mtu: 1472,
    tun: [],
    own: [],
    peers: slots.map((slot) => ({ slot, endpoints: [], prefixes: [] })),
  });
}

/** A table's beginning, and nothing of what it announces. */
function header({ peers, routes, mtu = 1472 }: { peers: number; routes: number; mtu?: number }): Uint8Array {
  const bytes = encodeTable({ mtu, tun: [], own: [], peers: [] });
  const view = new DataView(bytes.buffer);
  view.setUint32(12, peers, true);
  view.setUint32(16, routes, true);
  return bytes;
}
