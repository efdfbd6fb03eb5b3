import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { LARGEST_BODY } from '../../src/daemon/http/body.ts';
import { type ControlParts, serveControl } from '../../src/daemon/http/control.ts';
import { notFound, toApiError } from '../../src/daemon/http/errors.ts';
import { pageRoutes } from '../../src/daemon/http/page.ts';
import type { ApiRequest, Reply, Route } from '../../src/daemon/http/route.ts';
import { LONGEST_PATH, Router } from '../../src/daemon/http/router.ts';
import { refuseStrangeName, serveHealth, servePublic } from '../../src/daemon/http/tcp.ts';
import { ConfigError, StoreError, UsageError } from '../../src/errors.ts';
import { parseAddr } from '../../src/net/addr.ts';
import { ask } from '../support/ask.ts';
import { EventStream } from '../support/eventStream.ts';
import { run, until } from '../support/proc.ts';

const dir = mkdtempSync(join(tmpdir(), 'loden-http-'));
chmodSync(dir, 0o755);
afterAll(() => rmSync(dir, { recursive: true }));

type Handle = (request: ApiRequest) => Reply | Promise<Reply>;

const route = (
  method: Route['method'],
  path: string,
  handle: Handle = () => ({ value: path }),
  audience: Route['audience'] = 'anyone',
): Route => ({ method, path, audience, handle });

let sockets = 0;
/** A control socket with these routes. */
async function control(routes: readonly Route[], parts: Partial<ControlParts> = {}) {
  const path = join(dir, `${++sockets}.sock`);
  const server = await serveControl(path, { ready: () => true, routes, ...parts });
  return { path, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const codeOf = (body: string): string => (JSON.parse(body) as { error: { code: string } }).error.code;

/** Bytes as they are, on a connection of their own; resolves with all that comes until it is closed. */
async function raw(path: string, text: string): Promise<string> {
  const socket = net.connect(path);
  socket.on('error', () => {});
  let answer = '';
  socket.setEncoding('latin1').on('data', (d: string) => (answer += d));
  socket.end(text, 'latin1');
  await once(socket, 'close');
  return answer;
}

describe('Router', () => {
  const router = new Router([
    route('GET', '/v1/leases/:key'),
    route('GET', '/v1/leases/free'),
    route('POST', '/v1/leases/:key'),
    route('DELETE', '/v1/leases/:key'),
    route('GET', '/:file'),
    route('GET', '/'),
  ]);
  const found = (method: string, path: string) => {
    const match = router.find(method, path);
    return 'route' in match ? [match.route.method, match.route.path, match.params] : match.allow;
  };

  test.each([
    ['GET', '/v1/leases/free', ['GET', '/v1/leases/free', {}]],
    [
      'GET',
      '/v1/leases/10.5.0.0-24%26fd00%3A%3A-64',
      ['GET', '/v1/leases/:key', { key: '10.5.0.0-24&fd00::-64' }],
    ],
    ['GET', '/v1/leases/10.5.0.0-24&fd00::-64', ['GET', '/v1/leases/:key', { key: '10.5.0.0-24&fd00::-64' }]],
    ['HEAD', '/v1/leases/free', ['GET', '/v1/leases/free', {}]],
    ['DELETE', '/v1/leases/free', ['DELETE', '/v1/leases/:key', { key: 'free' }]],
    ['PUT', '/v1/leases/x', ['GET', 'HEAD', 'POST', 'DELETE']],
    ['OPTIONS', '/', ['GET', 'HEAD']],
    ['GET', '/', ['GET', '/', {}]],
    ['GET', '/x', ['GET', '/:file', { file: 'x' }]],
    ['GET', '/v1/leases/', []],
    ['GET', '/v1/leases/a/b', []],
    ['GET', '//', []],
    ['GET', '', []],
    ['GET', '*', []],
    ['GET', '/v1/Leases/free', []],
    ['GET', '/__proto__', ['GET', '/:file', { file: '__proto__' }]],
  ])('%s %s', (method, path, expected) => {
    expect(found(method, path)).toEqual(expected);
  });

  test.each(['%', '%f', '%ff', '%c3%28', '%u0041'])('refuses the escape %s', (text) => {
    expect(() => router.find('GET', `/v1/leases/${text}`)).toThrow(/escape/);
  });
});

test('errors have a status that says whose fault it is', () => {
  const of = (cause: unknown) => {
    const { status, code } = toApiError(cause);
    return [status, code];
  };
  expect(of(notFound('x'))).toEqual([404, 'not-found']);
  expect(of(new StoreError('unavailable', 'x'))).toEqual([503, 'unavailable']);
  expect(of(new StoreError('conflict', 'x'))).toEqual([409, 'conflict']);
  expect(of(new UsageError('x'))).toEqual([400, 'bad-request']);
  expect(of(new ConfigError('x', []))).toEqual([422, 'config']);
  expect(of(new TypeError('x'))).toEqual([500, 'internal']);
  expect(of('x')).toEqual([500, 'internal']);
});

describe('a request', () => {
  test('is told its parameters, query and body, and that its client is gone', async () => {
    const asked: unknown[] = [];
    let gone: Promise<unknown> | undefined;
    await using server = await control([
      route('PUT', '/v1/:a/x/:b', ({ params, query, body, method }) => {
        asked.push(params, [...query], body, method);
        return { value: {}, status: 202 };
      }),
      route('GET', '/v1/wait', ({ signal }) => {
        gone = once(signal, 'abort');
        return gone.then(() => ({ value: 1 }));
      }),
    ]);
    const told = await ask(server.path, '/v1/1/x/%C3%BC?q=1&q=%20', { method: 'PUT', body: { deep: [1] } });
    expect([told.status, told.headers['content-type']]).toEqual([202, 'application/json']);
    expect(asked).toEqual([
      { a: '1', b: 'ü' },
      [
        ['q', '1'],
        ['q', ' '],
      ],
      { deep: [1] },
      'PUT',
    ]);
    const socket = net.connect(server.path);
    socket.write('GET /v1/wait HTTP/1.1\r\nhost: x\r\n\r\n');
    await until('to be asked', () => gone !== undefined);
    socket.destroy();
    await gone;
  });

  test('with a body that is no JSON, too long, or of another type, is refused; nothing of it is repeated', async () => {
    let asked = 0;
    await using server = await control([
      route('POST', '/v1/x', () => {
        asked++;
        return { value: 1 };
      }),
      route('DELETE', '/v1/x', ({ body }) => ({ value: body === undefined })),
    ]);
    const post = async (body: string, headers: Record<string, string> = {}) => {
      const told = await ask(server.path, '/v1/x', { method: 'POST', body, headers });
      expect(told.body).not.toContain('secret');
      return [told.status, codeOf(told.body)];
    };
    const bad = [400, 'bad-request'];
    expect(await post('secret')).toEqual(bad);
    expect(await post('')).toEqual(bad);
    expect(await post('{"a":1}secret')).toEqual(bad);
    expect(await post('{}', { 'content-type': 'text/plain' })).toEqual([415, 'unsupported-type']);
    expect(await post(`"${'x'.repeat(LARGEST_BODY)}"`)).toEqual([413, 'too-large']);
    expect(await post(`"${'x'.repeat(20 * LARGEST_BODY)}"`, { 'transfer-encoding': 'chunked' })).toEqual([
      413,
      'too-large',
    ]);
    expect(await post('['.repeat(LARGEST_BODY - 1))).toEqual(bad);
    const head =
      'POST /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ';
    expect(await raw(server.path, `${head}3\r\n\r\n"\xff"`)).toContain('400 Bad Request');
    expect(await raw(server.path, `${head}5\r\n\r\n{}`)).not.toContain('200 OK');
    expect(await raw(server.path, `${head}x\r\n\r\n{}`)).toContain('400 Bad Request');
    expect(asked).toBe(0);
    // What has nothing to say may say nothing.
    expect(await ask(server.path, '/v1/x', { method: 'DELETE' })).toMatchObject({
      status: 200,
      body: 'true\n',
    });
  });

  test('that makes no sense, or is too long, is refused', async () => {
    await using server = await control([route('GET', '/v1/:x', () => ({ value: 1 }))]);
    const get = (path: string) => ask(server.path, path);
    expect((await get(`/v1/${'x'.repeat(LONGEST_PATH - 4)}`)).status).toBe(200);
    const long = await get(`/v1/${'x'.repeat(LONGEST_PATH)}`);
    expect([long.status, codeOf(long.body)]).toEqual([414, 'too-long']);
    expect((await get(`/v1/x?${'y'.repeat(16 << 10)}`)).status).toBe(431);
    expect((await ask(server.path, '/v1/x', { headers: { big: 'y'.repeat(16 << 10) } })).status).toBe(431);
    const lines = [
      ['BREW /v1/x HTTP/1.1\r\nhost: x\r\n\r\n', '400'],
      ['PROPFIND /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', '405'],
      ['GET /v1/x HTTP/1.1\r\n\r\n', '400'],
      ['GET http://evil/v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', '404'],
      ['GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', '404'],
      ['\x16\x03\x01\x02\x00\x01\x00', '400'],
      [
        'GET /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n',
        '400',
      ],
    ] as const;
    for (const [text, status] of lines)
      expect([text, (await raw(server.path, text)).split(' ')[1]]).toEqual([text, status]);
    expect((await get('/v1/x')).status).toBe(200);
  });

  test('is answered piece by piece without holding others up; an answer that breaks in the middle is not taken for whole', async () => {
    const faults: unknown[] = [];
    await using server = await control(
      [
        route('GET', '/v1/slow', () => ({
          pieces: (function* () {
            for (let i = 0; i < 200; i++) {
              for (const end = performance.now() + 2; performance.now() < end; );
              yield 'x';
            }
          })(),
        })),
        route('GET', '/v1/breaks', () => ({
          pieces: (function* () {
            yield 'x'.repeat(100_000);
            throw new Error('out of order');
          })(),
        })),
        route('GET', '/v1/quick', () => ({ value: 1 })),
      ],
      { onFault: (_, method, path) => faults.push([method, path]) },
    );
    let ended = false;
    const slow = ask(server.path, '/v1/slow').then((told) => {
      ended = true;
      return told;
    });
    for (let i = 0; i < 5; i++) expect((await ask(server.path, '/v1/quick')).status).toBe(200);
    expect(ended).toBe(false);
    expect((await slow).body).toBe('x'.repeat(200));
    await expect(ask(server.path, '/v1/breaks')).rejects.toThrow();
    expect(faults).toEqual([['GET', '/v1/breaks']]);
  });
});

test("routes of audience owner are for root and the daemon's own user alone", async () => {
  const asked: string[] = [];
  const noted =
    (path: string): Handle =>
    () => {
      asked.push(path);
      return { value: 1 };
    };
  await using server = await control([
    route('PUT', '/v1/owner', noted('owner'), 'owner'),
    route('DELETE', '/v1/owner', noted('owner'), 'owner'),
    route('PUT', '/v1/local', noted('local'), 'local'),
  ]);
  chmodSync(server.path, 0o666);
  const as = async (uid: number, method: string, path: string) =>
    JSON.parse(
      await run([
        'setpriv',
        `--reuid=${uid}`,
        '--clear-groups',
        'curl',
        '-s',
        '-X',
        method,
        '-H',
        'content-type: application/json',
        '-d',
        '{}',
        '--unix-socket',
        server.path,
        `http://x${path}`,
      ]),
    ) as unknown;
  const refused = { error: { code: 'forbidden', message: expect.stringContaining('user 65534 may not') } };
  expect(await as(65534, 'PUT', '/v1/owner')).toEqual(refused);
  expect(await as(65534, 'DELETE', '/v1/owner')).toEqual(refused);
  expect(asked).toEqual([]);
  expect(await as(65534, 'PUT', '/v1/local')).toBe(1);
  expect(await as(0, 'PUT', '/v1/owner')).toBe(1);
  expect(asked).toEqual(['local', 'owner']);
});

test('2,000 connections at once: who is too much is refused, and then all is as before', async () => {
  await using server = await control([route('GET', '/v1/x', () => ({ value: 1 }))]);
  const all = Array.from({ length: 2_000 }, () => net.connect(server.path).on('error', () => {}));
  let closed = 0;
  for (const socket of all) {
    socket.once('close', () => closed++);
    socket.resume();
  }
  await until('those that are too many to be refused', () => closed >= 976);
  for (const socket of all) socket.destroy();
  await until('the server to answer', async () => (await ask(server.path, '/v1/x')).status === 200);
  // They may also all ask.
  const told = await Promise.allSettled(Array.from({ length: 1_000 }, () => ask(server.path, '/v1/x')));
  expect(told.filter((t) => t.status === 'fulfilled' && t.value.status === 200)).toHaveLength(1_000);
});

describe('a stream', () => {
  const forever =
    (chunk: string, asked: { count: number }): Handle =>
    () => ({
      type: 'text/event-stream',
      stream: (async function* () {
        for (;;) {
          asked.count++;
          yield chunk;
        }
      })(),
    });
  const silent: Handle = ({ signal }) => ({
    type: 'text/event-stream',
    stream: (async function* () {
      await once(signal, 'abort');
      yield '';
    })(),
  });

  test('asks for nothing that its reader does not take, and cuts off one that has stopped', async () => {
    const asked = { count: 0 };
    await using server = await control(
      [route('GET', '/v1/s', forever(`data: ${'x'.repeat(10_000)}\n\n`, asked))],
      {
        streams: { beat: 200 },
      },
    );
    const socket = net.connect(server.path);
    const closed = once(socket, 'close');
    socket.on('error', () => {});
    socket.write('GET /v1/s HTTP/1.1\r\nhost: x\r\n\r\n');
    socket.pause();
    await until('it to begin', () => asked.count > 0);
    let before = -1;
    await until(
      'it to stall',
      () => {
        const same = asked.count === before;
        before = asked.count;
        return same;
      },
      5_000,
      50,
    );
    // What fits into the kernel's buffers and ours, and no more.
    expect(asked.count).toBeLessThan(200);
    socket.resume();
    await closed;
  });

  test('is not cut off for its silence, and shows that it lives', async () => {
    await using server = await control([route('GET', '/v1/s', silent)], {
      streams: { beat: 400 },
      idle: 200,
    });
    // A machine that is busy may be too slow for such a server to be asked at once.
    using stream = await until('a stream', async () => {
      const opened = await EventStream.open(server.path, '/v1/s');
      return opened.status === 200 && opened;
    });
    const idle = net.connect(server.path).on('error', () => {});
    await once(idle.resume(), 'close');
    await until('signs of life long after others are cut off', () => stream.comments > 3);
    expect(stream.ended).toBe(false);
  });

  test('is one of few, and its place is free again', async () => {
    await using server = await control([route('GET', '/v1/s', silent)], { streams: { most: 2 } });
    const [a, b] = [
      await EventStream.open(server.path, '/v1/s'),
      await EventStream.open(server.path, '/v1/s'),
    ];
    const third = await ask(server.path, '/v1/s');
    expect([third.status, codeOf(third.body), third.headers['retry-after']]).toEqual([503, 'busy', '10']);
    a[Symbol.dispose]();
    await until('the place to be free', async () => {
      using c = await EventStream.open(server.path, '/v1/s');
      return c.status === 200;
    });
    b[Symbol.dispose]();
  });

  test('ends in order with the server, which waits for no reader', async () => {
    const asked = { count: 0 };
    const server = await control([
      // It does not even look whether it is to end.
      route('GET', '/v1/silent', () => ({
        type: 'text/event-stream',
        stream: (async function* () {
          await new Promise(() => {});
          yield '';
        })(),
      })),
      route('GET', '/v1/busy', forever(`${'x'.repeat(10_000)}`, asked)),
    ]);
    const { path } = server;
    const stuck = net.connect(path);
    stuck.on('error', () => {});
    stuck.write('GET /v1/busy HTTP/1.1\r\nhost: x\r\n\r\n');
    stuck.pause();
    await until('it to begin', () => asked.count > 0);
    const socket = net.connect(path);
    let text = '';
    socket.setEncoding('utf8').on('data', (d: string) => (text += d));
    socket.write('GET /v1/silent HTTP/1.1\r\nhost: x\r\n\r\n');
    await until('the stream to begin', () => text.includes(':\n\n'));
    const closed = once(socket, 'close');
    await server[Symbol.asyncDispose]();
    await closed;
    // The last chunk of a chunked answer: it is whole.
    expect(text).toMatch(/\r\n0\r\n\r\n$/);
    expect(existsSync(path)).toBe(false);
    stuck.destroy();
  });
});

describe('at --metrics-addr', () => {
  /** A port nobody has, on an address of our own. */
  const port = 20_000 + ((process.pid * 7) % 12_000);
  const at = (host: string, p: number) => ({ host: parseAddr(host), port: p });
  const routes = [
    route('GET', '/v1/open'),
    route('GET', '/v1/local', undefined, 'local'),
    route('GET', '/v1/owner', undefined, 'owner'),
    route('POST', '/v1/open', undefined, 'local'),
    route('POST', '/v1/odd', undefined, 'anyone'),
  ];

  test('is what anybody may read, and nothing else; with headers against misuse', async () => {
    await using _ = await servePublic(at('127.0.0.1', port), { ready: () => false, routes });
    const open = await ask(port, '/v1/open');
    expect(open.status).toBe(200);
    expect(open.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'$/,
      ),
      'cross-origin-resource-policy': 'same-origin',
    });
    expect(open.headers['content-security-policy']).not.toContain('unsafe');
    for (const name of Object.keys(open.headers)) expect(name).not.toMatch(/^access-control/);
    expect((await ask(port, '/v1/local')).status).toBe(404);
    expect((await ask(port, '/v1/owner')).status).toBe(404);
    const post = await ask(port, '/v1/open', { method: 'POST', body: {} });
    expect([post.status, post.headers.allow]).toEqual([405, 'GET, HEAD']);
    expect((await ask(port, '/v1/odd', { method: 'POST', body: {} })).status).toBe(404);
    expect((await ask(port, '/v1/cni', { method: 'POST', body: {} })).status).toBe(404);
    expect(
      (await ask(port, '/v1/open', { method: 'OPTIONS', headers: { origin: 'http://evil' } })).status,
    ).toBe(405);
    expect((await ask(port, '/readyz')).status).toBe(503);
    expect((await ask(port, '/healthz')).body).toBe('flanneld is running');
  });

  test.each([
    ['127.0.0.1:9459', true],
    ['[::1]:9459', true],
    ['localhost:9459', true],
    ['LOCALHOST', true],
    ['10.0.0.1', true],
    ['evil.example:9459', false],
    ['localhost.evil.example', false],
    ['127.0.0.1.evil.example', false],
    ['127.0.0.1@evil', false],
    ['', false],
    [undefined, false],
  ])('on a loopback address Host %s is answered: %s', async (host, ok) => {
    const headers = host === undefined ? {} : { host };
    for (const localAddress of ['127.0.0.1', '::1', '::ffff:127.0.0.53']) {
      const asked = () => refuseStrangeName({ headers, socket: { localAddress } });
      if (ok) expect(asked).not.toThrow();
      else expect(asked).toThrow(expect.objectContaining({ status: 421 }));
    }
    for (const localAddress of ['192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1', 'fe80::1%eth0'])
      expect(() => refuseStrangeName({ headers, socket: { localAddress } })).not.toThrow();
  });

  test('a strange name is refused on a loopback address, also when all addresses are listened on', async () => {
    {
      await using _ = await servePublic(at('127.0.0.1', port), { ready: () => true, routes });
      const told = await ask(port, '/v1/open', { headers: { host: 'evil.example' } });
      expect([told.status, codeOf(told.body)]).toEqual([421, 'misdirected']);
      expect((await ask(port, '/healthz', { headers: { host: 'evil.example' } })).status).toBe(421);
    }
    await using _ = await servePublic({ host: undefined, port }, { ready: () => true, routes });
    expect((await ask(port, '/v1/open', { headers: { host: 'evil.example' } })).status).toBe(421);
    expect((await ask(port, '/v1/open')).status).toBe(200);
  });

  test('what cannot be listened on is said, with what to do', async () => {
    const parts = { ready: () => true, routes };
    await using _ = await servePublic(at('127.0.0.1', port), parts);
    await expect(servePublic(at('127.0.0.1', port), parts)).rejects.toMatchObject({
      exitCode: 1,
      message: `cannot listen on 127.0.0.1:${port}: EADDRINUSE: another program listens there (\`ss -ltnp\` tells which); choose another --metrics-addr`,
    });
    await expect(servePublic(at('2001:db8::77', port), parts)).rejects.toThrow(
      `cannot listen on [2001:db8::77]:${port}: EADDRNOTAVAIL: this host has no such address`,
    );
    await expect(serveHealth('127.0.0.1', port, () => true)).rejects.toThrow(
      'choose another --healthz-ip or --healthz-port',
    );
  });

  test('the page is files of one folder, kept by browsers for as long as they are the same', async () => {
    const root = join(dir, 'page/');
    mkdirSync(join(root, 'assets', 'deep'), { recursive: true });
    writeFileSync(join(dir, 'secret.js'), 'secret');
    writeFileSync(join(root, 'index.html'), '<html>');
    writeFileSync(join(root, '.hidden.js'), 'secret');
    writeFileSync(join(root, 'other.exe'), 'secret');
    writeFileSync(join(root, 'assets', 'index-DNya29Q3.js'), 'x');
    writeFileSync(join(root, 'assets', 'plain.css'), 'y');
    writeFileSync(join(root, 'assets', 'deep', 'z.js'), 'secret');
    symlinkSync('/etc', join(root, 'assets', 'etc.js'));
    await using _ = await servePublic(at('127.0.0.1', port), { ready: () => true, routes: pageRoutes(root) });
    const index = await ask(port, '/');
    expect([index.status, index.body, index.headers['content-type']]).toEqual([
      200,
      '<html>',
      'text/html; charset=utf-8',
    ]);
    expect(index.headers['cache-control']).toBe('no-cache');
    const again = await ask(port, '/', { headers: { 'if-none-match': `"x", ${index.headers.etag}` } });
    expect([again.status, again.body]).toEqual([304, '']);
    writeFileSync(join(root, 'index.html'), '<html lang="">');
    expect((await ask(port, '/', { headers: { 'if-none-match': index.headers.etag! } })).status).toBe(200);
    const script = await ask(port, '/assets/index-DNya29Q3.js');
    expect(script.headers['content-type']).toBe('text/javascript; charset=utf-8');
    expect(script.headers['cache-control']).toContain('immutable');
    expect((await ask(port, '/assets/plain.css')).headers['cache-control']).toBe('no-cache');
    expect((await ask(port, '/', { method: 'HEAD' })).headers['content-length']).toBe('14');
    for (const path of [
      '/secret.js',
      '/..%2fsecret.js',
      '/%2e%2e%2fsecret.js',
      '/../secret.js',
      '/assets/../../secret.js',
      '/assets/..%2f..%2fsecret.js',
      '/assets/deep%2fz.js',
      '/assets/deep/z.js',
      '/assets/deep',
      '/assets/',
      '/assets/etc.js',
      '/.hidden.js',
      '/other.exe',
      '/index.html%00.js',
      '/assets/%5c..%5c..%5csecret.js',
    ]) {
      const told = await ask(port, path);
      expect([path, told.status, told.body.includes('secret"')]).toEqual([path, 404, false]);
    }
    rmSync(root, { recursive: true });
    expect(await ask(port, '/')).toMatchObject({
      status: 404,
      body: expect.stringContaining('npm run build'),
    });
  });
});
