import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chunks, Differ } from '../../page/src/model/differ.ts';
import { addEvents, filterEvents, MOST_EVENTS, type SeenEvent } from '../../page/src/model/eventLog.ts';
import { canZoom, cut, follow, layoutOf } from '../../page/src/model/grid.ts';
import { decodeMatrix, matrixText, subnetOfKey, troublesOf } from '../../page/src/model/matrix.ts';
import { KEPT, RateBook } from '../../page/src/model/rates.ts';
import { arrange, orderOf, type PeerView, rowOf, worstHealth } from '../../page/src/model/rows.ts';
import { delay, hurry, LONGEST } from '../../page/src/model/schedule.ts';
import { cellText, MOST_CELLS, paint, SLOT_STATES, spaceOf } from '../../page/src/model/space.ts';
import { moved, scrollTo, windowOf } from '../../page/src/model/virtual.ts';
import { bytes, count, duration, rate, roundTrip } from '../../page/src/model/words.ts';
import type { EventJson, LeaseJson, MatrixJson, PathJson, TrafficJson } from '../../src/api/shapes.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { OpenApi } from '../support/openapi.ts';
import { PretendCluster } from '../support/pretendCluster.ts';

const CALM = { fenced: false, isEnding: false };

const lease = (subnet: string, more: Partial<LeaseJson> = {}): LeaseJson => ({
  key: subnet.replaceAll('/', '-').replace(',', '&'),
  subnets: subnet.split(','),
  publicIP: '192.0.2.1',
  publicIPv6: null,
  backend: 'vxlan',
  data: null,
  dataV6: null,
  node: 'aa',
  instance: 'bb',
  reservation: false,
  etcdLease: '1',
  createRevision: '1',
  modRevision: '1',
  self: false,
  ...more,
});
const path = (health: PathJson['health'], more: Partial<PathJson> = {}): PathJson =>
  ({ health, rtt: 1, sent: 20, lost: 0, pathMtu: 1450, routeMtu: null, ...more }) as PathJson;
const peer = (key: string, paths: readonly PathJson[], more: Partial<PeerView> = {}): PeerView => ({
  key,
  backend: 'vxlan',
  problem: null,
  paths,
  traffic: null,
  inRate: null,
  outRate: null,
  ...more,
});

describe('figures', () => {
  test.each([
    [duration(-1), '0 s'],
    [duration(59.9), '59 s'],
    [duration(723), '12 min 3 s'],
    [duration(86_399), '23 h 59 min'],
    [duration(90_000), '1 d 1 h'],
    [bytes(999), '999 B'],
    [bytes(999.6), '1.00 kB'],
    [bytes(1_500_000), '1.50 MB'],
    [rate(0), '0 bit/s'],
    [rate(125_000_000), '1.00 Gbit/s'],
    [roundTrip(0.0841), '0.084 ms'],
    [roundTrip(131), '131 ms'],
    [count(1, 'peer'), '1 peer'],
    [count(1000, 'peer'), '1,000 peers'],
  ])('%s', (text, expected) => expect(text).toBe(expected));
});

describe('a row', () => {
  test('joins a lease with what is known of its peer', () => {
    const row = rowOf(
      lease('10.0.1.0/24'),
      peer('k', [path('reachable'), path('lossy', { rtt: 3, lost: 10, routeMtu: 1400 })], { inRate: 5 }),
      CALM,
    );
    expect(row).toMatchObject({
      state: 'leased',
      health: 'lossy',
      rtt: 3,
      loss: 0.25,
      mtu: 1400,
      inRate: 5,
      outRate: null,
    });
  });

  test.each([
    [lease('10.0.1.0/24', { reservation: true }), [path('reachable')], CALM, 'reserved', 'reserved'],
    [
      lease('10.0.1.0/24', { reservation: true }),
      [path('unreachable')],
      CALM,
      'silent',
      'reserved; its node does not answer',
    ],
    [
      lease('10.0.1.0/24'),
      [path('reachable'), path('unreachable')],
      CALM,
      'silent',
      'its node does not answer: it runs out unless that renews it',
    ],
    [lease('10.0.1.0/24', { self: true }), [], CALM, 'ours', 'ours'],
    [lease('10.0.1.0/24', { self: true, reservation: true }), [], CALM, 'ours', 'ours, reserved'],
    [
      lease('10.0.1.0/24', { self: true }),
      [],
      { fenced: true, isEnding: false },
      'expiring',
      'ours, run out: it is not written any more',
    ],
    [
      lease('10.0.1.0/24', { self: true }),
      [],
      { fenced: false, isEnding: true },
      'expiring',
      'ours, running out',
    ],
  ] as const)('%j with %j is told', (l, paths, own, state, words) => {
    expect(rowOf(l, peer(l.key, paths), own)).toMatchObject({ state, words });
  });

  test('a refused peer says why', () => {
    expect(rowOf(lease('10.0.1.0/24'), peer('k', [], { problem: 'overlaps' }), CALM).words).toBe('overlaps');
  });

  test('the worst of no paths is unknown', () => expect(worstHealth([])).toBeNull());

  test('subnets sort as numbers', () => {
    const texts = ['10.0.10.0/24', '10.0.9.0/24', '9.0.0.0/8', 'fd00::/64', '10.0.9.0/25', 'nonsense'];
    expect([...texts].sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))).toEqual([
      '9.0.0.0/8',
      '10.0.9.0/24',
      '10.0.9.0/25',
      '10.0.10.0/24',
      'fd00::/64',
      'nonsense',
    ]);
  });

  test('the table filters by all words and sorts, what is unknown last', () => {
    const rows = [
      rowOf(
        lease('10.0.1.0/24', { publicIP: '192.0.2.10' }),
        peer('a', [path('reachable', { rtt: 5 })]),
        CALM,
      ),
      rowOf(
        lease('10.0.2.0/24', { publicIP: '192.0.2.9' }),
        peer('b', [path('unreachable', { rtt: null })]),
        CALM,
      ),
      rowOf(
        lease('10.0.3.0/24', { publicIP: '192.0.2.11' }),
        peer('c', [path('reachable', { rtt: 2 })]),
        CALM,
      ),
    ];
    const by = (column: 'rtt' | 'address' | 'health', descending: boolean) =>
      arrange(rows, '', { column, descending }).map((r) => r.subnets[0]!.split('.')[2]);
    expect(by('rtt', false)).toEqual(['3', '1', '2']);
    expect(by('rtt', true)).toEqual(['1', '3', '2']);
    expect(by('address', false)).toEqual(['2', '1', '3']);
    expect(by('health', true)).toEqual(['2', '1', '3']);
    const found = arrange(rows, ' REACHABLE 10.0.3 ', { column: 'subnet', descending: false });
    expect(found.map((r) => r.subnets[0])).toEqual(['10.0.3.0/24']);
    expect(arrange(rows, 'reachable nowhere', { column: 'subnet', descending: false })).toEqual([]);
  });
});

describe('the map of the address space', () => {
  const rows = [
    rowOf(lease('10.5.0.0/24', { self: true }), undefined, CALM),
    rowOf(lease('10.5.255.0/24'), undefined, CALM),
    rowOf(lease('10.5.7.0/24', { reservation: true }), undefined, CALM),
    rowOf(lease('10.6.0.0/24'), undefined, CALM),
  ];

  test('has a cell for each subnet, and tells whose it is', () => {
    const space = spaceOf('10.5.0.0/16', rows)!;
    expect(space).toMatchObject({ slotLen: 24, cellLen: 24, cells: 256, cols: 32, rows: 8 });
    const painted = paint(space, rows);
    expect([0, 1, 7, 255].map((i) => SLOT_STATES[painted.states[i]!])).toEqual([
      'ours',
      'free',
      'reserved',
      'leased',
    ]);
    expect(painted.counts).toEqual({ free: 253, leased: 1, reserved: 1, silent: 0, expiring: 0, ours: 1 });
    expect(painted.outside).toBe(1);
    expect(cellText(space, painted, 7)).toBe('10.5.7.0/24: reserved, by 192.0.2.1');
    expect(cellText(space, painted, 8)).toBe('10.5.8.0/24: free');
  });

  test.each([
    ['10.0.0.0/8', ['10.5.0.0/24'], { cells: 65_536, cellLen: 24, slotLen: 24 }],
    ['10.0.0.0/8', ['10.5.0.0/28'], { cells: 65_536, cellLen: 24, slotLen: 28 }],
    ['fd00::/48', ['fd00::/64'], { cells: 65_536, cellLen: 64, slotLen: 64 }],
    ['fd00::/32', ['fd00::/64'], { cells: 65_536, cellLen: 48, slotLen: 64 }],
    ['10.5.0.0/16', [], { cells: 256, slotLen: 24 }],
    ['10.5.0.0/24', ['10.5.0.0/24'], { cells: 1, cols: 1, rows: 1 }],
    ['10.5.0.0/30', [], { cells: 1 }],
  ])('%s with %j', (network, subnets, expected) => {
    const space = spaceOf(
      network,
      subnets.map((s) => rowOf(lease(s), undefined, CALM)),
    )!;
    expect(space).toMatchObject(expected);
    expect(space.cells).toBeLessThanOrEqual(MOST_CELLS);
  });

  test('a block of several subnets shows the most telling, and how many', () => {
    const many = ['10.0.0.0/28', '10.0.0.16/28'].map((s, i) =>
      rowOf(lease(s, { self: i === 0 }), undefined, CALM),
    );
    const space = spaceOf('10.0.0.0/8', many)!;
    const painted = paint(space, many);
    expect(SLOT_STATES[painted.states[0]!]).toBe('ours');
    expect(cellText(space, painted, 0)).toContain('2 leases');
    expect(cellText(space, painted, 1)).toBe('10.0.1.0/24: 16 subnets, all free');
  });

  test('a lease that is larger than a cell covers all of its cells', () => {
    const big = [
      rowOf(lease('10.5.0.0/24', { self: true }), undefined, CALM),
      rowOf(lease('10.5.8.0/22'), undefined, CALM),
    ];
    const painted = paint(spaceOf('10.5.0.0/16', big)!, big);
    expect([7, 8, 9, 10, 11, 12].map((i) => painted.owners.has(i))).toEqual([
      false,
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  test('no network, no map', () => expect(spaceOf('nonsense', [])).toBeUndefined());

  test('every subnet of a network has one cell, and no two the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 24 }), fc.integer({ min: 0, max: 8 }), (len, more) => {
        const subnet = `10.0.0.0/${Math.min(30, len + more)}`;
        const space = spaceOf(`10.0.0.0/${len}`, [rowOf(lease(subnet), undefined, CALM)])!;
        expect(space.rows * space.cols).toBe(space.cells);
        const painted = paint(space, [rowOf(lease(subnet), undefined, CALM)]);
        expect([...painted.owners.keys()]).toEqual([0]);
        expect(
          parsePrefix(cellText(space, painted, space.cells - 1).split(':')[0]!)?.len ?? space.cellLen,
        ).toBe(space.cellLen);
      }),
    );
  });
});

describe('rates', () => {
  const traffic = (inBytes: number, outBytes: number): TrafficJson => ({
    inPackets: 0,
    outPackets: 0,
    inBytes,
    outBytes,
  });

  test('are differences over time', () => {
    const book = new RateBook();
    expect(book.take(1_000, [['a', traffic(100, 50)]]).size).toBe(0);
    expect(book.take(3_000, [['a', traffic(300, 50)]]).get('a')).toEqual({ in: 100, out: 0 });
    const plot = book.plot(5, 'both');
    expect(plot).toMatchObject({
      times: [1, 3],
      sum: [null, 100],
      peers: 1,
      series: [{ key: 'a', values: [null, 100] }],
    });
    expect(book.plot(5, 'out').series).toEqual([]);
  });

  test('an answer that is not newer tells nothing', () => {
    const book = new RateBook();
    book.take(1_000, [['a', traffic(0, 0)]]);
    expect(book.take(1_000, [['a', traffic(9, 9)]]).size).toBe(0);
    expect(book.take(2_000, [['a', traffic(10, 0)]]).get('a')).toEqual({ in: 10, out: 0 });
  });

  test('counting that began anew is no negative rate', () => {
    const book = new RateBook();
    book.take(1_000, [['a', traffic(1_000, 1_000)]]);
    expect(book.take(2_000, [['a', traffic(10, 2_000)]]).get('a')).toEqual({ in: 0, out: 0 });
    expect(book.take(3_000, [['a', traffic(20, 2_000)]]).get('a')).toEqual({ in: 10, out: 0 });
  });

  test('the busiest come first; who comes later has no past', () => {
    const book = new RateBook();
    book.take(1_000, [
      ['a', traffic(0, 0)],
      ['b', null],
    ]);
    book.take(2_000, [
      ['a', traffic(10, 0)],
      ['b', traffic(0, 0)],
    ]);
    book.take(3_000, [
      ['a', traffic(20, 0)],
      ['b', traffic(500, 0)],
    ]);
    const plot = book.plot(1, 'in');
    expect(plot.series).toEqual([{ key: 'b', values: [null, null, 500] }]);
    expect(plot.sum).toEqual([null, 10, 510]);
  });

  test('memory is bounded, and who is gone is forgotten', () => {
    const book = new RateBook();
    for (let i = 1; i <= KEPT * 2; i++)
      book.take(i * 1_000, [['a', traffic(i, 0)], ...(i < 5 ? [['b', traffic(i, i)] as const] : [])]);
    const plot = book.plot(5, 'in');
    expect(plot.times).toHaveLength(KEPT);
    expect(plot.series.map((s) => [s.key, s.values.length])).toEqual([['a', KEPT]]);
    book.forget();
    expect(book.plot(5, 'in').times).toEqual([]);
  });
});

describe('the matrix', () => {
  const json = (rows: readonly (string | null)[]): MatrixJson => ({
    omitted: 0,
    nodes: rows.map((row, i) => ({
      key: `10.0.${i}.0-24`,
      self: i === 0,
      row,
      at: null,
      error: row === null ? 'no answer' : null,
    })),
  });

  test('is told by cell', () => {
    const m = decodeMatrix(json(['-3x', 'l-m', null]));
    expect(m.rowsTold).toBe(2);
    expect(matrixText(m, 0, 0)).toBe('10.0.0.0/24: itself');
    expect(matrixText(m, 0, 1)).toBe('10.0.0.0/24 → 10.0.1.0/24: reachable, below 1 ms');
    expect(matrixText(m, 1, 2)).toBe('10.0.1.0/24 → 10.0.2.0/24: reachable, but not by full-size packets');
    expect(matrixText(m, 2, 0)).toBe('10.0.2.0/24 → 10.0.0.0/24: nobody has told (no answer)');
    expect(matrixText(m, 7, 7)).toBe('');
  });

  test('a row of another length is none', () =>
    expect(decodeMatrix(json(['-3x', '-', null])).rowsTold).toBe(1));

  test('names what is wrong: a node that is cut off once, not by each path', () => {
    const t = troublesOf(decodeMatrix(json(['-33x', '3-lx', '33-x', null])));
    expect(t).toMatchObject({ unreachable: 3, lossy: 1, lowered: 0 });
    expect(t.nodes).toEqual([{ index: 3, text: '10.0.3.0/24 cannot be reached by 3 of 3 nodes' }]);
    expect(t.list.map((x) => x.text)).toEqual(['10.0.1.0/24 → 10.0.2.0/24: lossy: some probes are lost']);
  });

  test('a node that reaches nobody is named as such; a single path by itself', () => {
    const t = troublesOf(decodeMatrix(json(['-xxx', '3-33', '33-3', '3x3-'])));
    expect(t.nodes.map((n) => n.text)).toContain('10.0.0.0/24 cannot reach 3 of 3 nodes');
    const single = troublesOf(decodeMatrix(json(['-x33', '3-33', '33-3', '333-'])));
    expect([single.nodes, single.list.map((x) => [x.row, x.col])]).toEqual([[], [[0, 1]]]);
  });

  test('keys of two families are subnets', () => {
    expect(subnetOfKey('10.1.0.0-24&fd00:12::-64')).toBe('10.1.0.0/24, fd00:12::/64');
  });
});

describe('a grid', () => {
  test.each([
    [{ rows: 3, cols: 3 }, { width: 600, height: 500 }, 0, { cell: 40, k: 1, rows: 3, cols: 3 }],
    [{ rows: 1000, cols: 1000 }, { width: 600, height: 520 }, 0, { cell: 1, k: 2, rows: 1000, cols: 1000 }],
    [{ rows: 128, cols: 512 }, { width: 300, height: 260 }, 0, { cell: 1, k: 2, rows: 128, cols: 512 }],
    [{ rows: 1000, cols: 1000 }, { width: 600, height: 500 }, 3, { cell: 4, k: 1, rows: 125, cols: 150 }],
    [{ rows: 8, cols: 32 }, { width: 0, height: 260 }, 0, { cell: 1, k: 32, rows: 8, cols: 32 }],
    [{ rows: 8, cols: 32 }, { width: -150, height: 260 }, 0, { cell: 1, k: 32, rows: 8, cols: 32 }],
  ])('%j in %j at zoom %i', (grid, box, zoom, expected) => {
    const layout = layoutOf(grid, box, zoom);
    expect(layout).toEqual(expected);
    expect(canZoom(layout)).toBe(layout.cell < 24);
  });

  test('from afar the worst of a block is seen', () => {
    const codes = Uint8Array.from([1, 1, 1, 9, 1, 1, 1, 1, 1]);
    const shown = cut(codes, 3, { row: 0, col: 0 }, { cell: 1, k: 2, rows: 3, cols: 3 });
    expect([shown.rows, shown.cols, [...shown.codes]]).toEqual([2, 2, [9, 1, 1, 1]]);
    const part = cut(codes, 3, { row: 1, col: 0 }, { cell: 9, k: 1, rows: 2, cols: 2 });
    expect([...part.codes]).toEqual([9, 1, 1, 1]);
  });

  test('what is in sight follows the focus no more than it must', () => {
    expect(follow(0, 5, 10, 100)).toBe(0);
    expect(follow(0, 10, 10, 100)).toBe(1);
    expect(follow(50, 5, 10, 100)).toBe(5);
    expect(follow(99, 99, 10, 100)).toBe(90);
    expect(follow(0, 2, 10, 3)).toBe(0);
  });

  test.each([
    ['ArrowUp', false, { row: 4, col: 5 }],
    ['ArrowRight', false, { row: 5, col: 6 }],
    ['PageDown', false, { row: 8, col: 5 }],
    ['PageUp', false, { row: 2, col: 5 }],
    ['Home', false, { row: 5, col: 0 }],
    ['End', true, { row: 9, col: 9 }],
  ] as const)('%s', (key, ctrl, to) => {
    expect(moved(key, { row: 5, col: 5 }, { rows: 10, cols: 10, page: 3 }, ctrl)).toEqual(to);
  });

  test('the focus stays within, and other keys are left alone', () => {
    expect(moved('ArrowUp', { row: 0, col: 0 }, { rows: 2, cols: 2, page: 1 })).toEqual({ row: 0, col: 0 });
    expect(moved('x', { row: 0, col: 0 }, { rows: 2, cols: 2, page: 1 })).toBeUndefined();
  });
});

describe('a long table', () => {
  test('has only the rows in sight', () => {
    expect(windowOf(1_000, 30, 0, 300)).toEqual({ first: 0, end: 16 });
    expect(windowOf(1_000, 30, 15_000, 300)).toEqual({ first: 494, end: 516 });
    expect(windowOf(1_000, 30, 1e9, 300)).toEqual({ first: 984, end: 1_000 });
    expect(windowOf(0, 30, 100, 0)).toEqual({ first: 0, end: 0 });
  });

  test('scrolls no more than it must', () => {
    expect([scrollTo(3, 30, 0, 300), scrollTo(10, 30, 0, 300), scrollTo(1, 30, 300, 300)]).toEqual([
      0, 30, 30,
    ]);
  });
});

describe('events', () => {
  const event = (id: number, more: Partial<EventJson> = {}): EventJson => ({
    id,
    at: '2026-01-01T00:00:00.000Z',
    level: 'info',
    kind: 'peer',
    subject: null,
    message: `event ${id}`,
    fields: {},
    ...more,
  });

  test('come newest first, each once, and are bounded', () => {
    let seen: readonly SeenEvent[] = addEvents([], 'a', [event(1), event(2)]);
    const same = addEvents(seen, 'a', [event(2)]);
    expect(same).toBe(seen);
    seen = addEvents(seen, 'b', [event(1)]);
    expect(seen.map((e) => e.uid)).toEqual(['b-1', 'a-2', 'a-1']);
    seen = addEvents(
      seen,
      'b',
      Array.from({ length: 900 }, (_, i) => event(i + 2)),
    );
    expect(seen).toHaveLength(MOST_EVENTS);
    expect(seen[0]!.id).toBe(901);
  });

  test('are filtered by kind and level', () => {
    const seen = addEvents([], 'a', [
      event(1),
      event(2, { level: 'error', kind: 'path' }),
      event(3, { level: 'warn' }),
    ]);
    const ids = (kinds: string[], level: 'info' | 'warn' | 'error') =>
      filterEvents(seen, { kinds: new Set(kinds), level }).map((e) => e.id);
    expect(ids([], 'info')).toEqual([3, 2, 1]);
    expect(ids([], 'warn')).toEqual([3, 2]);
    expect(ids(['peer'], 'warn')).toEqual([3]);
    expect(ids(['path'], 'error')).toEqual([2]);
  });
});

describe('asking', () => {
  test('again: in time, less often who is slow, ever less who does not answer', () => {
    expect(delay({ every: 2_000, took: 5, failures: 0, random: 0.5 })).toBe(2_000);
    expect(delay({ every: 2_000, took: 500, failures: 0, random: 0.5 })).toBe(10_000);
    const waits = [1, 2, 3, 4, 5, 6, 9].map((failures) =>
      delay({ every: 2_000, took: 0, failures, random: 0.5 }),
    );
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, LONGEST, LONGEST]);
    expect(delay({ every: 2_000, took: 0, failures: 3, random: 0 })).toBe(3_000);
    expect([hurry(0), hurry(1_000), hurry(1e9)]).toEqual([1_000, 5_000, LONGEST]);
  });

  test('only what has changed is passed on', () => {
    const differ = new Differ<{ key: string; n: number }>();
    expect(
      differ.take([
        { key: 'a', n: 1 },
        { key: 'b', n: 1 },
      ]),
    ).toMatchObject({ changed: [{ key: 'a' }, { key: 'b' }], gone: [] });
    expect(
      differ.take([
        { key: 'b', n: 2 },
        { key: 'c', n: 1 },
      ]),
    ).toEqual({
      changed: [
        { key: 'b', n: 2 },
        { key: 'c', n: 1 },
      ],
      gone: ['a'],
    });
    expect(
      differ.take([
        { key: 'b', n: 2 },
        { key: 'c', n: 1 },
      ]),
    ).toEqual({ changed: [], gone: [] });
    expect([...chunks([1, 2, 3], 2)]).toEqual([[1, 2], [3]]);
    expect([...chunks([], 2)]).toEqual([[]]);
  });
});

test('the pretended cluster answers as a daemon does', () => {
  const api = new OpenApi();
  const cluster = new PretendCluster(60);
  for (let i = 0; i < 30; i++) cluster.step();
  cluster.lose(30);
  for (const [path, value] of [
    ['/v1/status', cluster.status()],
    ['/v1/leases', cluster.leases()],
    ['/v1/peers', cluster.peers()],
    ['/v1/matrix', cluster.matrix()],
    ['/v1/events', cluster.events.read()],
  ] as const) {
    expect(api.problems('GET', path, 200, 'application/json', JSON.stringify(value))).toEqual([]);
  }
});
