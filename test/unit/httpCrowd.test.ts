import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { serveControl } from '../../src/daemon/http/control.ts';
import { Places } from '../../src/daemon/http/places.ts';
import type { Route } from '../../src/daemon/http/route.ts';
import { servePublic } from '../../src/daemon/http/tcp.ts';
import { parseAddr } from '../../src/net/addr.ts';
import { ask } from '../support/ask.ts';
import { until } from '../support/proc.ts';

/** Many at once, and those who take more than their share. */

const dir = mkdtempSync(join(tmpdir(), 'loden-crowd-'));
afterAll(() => rmSync(dir, { recursive: true }));

const port = 32_000 + ((process.pid * 7) % 12_000);
const path = join(dir, 'loden.sock');

const route = (path: string, handle: Route['handle']): Route => ({
  method: 'GET',
  path,
  audience: 'anyone',
  handle,
});

/** The same routes by the socket and by TCP. */
async function both(routes: readonly Route[]): Promise<AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const parts = { ready: () => true, routes };
  stack.use(await serveControl(path, parts));
  stack.use(await servePublic({ host: parseAddr('127.0.0.1'), port }, parts));
  return stack;
}

type To = { readonly path: string } | { readonly host: string; readonly port: number };
const SOCKET: To = { path };
const tcp = (localAddress = '127.0.0.1') => ({ host: '127.0.0.1', port, localAddress });

/** A connection on which bytes are sent as they are, and nothing is read unless `reads`. */
async function connection(to: To, text: string, reads = true) {
  const socket = net.connect(to);
  let [answer, closed] = ['', false];
  socket.on('error', () => {});
  socket.once('close', () => (closed = true));
  if (reads) socket.setEncoding('latin1').on('data', (d: string) => (answer += d));
  await once(socket, 'connect');
  socket.write(text);
  return {
    get answer() {
      return answer;
    },
    get closed() {
      return closed;
    },
    read: () => socket.setEncoding('latin1').on('data', (d: string) => (answer += d)),
    [Symbol.dispose]: () => socket.destroy(),
  };
}

const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;

/** The turn of the event loop that it is. */
function turnCounter(): { readonly now: number } & Disposable {
  let turn = 0;
  let next = setImmediate(function count() {
    turn++;
    next = setImmediate(count);
  });
  return {
    get now() {
      return turn;
    },
    [Symbol.dispose]: () => clearImmediate(next),
  };
}

/** How often the same came more than once. */
const repeated = (all: readonly number[]): number => all.length - new Set(all).size;

describe('requests that do not wait for the answer before', () => {
  test.each([
    ['the socket', SOCKET],
    ['TCP', tcp()],
  ])('end their connection, by %s, and keep nobody busy', async (_, to) => {
    let handled = 0;
    const held = Promise.withResolvers<void>();
    await using _server = await both([
      route('/v1/slow', async () => {
        handled++;
        await held.promise;
        return { value: 1 };
      }),
      route('/v1/quick', () => ({ value: 2 })),
    ]);
    using hostile = await connection(to, request('/v1/slow').repeat(1_500));
    await until('the connection to be closed', () => hostile.closed);
    expect(handled).toBeLessThanOrEqual(1);
    expect(hostile.answer).toBe('');
    held.resolve();
    expect((await ask('path' in to ? to.path : to.port, '/v1/quick')).body).toBe('2\n');
  });

  test('one after the other they are answered on the same connection', async () => {
    const ports = new Set<number | undefined>();
    await using _server = await both([
      route('/v1/long', () => ({ pieces: Array.from({ length: 50 }, () => 'x'.repeat(10_000)) })),
    ]);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    // Asked at once: the agent sends the next when the one before is answered.
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const [res] = (await once(get({ ...tcp(), path: '/v1/long', agent }), 'response')) as [
          IncomingMessage,
        ];
        ports.add(res.socket.localPort);
        let length = 0;
        for await (const chunk of res) length += (chunk as Buffer).length;
        return length;
      }),
    );
    agent.destroy();
    expect(answers).toEqual(answers.map(() => 500_000));
    expect(ports.size).toBe(1);
  });
});

describe('however many ask', () => {
  test('one request is begun in a turn of the event loop, and one long answer goes on', async () => {
    using turns = turnCounter();
    const [begun, wentOn]: [number[], number[]] = [[], []];
    // What all long answers wait for, as for counters that are read.
    const ready = Promise.withResolvers<void>();
    let waiting = 0;
    await using _server = await both([
      route('/v1/value', () => ({ value: begun.push(turns.now) })),
      route('/v1/long', async () => {
        if (++waiting === 24) ready.resolve();
        await ready.promise;
        return {
          pieces: (function* () {
            // Each is as much as is written at once.
            for (let i = 0; i < 20; i++) {
              wentOn.push(turns.now);
              yield 'x'.repeat(16_384);
            }
          })(),
        };
      }),
    ]);
    const told = await Promise.all([
      ...Array.from({ length: 40 }, () => ask(path, '/v1/value')),
      ...Array.from({ length: 40 }, () => ask(port, '/v1/value')),
      ...Array.from({ length: 16 }, () => ask(path, '/v1/long')),
      ...Array.from({ length: 8 }, () => ask(port, '/v1/long')),
    ]);
    expect(new Set(told.map(({ status }) => status))).toEqual(new Set([200]));
    expect([begun.length, wentOn.length]).toEqual([80, 24 * 20]);
    expect(repeated([...begun, ...wentOn])).toBe(0);
  });

  test('long answers that nobody reads are no more than 32, and 8 by TCP to one address; others are told to come later', async () => {
    await using _server = await both([
      route('/v1/long', () => ({
        pieces: (function* () {
          for (let i = 0; i < 5_000; i++) yield 'x'.repeat(10_000);
        })(),
      })),
      route('/v1/value', () => ({ value: 1 })),
    ]);
    const full = async (to: To, most: number, where: string | number) => {
      const held: Disposable[] = [];
      for (let i = 0; i < most; i++) held.push(await connection(to, request('/v1/long'), false));
      await until('no more to be begun', async () => {
        using more = await connection(to, request('/v1/long'));
        await until('an answer', () => more.answer !== '');
        return more.answer.startsWith('HTTP/1.1 503') && /retry-after: 1\r/i.test(more.answer);
      });
      expect((await ask(where, '/v1/value')).status).toBe(200);
      return held;
    };
    const byTcp = await full(tcp(), 8, port);
    // Another address has places of its own, until there are none at all.
    for (const other of ['127.0.0.2', '127.0.0.3', '127.0.0.4'])
      byTcp.push(...(await full(tcp(other), 8, port)));
    using refused = await connection(tcp('127.0.0.5'), request('/v1/long'));
    await until('it to be refused', () => refused.answer.startsWith('HTTP/1.1 503'));
    const bySocket = await full(SOCKET, 32, path);
    for (const one of [...byTcp, ...bySocket]) one[Symbol.dispose]();
    for (const [to, where] of [
      [tcp(), port],
      [SOCKET, path],
    ] as const) {
      await until('there to be places again', async () => {
        using again = await connection(to, request('/v1/long'));
        await until('an answer', () => again.answer !== '');
        return again.answer.startsWith('HTTP/1.1 200');
      });
      expect((await ask(where, '/v1/value')).status).toBe(200);
    }
  });

  test('one address has 64 connections by TCP, and 8 streams; the next of another address is served', async () => {
    const ending = new AbortController();
    await using _server = await both([
      route('/v1/stream', ({ signal }) => ({
        stream: (async function* () {
          yield '';
          await once(AbortSignal.any([signal, ending.signal]), 'abort');
        })(),
        type: 'text/event-stream',
      })),
    ]);
    using stack = new DisposableStack();
    for (let i = 0; i < 8; i++) {
      const stream = stack.use(await connection(tcp(), request('/v1/stream')));
      await until('it to begin', () => stream.answer.startsWith('HTTP/1.1 200'));
    }
    const ninth = stack.use(await connection(tcp(), request('/v1/stream')));
    await until('it to be refused', () => ninth.answer.startsWith('HTTP/1.1 503'));
    const other = stack.use(await connection(tcp('127.0.0.2'), request('/v1/stream')));
    await until('it to begin', () => other.answer.startsWith('HTTP/1.1 200'));
    // Half of a request keeps a connection.
    const idle: { readonly closed: boolean }[] = [];
    for (let i = 0; i < 70; i++) idle.push(stack.use(await connection(tcp(), 'GET / HT')));
    await until('some to be closed', () => idle.filter(({ closed }) => closed).length === 70 - (64 - 9));
    const third = stack.use(await connection(tcp('127.0.0.2'), request('/healthz')));
    await until('an answer', () => third.answer.startsWith('HTTP/1.1 200'));
    ending.abort();
  });
});

test('a place is given back once, and to whom it belongs', () => {
  const places = new Places(3, 2);
  const [a, b] = [places.take('a')!, places.take('a')!];
  expect(places.take('a')).toBeUndefined();
  const c = places.take(undefined)!;
  expect(places.take('b')).toBeUndefined();
  a();
  a();
  expect(places.size).toBe(2);
  expect(places.take('a')).toBeDefined();
  expect(places.take('a')).toBeUndefined();
  for (const leave of [b, c]) leave();
  // Who has no address is not counted by it.
  expect([places.take(undefined), places.take(undefined)]).not.toContain(undefined);
  expect(places.take(undefined)).toBeUndefined();
});
