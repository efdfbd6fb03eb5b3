import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { CELLS, cellOf, cellWords, worseCell } from '../../src/api/cell.ts';
import type { RowJson } from '../../src/api/matrix.ts';
import { rowFetcher } from '../../src/daemon/matrix/fetch.ts';
import { Gatherer, type MatrixNode } from '../../src/daemon/matrix/gather.ts';
import { MOST_NODES, matrixText } from '../../src/daemon/matrix/matrix.ts';
import { parseRow, rowText } from '../../src/daemon/matrix/row.ts';
import { Rows } from '../../src/daemon/matrix/rows.ts';
import { addr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import type { PathReport } from '../../src/probe/types.ts';
import type { Lease } from '../../src/subnet/types.ts';

const joined = (pieces: Iterable<string>) => JSON.parse([...pieces].join('')) as never;

describe('a cell', () => {
  test.each([
    [{ health: 'reachable', rtt: 0.05, lowered: false }, '0'],
    [{ health: 'reachable', rtt: 0.1, lowered: false }, '1'],
    [{ health: 'reachable', rtt: 199, lowered: false }, '8'],
    [{ health: 'reachable', rtt: 200, lowered: false }, '9'],
    [{ health: 'reachable', rtt: 1, lowered: true }, 'm'],
    [{ health: 'reachable', rtt: null, lowered: false }, '.'],
    [{ health: 'lossy', rtt: 1, lowered: true }, 'l'],
    [{ health: 'unreachable', rtt: 1, lowered: false }, 'x'],
    [{ health: 'unprobed', rtt: undefined, lowered: false }, '.'],
  ] as const)('%j is %s', (path, cell) => expect(cellOf(path)).toBe(cell));

  test('the worse of two is told', () => {
    for (let i = 1; i < CELLS.length; i++) {
      expect(worseCell(CELLS[i - 1]!, CELLS[i]!)).toBe(CELLS[i]);
      expect(worseCell(CELLS[i]!, CELLS[i - 1]!)).toBe(CELLS[i]);
    }
  });

  test('in words', () => {
    expect(Array.from(CELLS, cellWords)).toEqual([
      'itself',
      'not probed yet',
      ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 200].map((ms) => `reachable, below ${ms} ms`),
      'reachable, 200 ms or more',
      'reachable, but not by full-size packets',
      'lossy: some probes are lost',
      'unreachable',
    ]);
    expect(cellWords('?')).toBe('nothing known');
  });
});

describe("another's row", () => {
  const good: RowJson = { key: '10.0.1.0-24', peers: ['10.0.2.0-24'], cells: '3' };

  test('is taken when it is one', () => expect(parseRow(JSON.stringify(good))).toEqual(good));

  test.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['a list', '[]'],
    ['without cells', JSON.stringify({ ...good, cells: undefined })],
    ['more cells than peers', JSON.stringify({ ...good, cells: '33' })],
    ['fewer', JSON.stringify({ ...good, cells: '' })],
    ['a cell that is none', JSON.stringify({ ...good, cells: '<' })],
    ['a character of two', JSON.stringify({ ...good, cells: '😀' })],
    ['a peer that is no text', JSON.stringify({ ...good, peers: [7] })],
    ['a peer as a list', JSON.stringify({ ...good, peers: [['x']] })],
    ['a peer as an object', JSON.stringify({ ...good, peers: { 0: 'a', length: 1 } })],
    ['a long key', JSON.stringify({ ...good, key: 'x'.repeat(101) })],
    ['a long peer', JSON.stringify({ ...good, peers: ['x'.repeat(101)] })],
  ])('is refused: %s', (_, text) => expect(parseRow(text)).toBeUndefined());
});

describe('rows', () => {
  const keys = ['a', 'b', 'c'];
  const rowsOf = () => {
    const rows = new Rows();
    rows.keep(new Set(keys));
    return rows;
  };

  test('are told by column, whatever the order in which peers came', () => {
    const rows = rowsOf();
    rows.put('b', ['c', 'a', 'stranger'], '3x9');
    const columns = rows.columns(keys);
    expect(rows.text('b', columns)).toBe('x-3');
    expect(rows.text('a', columns)).toBeNull();
    expect(rows.text('b', rows.columns(['c', 'b', 'a']))).toBe('3-x');
  });

  test('who comes in the place of one that went does not inherit its cells', () => {
    const rows = rowsOf();
    rows.put('b', ['a', 'c'], 'x3');
    rows.put('a', ['b'], '1');
    rows.keep(new Set(['b', 'c', 'd']));
    const columns = rows.columns(['b', 'c', 'd']);
    expect(rows.text('b', columns)).toBe('-3.');
    expect(rows.text('d', columns)).toBeNull();
  });

  test('of a node that nobody knows are not kept, and a node does not tell of itself', () => {
    const rows = rowsOf();
    rows.put('stranger', ['a'], '3');
    rows.put('a', ['a', 'b'], 'x3');
    expect(rows.size).toBe(3);
    expect(rows.text('a', rows.columns(keys))).toBe('-3.');
    rows.drop('a');
    expect(rows.text('a', rows.columns(keys))).toBeNull();
  });

  test('are all forgotten when many nodes go at once', () => {
    const rows = new Rows();
    const all = Array.from({ length: 40 }, (_, i) => `n${i}`);
    rows.keep(new Set(all));
    rows.put('n0', ['n1'], '3');
    rows.keep(new Set(all.slice(0, 10)));
    expect(rows.size).toBe(10);
    expect(rows.text('n0', rows.columns(['n1']))).toBeNull();
  });
});

describe('gathering', () => {
  afterEach(() => vi.useRealTimers());
  const nodes = (n: number): MatrixNode[] =>
    Array.from({ length: n }, (_, i) => ({
      key: `n${i}`,
      self: i === 0,
      addr: addr(`10.0.${i >> 8}.${i & 255}`),
    }));

  /** `answers`: by address; undefined: never. */
  const gatherer = (answer: (key: string) => RowJson | Error | undefined) => {
    vi.useFakeTimers();
    const asked: { key: string; at: number }[] = [];
    let [open, most] = [0, 0];
    const it = new Gatherer({
      fetch: async (a, signal) => {
        const key = `n${Number(a.value & 0xffffn)}`;
        asked.push({ key, at: Date.now() });
        most = Math.max(most, ++open);
        try {
          const result = answer(key);
          if (result === undefined) {
            await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
          }
          if (result instanceof Error) throw result;
          return result!;
        } finally {
          open--;
        }
      },
      why: '',
      clock: Date.now,
    });
    return { it, asked, most: () => most };
  };
  const row = (key: string): RowJson => ({ key, peers: ['n0', 'n1', 'n2'], cells: '012' });

  test('asks everybody else in turn, at most 20 a second, and again after 5 s', async () => {
    const { it, asked } = gatherer(row);
    it.want(nodes(61));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(asked.length).toBeLessThanOrEqual(20);
    await vi.advanceTimersByTimeAsync(2_100);
    expect(new Set(asked.map((a) => a.key)).size).toBe(60);
    expect(asked.some((a) => a.key === 'n0')).toBe(false);
    expect(it.rows.text('n5', it.rows.columns(['n0', 'n1', 'n2', 'n5']))).toBe('012-');
    expect(it.about('n5').error).toBeUndefined();
    await vi.advanceTimersByTimeAsync(5_000);
    const times = asked.filter((a) => a.key === 'n5').map((a) => a.at);
    expect(times).toHaveLength(2);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(5_000);
    it.stop();
  });

  test('asks no more than 8 at once', async () => {
    const { it, most, asked } = gatherer(() => undefined);
    it.want(nodes(100));
    await vi.advanceTimersByTimeAsync(5_000);
    expect([most(), asked.length]).toEqual([8, 8]);
    it.stop();
  });

  test('who does not answer has no row any more, and is asked ever less often', async () => {
    let fails = false;
    const { it, asked } = gatherer((key) => (fails ? new Error('no answer') : row(key)));
    it.want(nodes(2));
    await vi.advanceTimersByTimeAsync(100);
    expect(it.rows.text('n1', it.rows.columns(['n0']))).toBe('0');
    fails = true;
    for (let s = 0; s < 400; s += 20) {
      it.want(nodes(2));
      await vi.advanceTimersByTimeAsync(20_000);
    }
    expect(it.rows.text('n1', it.rows.columns(['n0']))).toBeNull();
    expect(it.about('n1')).toEqual({ at: undefined, error: 'no answer' });
    // 5, 10, 20, 40, then every 60 s.
    expect(asked.length).toBeGreaterThan(8);
    expect(asked.length).toBeLessThan(13);
    it.stop();
  });

  test('a row of another node is not taken for this one', async () => {
    const { it } = gatherer(() => row('n2'));
    it.want(nodes(2));
    await vi.advanceTimersByTimeAsync(100);
    expect(it.about('n1').error).toBe('the node of another lease answers at its address');
    expect(it.rows.text('n1', it.rows.columns(['n0']))).toBeNull();
    it.stop();
  });

  test('ends a minute after the last question, forgets, and begins again', async () => {
    const { it, asked } = gatherer(row);
    it.want(nodes(3));
    await vi.advanceTimersByTimeAsync(59_000);
    expect(it.isRunning).toBe(true);
    await vi.advanceTimersByTimeAsync(2_000);
    expect([it.isRunning, it.rows.size]).toEqual([false, 0]);
    const before = asked.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked.length).toBe(before);
    it.want(nodes(3));
    await vi.advanceTimersByTimeAsync(200);
    expect(asked.length).toBe(before + 2);
    it.stop();
  });

  test('what is under way when it ends changes nothing', async () => {
    const { it } = gatherer(() => undefined);
    it.want(nodes(3));
    await vi.advanceTimersByTimeAsync(200);
    it.stop();
    await vi.advanceTimersByTimeAsync(10);
    expect(it.about('n1')).toEqual({ at: undefined, error: undefined });
  });

  test('without a way to ask it says why', () => {
    const it = new Gatherer({ fetch: undefined, why: 'no --metrics-addr' });
    it.want(nodes(3));
    expect(it.isRunning).toBe(false);
    expect(it.about('n1').error).toBe('no --metrics-addr');
  });
});

describe('fetching a row', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });
  const serve = async (listener: RequestListener): Promise<number> => {
    server = createServer(listener);
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  const fetched = async (listener: RequestListener, limits = {}) =>
    rowFetcher(await serve(listener), limits)(addr('127.0.0.1'), new AbortController().signal);
  const good = JSON.stringify({ key: 'a', peers: ['b'], cells: 'x' });

  test('takes a row', async () => {
    let asked = '';
    const row = await fetched((req, res) => {
      asked = `${req.method} ${req.url}`;
      res.end(good);
    });
    expect([asked, row]).toEqual(['GET /v1/row', { key: 'a', peers: ['b'], cells: 'x' }]);
  });

  test.each<[string, RequestListener, string]>([
    ['no row', (_, res) => res.end('hello'), 'what it answers is no row'],
    ['an older version', (_, res) => res.writeHead(404).end(), 'answers 404: a version that tells no row'],
    ['a redirect', (_, res) => res.writeHead(302, { location: '/elsewhere' }).end(), 'answers 302'],
    ['too much', (_, res) => res.end('x'.repeat(3_000)), 'more than 2 KiB'],
    ['without an end', (_, res) => void res.write('{'), 'no whole answer within 0.2 s'],
    ['nothing', () => {}, 'no whole answer within 0.2 s'],
  ])('refuses %s', async (_, listener, why) => {
    await expect(fetched(listener, { time: 200, size: 2_048 })).rejects.toThrow(why);
  });

  test('an answer that breaks off is none', async () => {
    const broken: RequestListener = (_, res) => {
      res.writeHead(200, { 'content-length': '100' });
      res.write('{');
      setTimeout(() => res.destroy(), 20);
    };
    await expect(fetched(broken, { time: 2_000 })).rejects.toThrow(/aborted|socket hang up/);
  });

  test('says that nothing listens', async () => {
    const port = await serve(() => {});
    await new Promise((resolve) => server!.close(resolve));
    const fetch = rowFetcher(port)(addr('127.0.0.1'), new AbortController().signal);
    await expect(fetch).rejects.toThrow('nothing listens there');
  });
});

describe('what is told', () => {
  const lease = (i: number): Lease => {
    const p = prefix(`10.${i >> 8}.${i & 255}.0/24`);
    return {
      key: `10.${i >> 8}.${i & 255}.0-24`,
      subnets: [p],
      endpoints: new Map(),
      data: new Map(),
    } as never;
  };
  const report = (key: string, health: PathReport['health'], family: 4 | 6 = 4): PathReport =>
    ({ target: { key, family, addr: addr('10.0.0.0') }, health, rtt: 0.3, fullSize: 'passes' }) as never;
  const partsOf = (n: number, reports: readonly PathReport[]) => ({
    daemon: {
      asked: {
        network: { network: { backend: { type: 'vxlan' } } },
        held: lease(0),
        served: {
          leases: new Map([
            // Nobody is there to ask.
            ['10.99.99.0-24', { ...lease(0), key: '10.99.99.0-24', etcdLease: 'reservation' }] as never,
            ...Array.from({ length: n }, (_, i) => [lease(i).key, lease(i)] as const),
          ]),
        },
      },
      refusedPeers: new Map([[lease(3).key, 'no reason']]),
    } as never,
    probing: { paths: new Map(reports.map((r) => [`${r.target.key} ${r.target.family}`, r])) } as never,
    reactions: {
      routeMtu: (path: string) => (path === `${lease(2).key} 4` ? 1400 : undefined),
      checksumOffload: () => null,
    },
  });
  const reports = [
    report(lease(1).key, 'reachable'),
    report(lease(1).key, 'unreachable', 6),
    report(lease(2).key, 'reachable'),
  ];

  test('our own row has the worse of two families, and lowered routes', () => {
    const { probing, reactions } = partsOf(4, reports);
    expect(joined(rowText('me', probing, reactions))).toEqual({
      key: 'me',
      peers: [lease(1).key, lease(2).key],
      cells: 'xm',
    });
    expect(joined(rowText(null, { paths: new Map() }, reactions))).toEqual({
      key: null,
      peers: [],
      cells: '',
    });
  });

  test('the matrix has our row at once, and those of others when they are there', () => {
    const gatherer = new Gatherer({ fetch: undefined, why: 'nobody is asked' });
    const parts = partsOf(4, reports);
    const { nodes } = joined(matrixText(parts, gatherer)) as {
      nodes: { key: string; row: string | null; error: string }[];
    };
    // A peer that is refused is none.
    expect(nodes.map((n) => n.key)).toEqual([0, 1, 2].map((i) => lease(i).key));
    expect(nodes.map((n) => n.row)).toEqual(['-xm', null, null]);
    expect(nodes[1]!.error).toBe('nobody is asked');
    gatherer.rows.put(lease(1).key, [lease(0).key, lease(2).key], '12');
    const later = joined(matrixText(parts, gatherer)) as { nodes: { row: string | null }[] };
    expect(later.nodes.map((n) => n.row)).toEqual(['-xm', '1-2', null]);
  });

  test('of very many nodes only some, with word of the others', () => {
    const gatherer = new Gatherer({ fetch: undefined, why: '' });
    const answer = joined(matrixText(partsOf(MOST_NODES + 11, []), gatherer)) as {
      nodes: { row: string }[];
      omitted: number;
    };
    expect([answer.nodes.length, answer.omitted]).toEqual([MOST_NODES, 10]);
    expect(answer.nodes[0]!.row).toHaveLength(MOST_NODES);
  });
});
