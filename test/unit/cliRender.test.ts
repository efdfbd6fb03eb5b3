import { describe, expect, test } from 'vitest';
import type { LeaseChangeJson, NetworkChangeJson } from '../../src/api/changes.ts';
import type { LeasesJson } from '../../src/api/shapes.ts';
import { paint } from '../../src/cli/paint.ts';
import { renderLeaseChange, renderNetworkChange } from '../../src/cli/render/changes.ts';
import { renderEvent } from '../../src/cli/render/events.ts';
import { changesOf, renderChange, renderLease } from '../../src/cli/render/leases.ts';
import { byTrouble, renderPeers, troubleOf } from '../../src/cli/render/peers.ts';
import { renderStatus } from '../../src/cli/render/status.ts';
import { bytes, cell, count, fitting, milliseconds } from '../../src/cli/render.ts';
import { duration } from '../../src/duration.ts';
import { leaseJson } from '../../src/subnet/json.ts';
import { printable, printableLines } from '../../src/text.ts';
import { BROKEN, EVENTS, EVIL, NODE, NOW, OFFLOAD, PEERS, STATUS } from '../fake/apiValues.ts';
import { peer } from '../fake/overlay.ts';

const PLAIN = paint(false);
const COLOURS = paint(true);
const golden = (name: string): string => `golden/cli-${name}.txt`;
/** What colours add, and nothing else. */
const ESC = String.fromCharCode(27);
const COLOUR = new RegExp(`${ESC}\\[\\d{1,2}m`, 'g');
const withoutColours = (text: string): string => text.replace(COLOUR, '');

describe('loden status', () => {
  test('when all is well', () =>
    expect(
      renderStatus({ status: STATUS, offload: { ...OFFLOAD, state: 'on', reason: null } }, PLAIN, NOW),
    ).toMatchFileSnapshot(golden('status')));

  test('when nothing is', () =>
    expect(renderStatus({ status: BROKEN, offload: OFFLOAD }, PLAIN, NOW)).toMatchFileSnapshot(
      golden('status-broken'),
    ));

  test('of a daemon that waits for everything', () => {
    const lease = {
      state: 'waiting',
      lease: null,
      secondsLeft: null,
      reason: 'waiting for the network config',
    } as const;
    const status = { ...STATUS, ready: false, reason: null, lease, network: null, uplink: null, mtu: null };
    return expect(renderStatus({ status, offload: undefined }, PLAIN, NOW)).toMatchFileSnapshot(
      golden('status-waiting'),
    );
  });

  test('tells a reservation from a lease', () => {
    const lease = {
      ...STATUS.lease,
      secondsLeft: null,
      lease: { ...STATUS.lease.lease!, reservation: true },
    };
    expect(renderStatus({ status: { ...STATUS, lease }, offload: undefined }, PLAIN, NOW)).toMatch(
      /lease .*, a reservation\n/,
    );
  });
});

describe('loden peers', () => {
  test('shows the worst first', () => expect(renderPeers(PEERS, PLAIN)).toMatchFileSnapshot(golden('peers')));

  test.each([80, 60, 44])(
    'in %d columns: subnets and addresses whole, the rest as far as it fits',
    async (columns) => {
      const text = renderPeers(PEERS, PLAIN, columns);
      const rows = text.split('\n').slice(0, PEERS.peers.length + 2);
      expect(Math.max(...rows.map((row) => row.length))).toBeLessThanOrEqual(columns);
      for (const { subnets, publicIP, publicIPv6 } of PEERS.peers)
        for (const word of [...subnets, publicIP, publicIPv6])
          if (word !== null) expect(text.split(/\s+/)).toContain(word);
      await expect(text).toMatchFileSnapshot(golden(`peers-${columns}`));
    },
  );

  test('in 44 columns, with the longest of IPv4', () => {
    const [subnet, publicIP] = ['10.100.100.0/24', '192.168.100.100'];
    const peers = PEERS.peers.map((p) => ({ ...p, subnets: [subnet], publicIP, publicIPv6: null }));
    const rows = renderPeers({ ...PEERS, peers }, PLAIN, 44)
      .split('\n')
      .slice(1, peers.length + 1);
    for (const row of rows) expect(row.split(/ {2,}/).slice(0, 2)).toEqual([subnet, publicIP]);
    expect(Math.max(...rows.map((row) => row.length))).toBe(44);
    expect(rows[0]).toMatch(/ {2}unreachab…$/);
  });

  test('with rates where there is an earlier answer', () => {
    const before = {
      ...PEERS,
      at: new Date(NOW.getTime() - 2000).toISOString(),
      peers: PEERS.peers.map((p) => ({
        ...p,
        traffic: p.traffic && {
          ...p.traffic,
          outBytes: p.traffic.outBytes - 4000,
          inBytes: p.traffic.inBytes + 1,
        },
      })),
    };
    const row = renderPeers(PEERS, PLAIN, undefined, before)
      .split('\n')
      .find((l) => l.startsWith('10.5.2.0/24'))!;
    // What went down was counted anew.
    expect(row.split(/ {2,}/).slice(6, 8)).toEqual(['2.0 kB/s', '128 B']);
  });

  test('orders by trouble, then by subnet', () => {
    expect(byTrouble(PEERS.peers).map(troubleOf)).toEqual([
      'unreachable',
      'lossy',
      'full-size lost',
      'lowered',
      'corrupted',
      'not served',
      'none',
      'none',
      'none',
    ]);
    expect(
      byTrouble(PEERS.peers)
        .slice(-3)
        .map((p) => p.subnets[0]),
    ).toEqual(['10.5.2.0/24', '10.5.3.0/24', '10.5.10.0/24']);
  });

  test('of no peers is a sentence', () =>
    expect(renderPeers({ ...PEERS, peers: [] }, PLAIN)).toBe('0 peers at revision 123\n'));
});

test('loden events', () =>
  expect(EVENTS.map((e) => renderEvent(e, PLAIN)).join('')).toMatchFileSnapshot(golden('events')));

describe('loden leases', () => {
  const ours = leaseJson({ ...peer(7, [4, 6], { node: NODE }), instance: 'fedcba9876543210' }, true);
  const udp = leaseJson(
    { ...peer(9, [4], { backend: null }), data: new Map(), etcdLease: 'reservation' },
    false,
  );

  test('show', () =>
    expect(
      [ours, udp].map((lease) => renderLease(lease, { paint: PLAIN, networkBackend: 'udp' })).join('\n'),
    ).toMatchFileSnapshot(golden('leases-show')));

  test('--watch tells what has changed', async () => {
    const list = (leases: LeasesJson['leases'], setAside: LeasesJson['setAside'] = []): LeasesJson => ({
      revision: '5',
      source: 'daemon',
      leases,
      setAside,
    });
    const renewed = { ...udp, etcdLease: '5' };
    expect(changesOf(list([ours, udp]), list([ours, renewed]))).toEqual([]);
    const changes = changesOf(
      list([ours, udp], [{ key: 'old', reason: 'x' }]),
      list(
        [{ ...ours, modRevision: '9' }, leaseJson(peer(11), false)],
        [
          { key: 'old', reason: 'x' },
          { key: EVIL, reason: EVIL },
        ],
      ),
    );
    await expect(changes.map((c) => renderChange(c, { paint: PLAIN })).join('')).toMatchFileSnapshot(
      golden('leases-watch'),
    );
  });

  test('reserve and release', () => {
    const change = (done: LeaseChangeJson['done'], notes: string[] = []): LeaseChangeJson => ({
      done,
      key: udp.key,
      lease: done === 'deleted' ? null : udp,
      revision: '7',
      notes,
    });
    const text = [
      change('created', ['the node keeps 10.5.3.0/24']),
      change('reserved'),
      change('released', [EVIL]),
      change('deleted'),
      change('nothing'),
    ]
      .map((c) => renderLeaseChange('10.5.9.0-24', c, PLAIN))
      .join('');
    return expect(text).toMatchFileSnapshot(golden('leases-change'));
  });
});

describe('loden config set', () => {
  const change: NetworkChangeJson = {
    key: '/coreos.com/network/config',
    done: 'dry-run',
    revision: '77',
    changes: [
      { path: 'SubnetLen', to: 25 },
      { path: 'Backend.VNI', from: 1, to: 7 },
      { path: 'Backend.PSK', from: '[redacted]', to: '[redacted]' },
      { path: EVIL, from: EVIL },
    ],
    orphans: Array.from({ length: 22 }, (_, i) => ({
      key: `10.5.${i}.0-24`,
      subnets: [`10.5.${i}.0/24`],
      node: null,
      publicIP: i === 0 ? null : `192.0.2.${i}`,
      why: 'another length',
    })),
    restart: ['Backend.Type (vxlan to host-gw)'],
    unknownKeys: ['Foo'],
    problem: null,
  };
  test('that orphans leases', () =>
    expect(renderNetworkChange(change, PLAIN, true)).toMatchFileSnapshot(golden('config-set-refused')));
  test('that is applied', () =>
    expect(
      renderNetworkChange(
        {
          ...change,
          done: 'set',
          orphans: change.orphans.slice(0, 1),
          restart: [],
          unknownKeys: [],
          problem: 'it is no JSON',
        },
        PLAIN,
      ),
    ).toMatchFileSnapshot(golden('config-set')));
  test('that changes nothing', () =>
    expect(
      renderNetworkChange(
        { ...change, done: 'nothing', changes: [], orphans: [], unknownKeys: [], restart: [] },
        PLAIN,
      ),
    ).toBe('nothing to change at /coreos.com/network/config\n'));
});

describe('whatever is shown', () => {
  const texts = (p: typeof PLAIN): string[] => [
    renderStatus({ status: BROKEN, offload: { ...OFFLOAD, reason: EVIL } }, p, NOW),
    renderPeers(PEERS, p, 100),
    ...EVENTS.map((e) => renderEvent(e, p)),
    renderLease({ ...leaseJson(peer(9), false), backend: EVIL, node: EVIL, data: { a: EVIL } }, { paint: p }),
  ];

  test('no control character reaches the terminal', () => {
    for (const text of texts(PLAIN)) expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    for (const text of texts(COLOURS))
      expect(withoutColours(text).replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test('colours change nothing but the colour', () => {
    expect(texts(COLOURS).join('')).toContain('\u001b[31m');
    expect(texts(COLOURS).map(withoutColours)).toEqual(texts(PLAIN));
  });
});

describe('words', () => {
  test.each([
    [0, '0s'],
    [59, '59s'],
    [60, '1m'],
    [3599, '59m 59s'],
    [3600, '1h'],
    [86_000, '23h 53m'],
    [90_061, '1d 1h'],
    [86_405, '1d'],
    [-5, '0s'],
  ])('%d s are %s', (s, words) => expect(duration(s)).toBe(words));
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [99_940, '99.9 kB'],
    [123_456, '123 kB'],
    [999_600, '1.0 MB'],
    [5e15, '5.0 PB'],
    [5e18, '5000 PB'],
  ])('%d bytes are %s', (n, words) => expect(bytes(n)).toBe(words));
  test.each([
    [0.123, '0.12 ms'],
    [9.99, '9.99 ms'],
    [12.34, '12.3 ms'],
    [250, '250 ms'],
  ])('%d', (n, words) => expect(milliseconds(n)).toBe(words));
  test('of text', () => {
    expect(printable('a\u001b\n\u200b\ud800b')).toBe('a????b');
    expect(printableLines('a\nb\r')).toBe('a\nb?');
    expect(cell('x'.repeat(61))).toBe(`${'x'.repeat(59)}…`);
    expect(count(1, 'peer') + count(2, 'peer')).toBe('1 peer2 peers');
  });
  test('of tables: what is left out first, and what is cut when that is not enough', () => {
    const columns = { titles: ['A', 'B', 'C', 'D'], leftOut: ['D', 'B'], cut: 'C' };
    const rows = [
      ['a', 'bb', { text: 'c'.repeat(20), as: (t: string) => `<${t}>` }, 'd'],
      ['aaa', 'b', 'c', ''],
    ];
    const at = (room?: number) => fitting(columns, rows, (t) => t, room);
    const c = `<${'c'.repeat(20)}>`;
    expect(at()).toEqual({
      text: `A    B   C                     D\na    bb  ${c}  d\naaa  b   c\n`,
      without: 0,
    });
    expect(at(32)).toEqual(at());
    expect(at(31)).toEqual({ text: `A    B   C\na    bb  ${c}\naaa  b   c\n`, without: 1 });
    expect(at(29)).toEqual(at(31));
    expect(at(28)).toEqual({ text: `A    C\na    ${c}\naaa  c\n`, without: 2 });
    expect(at(24).text).toBe(`A    C\na    <${'c'.repeat(18)}…>\naaa  c\n`);
    expect(at(1).text).toBe(`A    C\na    <${'c'.repeat(7)}…>\naaa  c\n`);
  });
});
