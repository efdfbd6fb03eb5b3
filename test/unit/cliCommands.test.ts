import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LeaseChangeJson, NetworkChangeJson } from '../../src/api/shapes.ts';
import { controlSocket } from '../../src/cli/client.ts';
import { coloured, type Io } from '../../src/cli/command.ts';
import { samplesOf } from '../../src/cli/metrics.ts';
import { exitCodeOf, program } from '../../src/cli/program.ts';
import { redraw } from '../../src/cli/screen.ts';
import { EventStream } from '../../src/cli/sse.ts';
import { EXIT } from '../../src/contract.ts';
import { leasesJson } from '../../src/subnet/json.ts';
import { BROKEN, EVENTS, EVIL, INSTANCE, NODE, OFFLOAD, PEERS, PROBES, STATUS } from '../fake/apiValues.ts';
import { type FakeIo, fakeIo } from '../fake/io.ts';
import { peer } from '../fake/overlay.ts';
import { until } from '../support/proc.ts';

/** Commands against daemons that are fakes, of which some lie. */

let runDir: string;
let server: http.Server | undefined;
let requests: {
  method: string | undefined;
  url: string | undefined;
  body: string;
  headers: http.IncomingHttpHeaders;
}[];
beforeEach(async () => {
  runDir = await mkdtemp(join(tmpdir(), 'ld-cli-'));
  requests = [];
});
afterEach(async () => {
  await gone();
  await rm(runDir, { recursive: true, force: true });
});

async function gone(): Promise<void> {
  server?.closeAllConnections();
  await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  server = undefined;
}

type Answer = unknown | ((res: http.ServerResponse, req: http.IncomingMessage) => void);

/** By path without its query; a function answers itself, text is sent as it is, all else as JSON. */
async function daemon(answers: Readonly<Record<string, Answer>>): Promise<void> {
  server = http.createServer(async (req, res) => {
    let body = '';
    for await (const piece of req) body += piece;
    requests.push({ method: req.method, url: req.url, body, headers: req.headers });
    const answer = answers[new URL(req.url!, 'http://x').pathname];
    if (typeof answer === 'function') answer(res, req);
    else if (answer === undefined)
      res.writeHead(404).end('{"error":{"code":"not-found","message":"no such thing"}}');
    else res.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server!.listen(controlSocket(runDir), resolve));
}

/** What a command prints, and its exit code, also that of an error. */
async function run(
  argv: readonly string[],
  io: FakeIo = fakeIo(),
): Promise<{ out: string; err: string; code: number }> {
  let code: number;
  let error = '';
  try {
    code = await program([...argv, ...(takesRunDir(argv) ? ['--run-dir', runDir] : [])], io);
  } catch (e) {
    code = exitCodeOf(e);
    error = (e as Error).message;
  }
  return { out: io.printed.join(''), err: [...io.warned, error].filter(Boolean).join('\n'), code };
}
const takesRunDir = (argv: readonly string[]): boolean => argv[1] !== 'validate' && argv[0] !== 'completion';

const LEASES = leasesJson(
  {
    epoch: 0,
    revision: 5n,
    leases: new Map([peer(7, [4], { node: NODE }), peer(9)].map((l) => [l.key, l])),
    setAside: new Map(),
  },
  'daemon',
  peer(7).key,
);
const EVENTS_ANSWER = { instance: INSTANCE, first: 1, last: 3, events: EVENTS };
const CONFIG = {
  options: [],
  network: {
    key: '/k/config',
    config: { Network: '10.5.0.0/16', Backend: { PSK: '[redacted]' } },
    inForce: true,
    problem: null,
  },
};
const RESERVED: LeaseChangeJson = { done: 'reserved', lease: LEASES.leases[1]!, revision: '6', notes: [] };
const PLANNED: NetworkChangeJson = {
  key: '/k/config',
  done: 'dry-run',
  revision: '6',
  changes: [{ path: 'Backend.VNI', to: 7 }],
  orphans: [],
  restart: [],
  unknownKeys: [],
  problem: null,
};

const ALL = {
  '/v1/status': STATUS,
  '/v1/probes': { ...PROBES, checksumOffload: OFFLOAD },
  '/v1/peers': PEERS,
  '/v1/leases': LEASES,
  '/v1/events': EVENTS_ANSWER,
  '/v1/config': CONFIG,
  '/v1/reservations': RESERVED,
  '/v1/network': PLANNED,
  '/v1/events/stream': (res: http.ServerResponse) => void res.write(':\n\n'),
  '/metrics': '# HELP a b\n# TYPE a gauge\na{b="c\\"d\\n"} 1\na_inf +Inf\n',
};

const COMMANDS: readonly (readonly [argv: readonly string[], path: string])[] = [
  [['status'], '/v1/status'],
  [['peers'], '/v1/peers'],
  [['peers', '--watch', '--json'], '/v1/peers'],
  [['leases', '--watch', '--source=daemon'], '/v1/leases'],
  [['leases', 'show', '10.5.7.0/24'], '/v1/leases'],
  [['leases', 'reserve', '10.5.9.0/24', '--node', '192.0.2.9'], '/v1/reservations'],
  [['leases', 'release', '10.5.9.0/24'], '/v1/leases/10.5.9.0%2F24'],
  [['config', 'show'], '/v1/config'],
  [['config', 'set', '-'], '/v1/network'],
  [['events'], '/v1/events'],
  [['events', '--follow'], '/v1/events'],
];

describe('a daemon that lies', () => {
  const fails = async (argv: readonly string[], path: string, answer: Answer): Promise<string> => {
    await gone();
    await daemon({ ...ALL, [path]: answer });
    const { out, err, code } = await run(argv, fakeIo({ input: '{"Network":"10.5.0.0/16"}' }));
    expect(out, `${argv.join(' ')} prints`).toBe('');
    expect([EXIT.failure, EXIT.unavailable]).toContain(code);
    expect(err.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    return err;
  };
  const refusing: Answer = (res: http.ServerResponse) =>
    void res.writeHead(500).end(JSON.stringify({ error: { code: 'x', message: EVIL } }));

  test.each(COMMANDS)('%j says so, and shows nothing of it', async (argv, path) => {
    for (const text of [
      '<html>',
      'null',
      '[]',
      '{}',
      '{"error":1}',
      '"text"',
      `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`,
    ]) {
      await fails(argv, path, text);
    }
    expect(await fails(argv, path, refusing)).toMatch(/refuses|evil/);
    await fails(argv, path, (res: http.ServerResponse) => void res.destroy());
  });

  test('about its stream of events is found out at once', async () => {
    for (const argv of [
      ['peers', '--watch', '--json'],
      ['leases', '--watch', '--json'],
    ])
      expect(await fails(argv, '/v1/events/stream', refusing)).toMatch(/refuses/);
  });

  test('no command waits for one that is not there', async () => {
    for (const [argv] of [...COMMANDS, [['metrics']] as const]) {
      const from = argv[0] === 'leases' || argv[0] === 'config' ? ['--source=daemon'] : [];
      const { out, err, code } = await run(
        [...argv.filter((a) => a !== from[0]), ...from],
        fakeIo({ input: '{"Network":"10.5.0.0/16"}' }),
      );
      expect([out, code]).toEqual(['', EXIT.unavailable]);
      expect(err).toMatch(/no loden daemon answers on .*loden\.sock/);
    }
  });

  test('without end is cut off', async () => {
    await daemon({
      '/v1/probes': PROBES,
      '/v1/status': (res: http.ServerResponse) => {
        const piece = 'x'.repeat(1 << 20);
        const more = (): void => {
          while (!res.destroyed && res.write(piece));
          res.once('drain', more);
        };
        more();
      },
    });
    const { err, code } = await run(['status']);
    expect([code, err]).toEqual([
      EXIT.unavailable,
      expect.stringMatching(/the answer is larger than \d+ bytes/),
    ]);
  });
});

describe('loden status', () => {
  test('ends with 0 when ready, 1 when not', async () => {
    await daemon(ALL);
    const ready = await run(['status']);
    expect([ready.code, ready.out]).toEqual([
      0,
      expect.stringMatching(/^ready +yes\n[\s\S]*tx of flannel\.1 is off/),
    ]);
    await gone();
    await daemon({ ...ALL, '/v1/status': BROKEN });
    expect(await run(['status'])).toMatchObject({ code: 1, err: '' });
    const { out, code } = await run(['status', '--json']);
    expect([code, JSON.parse(out)]).toEqual([1, { ...BROKEN, checksumOffload: OFFLOAD }]);
  });

  test('does without what an older daemon does not know', async () => {
    const { paths: _, ...older } = STATUS;
    await daemon({ '/v1/status': older });
    expect(await run(['status'])).toMatchObject({ code: 0, out: expect.not.stringMatching(/checksums/) });
  });
});

test('loden peers --json is what the daemon says, the worst first', async () => {
  await daemon(ALL);
  const { out } = await run(['peers', '--json']);
  const { peers, ...rest } = JSON.parse(out) as typeof PEERS;
  expect(peers[0]?.key).toBe('10.5.9.0-24&fd00:5:0:9::-64');
  expect({
    ...rest,
    peers: peers.toSorted(
      (a, b) => PEERS.peers.findIndex((p) => p.key === a.key) - PEERS.peers.findIndex((p) => p.key === b.key),
    ),
  }).toEqual(PEERS);
});

describe('loden events', () => {
  beforeEach(() => daemon(ALL));
  const ids = async (...argv: string[]) =>
    (JSON.parse((await run(['events', '--json', ...argv])).out) as typeof EVENTS_ANSWER).events.map(
      (e) => e.id,
    );

  test('asks for what is wanted', async () => {
    await run(['events', '--since=17', '--kind=path', '--kind', 'mtu']);
    expect(requests[0]?.url).toBe('/v1/events?since=17&kind=path&kind=mtu');
  });
  test('since a time', async () => {
    expect(await ids('--since=2026-03-14T11:50:00Z')).toEqual([2, 3]);
    expect(await ids('--since=2026-03-14T12:50:00+01:00')).toEqual([2, 3]);
    expect(await ids('--since=1s')).toEqual([]);
    expect(await ids()).toEqual([1, 2, 3]);
  });
  test('--since takes nothing else', async () => {
    expect(await run(['events', '--since=yesterday'])).toMatchObject({
      code: EXIT.config,
      err: expect.stringMatching(/--since: expected .*got "yesterday"/),
    });
    expect(await run(['events', '--kind=x'])).toMatchObject({ code: EXIT.config });
  });
});

describe('what goes on', () => {
  /** A stream of events that a test writes to. */
  const streams: http.ServerResponse[] = [];
  const stream = (res: http.ServerResponse): void => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write(':\n\n');
    streams.push(res);
  };
  const tell = (id: number): void => {
    streams.at(-1)!.write(`id: ${INSTANCE}-${id}\ndata: ${JSON.stringify({ ...EVENTS[1], id })}\n\n`);
  };
  afterEach(() => void streams.splice(0));
  const lines = (io: FakeIo): Record<string, unknown>[] =>
    io.printed
      .join('')
      .split('\n')
      .filter(Boolean)
      .map((l) => JSON.parse(l));

  test('loden events --follow: from the last that was shown, also behind a break, until nobody reads', async () => {
    await daemon({ ...ALL, '/v1/events/stream': stream });
    const io = fakeIo();
    const done = run(['events', '--follow', '--json', '--kind=path'], io);
    await until('the stream', () => streams.length === 1);
    expect(lines(io).map((e) => e.id)).toEqual([1, 2, 3]);
    expect(requests.at(-1)).toMatchObject({
      url: '/v1/events/stream?kind=path',
      headers: { 'last-event-id': `${INSTANCE}-3` },
    });
    tell(4);
    streams[0]!.write('event: missed\ndata: {"missed":7}\n\n');
    await until('the fourth', () => lines(io).length === 4 && io.warned.length === 1);
    expect(io.warned).toEqual(['7 events were dropped before they came here']);
    streams[0]!.destroy();
    await until('another stream', () => streams.length === 2);
    expect(requests.at(-1)?.headers['last-event-id']).toBe(`${INSTANCE}-4`);
    tell(5);
    await until('the fifth', () => lines(io).length === 5);
    io.hangUp();
    expect(await done).toMatchObject({ code: 0 });
  });

  test('loden leases --watch --json: what changes, a line each', async () => {
    const second = { ...LEASES, revision: '6', leases: [{ ...LEASES.leases[0]!, modRevision: '6' }] };
    const answers = [LEASES, LEASES, second];
    await daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/leases': (res: http.ServerResponse) =>
        void res.end(JSON.stringify(answers.length > 1 ? answers.shift() : answers[0])),
    });
    const io = fakeIo();
    const done = run(['leases', '--watch', '--json'], io);
    await until('the stream and the list', () => streams.length === 1 && lines(io).length === 2);
    expect(lines(io)).toMatchObject([
      { change: 'present', lease: { key: '10.5.7.0-24' } },
      { change: 'present' },
    ]);
    tell(4);
    await until('a second list', () => answers.length === 1);
    tell(5);
    await until('the changes', () => lines(io).length === 4);
    expect(lines(io).slice(2)).toMatchObject([
      { change: 'gone', lease: { key: '10.5.9.0-24' } },
      { change: 'changed', lease: { key: '10.5.7.0-24' } },
    ]);
    io.hangUp();
    expect(await done).toMatchObject({ code: 0 });
  });

  test('loden peers --watch: lines in a pipe, a table on a terminal', async () => {
    const after = {
      ...PEERS,
      peers: PEERS.peers.slice(0, 8).map((p) => (p.key === '10.5.2.0-24' ? { ...p, problem: 'so' } : p)),
    };
    let now = PEERS;
    await daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/peers': (res: http.ServerResponse) => void res.end(JSON.stringify(now)),
    });
    const io = fakeIo();
    const done = run(['peers', '--watch'], io);
    await until('the table', () => io.printed.length === 1 && streams.length === 1);
    now = after;
    tell(4);
    await until('the changes', () => io.printed.length === 3);
    expect(io.printed.slice(1).join('')).toBe(
      `${PEERS.at} gone 10.5.10.0/24\n${PEERS.at} changed 10.5.2.0/24: not served: so\n`,
    );
    io.hangUp();
    await done;
    const terminal = fakeIo({ terminal: { columns: 120, rows: 5 } });
    const shown = run(['peers', '--watch', '--color=never'], terminal);
    await until('a screen', () => terminal.printed.length > 0);
    terminal.hangUp();
    await shown;
    const text = terminal.printed[0]!;
    expect(text.startsWith('\u001b[H')).toBe(true);
    expect(text.split('\n')).toHaveLength(5);
    expect(text).toMatch(/… \d+ more lines/);
  });

  test('what is not there at the start is an error; what goes later is waited for', async () => {
    await daemon({ ...ALL, '/v1/events/stream': stream });
    const io = fakeIo();
    const done = run(['leases', '--watch', '--source=daemon'], io);
    await until('the list', () => io.printed.length === 1);
    await gone();
    await until('a word about it', () =>
      io.warned.some((w) => /no loden daemon answers.*trying again/.test(w)),
    );
    await daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/leases': { ...LEASES, revision: '9', leases: [] },
    });
    await until('what has changed since', () => io.printed.length === 3);
    io.hangUp();
    expect(await done).toMatchObject({ code: 0 });
  });
});

describe('an event stream', () => {
  const text =
    ': hello\n\nid: a-1\ndata: one\ndata: more\n\nevent: missed\r\ndata: {}\r\n\r\nid: a-2\n\ndata:two\n\nretry: 5\n\n';
  test('is read however it is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 20 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), text.length];
        const reader = new EventStream();
        const events = at.slice(1).flatMap((end, i) => [...reader.push(text.slice(at[i], end))]);
        expect(events).toEqual([
          { event: 'message', data: 'one\nmore', id: 'a-1' },
          { event: 'missed', data: '{}', id: 'a-1' },
          { event: 'message', data: 'two', id: 'a-2' },
        ]);
      }),
    );
  });
  test('without an end is cut off', () => {
    const long = 'x'.repeat(600_000);
    const line = new EventStream();
    expect(() => [...line.push(long), ...line.push(long)]).toThrow(RangeError);
    const event = new EventStream();
    expect(() => [...event.push(`data: ${long}\n`), ...event.push(`data: ${long}\n`)]).toThrow(RangeError);
  });
});

describe('changes', () => {
  test('are asked of the daemon as they are', async () => {
    await daemon({ ...ALL, '/v1/leases/10.5.9.0%2F24': { ...RESERVED, done: 'deleted', lease: null } });
    expect(await run(['leases', 'reserve', '10.5.9.0/24', '--node', 'a1b2'])).toMatchObject({
      code: 0,
      out: '10.5.9.0/24: a reservation now: it never runs out\n',
    });
    expect(requests.at(-1)).toMatchObject({ method: 'POST', body: '{"subnet":"10.5.9.0/24","node":"a1b2"}' });
    expect(await run(['leases', 'release', '10.5.9.0/24', '--force', '--json'])).toMatchObject({ code: 0 });
    expect(requests.at(-1)).toMatchObject({ method: 'DELETE', url: '/v1/leases/10.5.9.0%2F24?force=true' });
  });

  test.each([
    [409, 'refused', EXIT.failure],
    [409, 'conflict', EXIT.failure],
    [422, 'config', EXIT.config],
    [400, 'bad-request', EXIT.usage],
    [403, 'forbidden', EXIT.failure],
    [503, 'unavailable', EXIT.unavailable],
  ])(
    'that the daemon refuses with %d %s end so too, and are not tried straight at etcd',
    async (status, code, exit) => {
      await daemon({
        '/v1/reservations': (res: http.ServerResponse) =>
          void res.writeHead(status).end(JSON.stringify({ error: { code, message: `two\nlines ${EVIL}` } })),
      });
      const { out, err, code: ended } = await run(['leases', 'reserve', '10.5.9.0/24', '--node', 'a1b2']);
      expect([out, ended]).toEqual(['', exit]);
      expect(err).toMatch(/two\nlines \?/);
    },
  );

  test('of the network config name the revision that was shown', async () => {
    const file = join(runDir, 'c.json');
    await writeFile(file, '{"Network":"10.5.0.0/16"}');
    const answers: NetworkChangeJson[] = [PLANNED, { ...PLANNED, done: 'set', revision: '8' }];
    await daemon({
      '/v1/network': (res: http.ServerResponse) => void res.end(JSON.stringify(answers.shift())),
    });
    expect(await run(['config', 'set', file])).toMatchObject({
      code: 0,
      out: '+ Backend.VNI: 7\nrunning daemons apply it at once\nset: /k/config at revision 8\n',
    });
    expect(requests.map((r) => JSON.parse(r.body))).toEqual([
      { config: '{"Network":"10.5.0.0/16"}', dryRun: true },
      { config: '{"Network":"10.5.0.0/16"}', force: false, revision: '6' },
    ]);
  });

  test('that orphan leases are shown and not made, unless forced', async () => {
    const orphans = [{ key: '10.5.9.0-24', subnets: ['10.5.9.0/24'], node: null, publicIP: null, why: 'so' }];
    await daemon({ '/v1/network': { ...PLANNED, orphans } });
    const refused = await run(['config', 'set', '-'], fakeIo({ input: '{}' }));
    expect(refused).toMatchObject({
      code: EXIT.failure,
      err: expect.stringMatching(/--force/),
      out: expect.stringMatching(/orphans 1 lease:\n[\s\S]*not set: .* stays as it is\n$/),
    });
    expect(requests).toHaveLength(1);
    expect(await run(['config', 'set', '-', '--dry-run'], fakeIo({ input: '{}' }))).toMatchObject({
      code: EXIT.failure,
      out: expect.stringMatching(/--dry-run/),
    });
    await run(['config', 'set', '-', '--force'], fakeIo({ input: '{}' }));
    expect(JSON.parse(requests.at(-1)!.body)).toMatchObject({ force: true, revision: '6' });
  });
});

describe('loden config', () => {
  test('validate tells all that is wrong, with its path', async () => {
    const input = '{"Network":"x","SubnetLen":99,"Backend":{"Type":"vxlan","VNI":-1,"PSK":"hunter2"}}';
    const { out, code } = await run(['config', 'validate', '-'], fakeIo({ input }));
    expect([code, out]).toEqual([
      EXIT.config,
      expect.stringMatching(/wrong: 2 problems\n {2}Network: expected .*\n {2}Backend\.VNI: expected /),
    ]);
    expect(out).not.toContain('hunter2');
    const asJson = await run(['config', 'validate', '-', '--json'], fakeIo({ input }));
    expect(JSON.parse(asJson.out)).toMatchObject({
      valid: false,
      problems: [{ path: 'Network' }, { path: 'Backend.VNI' }],
    });
    expect(await run(['config', 'validate', '/does/not/exist'])).toMatchObject({
      code: EXIT.config,
      err: expect.stringMatching(/cannot read/),
    });
    expect(
      await run(
        ['config', 'validate', '-'],
        fakeIo({ input: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"},"Foo":1}' }),
      ),
    ).toMatchObject({
      code: 0,
      out: 'right\nunknown: Foo means nothing to this version\nIPv4     10.5.0.0/16; a /24 for each node, from 10.5.1.0 to 10.5.255.0\nbackend  vxlan\n',
    });
  });

  test('show says whether it is in force, and why not', async () => {
    await daemon({ '/v1/config': CONFIG });
    expect(await run(['config', 'show'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /"PSK": "\[redacted\]"[\s\S]*\/k\/config: in force at this host's daemon\n$/,
      ),
    });
    await gone();
    await daemon({
      '/v1/config': {
        ...CONFIG,
        network: { ...CONFIG.network, inForce: false, problem: `needs a restart ${EVIL}` },
      },
    });
    expect(await run(['config', 'show'])).toMatchObject({
      code: 0,
      err: expect.stringMatching(/needs a restart/),
    });
    await gone();
    await daemon({ '/v1/config': { ...CONFIG, network: { ...CONFIG.network, config: null } } });
    expect(await run(['config', 'show', '--json'])).toMatchObject({ code: 1 });
  });
});

describe('loden metrics', () => {
  test('prints what the daemon says, without control characters', async () => {
    await daemon({ '/metrics': `a 1\n# \u001b[31m\n` });
    expect((await run(['metrics'])).out).toBe('a 1\n# ?[31m\n');
  });
  test('--json has the samples', async () => {
    await daemon(ALL);
    expect(JSON.parse((await run(['metrics', '--json'])).out)).toEqual({
      samples: [
        { name: 'a', labels: { b: 'c"d\n' }, value: 1 },
        { name: 'a_inf', labels: {}, value: null },
      ],
    });
    expect(samplesOf('x{a="}",b="\\\\"} -1e-3 123\nno sample\n1x 2\n')).toEqual([
      { name: 'x', labels: { a: '}', b: '\\' }, value: -0.001 },
    ]);
  });
});

describe('a terminal', () => {
  const io = (terminal: Io['terminal'], env: Io['env'] = {}) => ({ terminal, env });
  const one = { columns: 80, rows: 24 };
  test('is coloured, a pipe is not', () => {
    expect(coloured('auto', io(one))).toBe(true);
    expect(coloured('auto', io(undefined))).toBe(false);
    expect(coloured('auto', io(one, { NO_COLOR: '1' }))).toBe(false);
    expect(coloured('auto', io(one, { NO_COLOR: '' }))).toBe(true);
    expect(coloured('auto', io(one, { TERM: 'dumb' }))).toBe(false);
    expect(coloured('always', io(undefined, { NO_COLOR: '1' }))).toBe(true);
    expect(coloured('never', io(one))).toBe(false);
  });
  test('is drawn anew in place, no higher than it is', () => {
    const screen = fakeIo({ terminal: { columns: 80, rows: 4 } });
    redraw(screen, 'a\nb\n');
    redraw(screen, 'a\nb\nc\nd\n');
    expect(screen.printed).toEqual([
      '\u001b[Ha\u001b[K\nb\u001b[K\n\u001b[J',
      '\u001b[Ha\u001b[K\nb\u001b[K\n… 2 more lines; a taller terminal shows them\u001b[K\n\u001b[J',
    ]);
  });
});

describe('completion', () => {
  const reply = async (line: string, shell: 'bash' | 'zsh' = 'bash'): Promise<string[]> => {
    const words = shell === 'bash' ? [line] : line.split(' ');
    const { out } = await run(
      ['completion', 'reply', shell, ...words],
      fakeIo({ env: { FLANNELD_RUN_DIR: runDir } }),
    );
    return out.split('\n').filter(Boolean);
  };
  test.each([
    ['loden ver', ['version']],
    ['loden leases re', ['reserve', 'release']],
    ['loden --run-dir /x leases sh', ['show']],
    ['loden leases --source ', ['auto', 'daemon', 'etcd']],
    ['loden leases --source=d', ['daemon']],
    ['loden leases -source=e', ['etcd']],
    ['loden leases --json=', ['true', 'false']],
    ['loden run --log-l', ['--log-level']],
    ['loden events --kind=p', ['peer', 'path', 'pods']],
    ['loden config validate --so', []],
    ['loden config set ', []],
    ['loden nonsense ', []],
    ['loden leases nonsense ', []],
    ['loden leases show 10.5.7.0/24 ', []],
  ])('%j', async (line, words) => expect(await reply(line)).toEqual(words));

  test('zsh gets whole words', async () => {
    expect(await reply('loden leases --source=d', 'zsh')).toEqual(['--source=daemon']);
    expect(await reply('loden st', 'zsh')).toEqual(['status']);
  });

  test('knows what the daemon knows', async () => {
    const evil = { ...LEASES.leases[1]!, subnets: ['10.5.9.0/24', 'fd00:5:0:9::/64', `10.5.${EVIL}`] };
    await daemon({ '/v1/leases': { ...LEASES, leases: [LEASES.leases[0], evil] } });
    expect(await reply('loden leases show 10.5.7')).toEqual(['10.5.7.0/24']);
    expect(await reply('loden leases release fd00:5:0:')).toEqual(['9::/64']);
    expect((await reply('loden leases show 10.5.?')).join('')).not.toMatch(/\p{Cc}/u);
    expect(await reply('loden leases reserve 10.5.50.0/24 --node 192.0')).toEqual(['192.0.2.7', '192.0.2.9']);
    expect(await reply(`loden leases reserve 10.5.50.0/24 --node=${NODE.slice(0, 4)}`)).toEqual([NODE]);
  });

  test('never fails, whatever answers', async () => {
    expect(await reply('loden leases show ')).toEqual([]);
    for (const answer of ['nonsense', '{"leases":[null]}', '{"leases":[{"subnets":5}]}']) {
      await daemon({ '/v1/leases': answer });
      expect(await reply('loden leases show ')).toEqual([]);
      await gone();
    }
    await daemon({ '/v1/leases': () => {} });
    expect(await reply('loden leases show ')).toEqual([]);
  });

  test('whatever the line is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.constantFrom('leases', 'show', '--node', '--kind=', '-', '--', '=', 'config'),
            fc.string(),
          ),
          { maxLength: 6 },
        ),
        async (words) => {
          const out = await reply(`loden ${words.join(' ')}`);
          expect(out.join('')).not.toMatch(/\p{Cc}/u);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('prints a script for a shell it knows, and for no other', async () => {
    for (const shell of ['bash', 'zsh'])
      expect((await run(['completion', shell])).out).toContain('loden completion reply');
    expect(await run(['completion', 'fish'])).toMatchObject({ code: EXIT.usage });
    expect((await run(['completion', '--help'])).out).toMatch(/bash\|zsh/);
  });
});
