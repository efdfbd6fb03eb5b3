import { rm, writeFile } from 'node:fs/promises';
import type http from 'node:http';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { stream } from '../../src/api/client.ts';
import { NoDaemonError } from '../../src/api/faults.ts';
import { follow } from '../../src/cli/daemon.ts';
import { EventStream } from '../../src/cli/sse.ts';
import { LodenError } from '../../src/errors.ts';
import { EVENTS, INSTANCE, PEERS } from '../fake/apiValues.ts';
import { ALL, cliDaemon, LEASES } from '../fake/cliDaemon.ts';
import { type FakeIo, fakeIo } from '../fake/io.ts';
import { until } from '../support/proc.ts';

/** Commands that go on. */

const cli = cliDaemon();

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
    await cli.daemon({ ...ALL, '/v1/events/stream': stream });
    const io = fakeIo();
    const done = cli.run(['events', '--follow', '--json', '--kind=path'], io);
    await until('the stream', () => streams.length === 1);
    expect(lines(io).map((e) => e.id)).toEqual([1, 2, 3]);
    expect(cli.requests.at(-1)).toMatchObject({
      url: '/v1/events/stream?kind=path',
      headers: { 'last-event-id': `${INSTANCE}-3` },
    });
    tell(4);
    streams[0]!.write('event: missed\ndata: {"missed":7}\n\n');
    await until('the fourth', () => lines(io).length === 4 && io.warned.length === 1);
    expect(io.warned).toEqual(['7 events were dropped before they came here']);
    streams[0]!.destroy();
    await until('another stream', () => streams.length === 2);
    expect(cli.requests.at(-1)?.headers['last-event-id']).toBe(`${INSTANCE}-4`);
    tell(5);
    await until('the fifth', () => lines(io).length === 5);
    io.hangUp();
    expect(await done).toMatchObject({ code: 0 });
  });

  test('loden leases --watch --json: what changes, a line each', async () => {
    const second = { ...LEASES, revision: '6', leases: [{ ...LEASES.leases[0]!, modRevision: '6' }] };
    const answers = [LEASES, LEASES, second];
    await cli.daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/leases': (res: http.ServerResponse) =>
        void res.end(JSON.stringify(answers.length > 1 ? answers.shift() : answers[0])),
    });
    const io = fakeIo();
    const done = cli.run(['leases', '--watch', '--json'], io);
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
    await cli.daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/peers': (res: http.ServerResponse) => void res.end(JSON.stringify(now)),
    });
    const io = fakeIo();
    const done = cli.run(['peers', '--watch'], io);
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
    const shown = cli.run(['peers', '--watch', '--color=never'], terminal);
    await until('a screen', () => terminal.printed.length > 0);
    terminal.hangUp();
    await shown;
    const text = terminal.printed[0]!;
    expect(text.startsWith('\u001b[H')).toBe(true);
    expect(text.split('\n')).toHaveLength(5);
    expect(text).toMatch(/… \d+ more lines/);
  });

  test('what is not there at the start is an error; what goes later is waited for', async () => {
    await cli.daemon({ ...ALL, '/v1/events/stream': stream });
    const io = fakeIo();
    const done = cli.run(['leases', '--watch', '--source=daemon'], io);
    await until('the list', () => io.printed.length === 1);
    await cli.gone();
    await until('a word about it', () =>
      io.warned.some((w) => /no loden daemon answers.*trying again/.test(w)),
    );
    await cli.daemon({
      ...ALL,
      '/v1/events/stream': stream,
      '/v1/leases': { ...LEASES, revision: '9', leases: [] },
    });
    await until('what has changed since', () => io.printed.length === 3);
    io.hangUp();
    expect(await done).toMatchObject({ code: 0 });
  });
});

test('what cannot be a daemon is none for a stream too, and a refusal is told in its words', async () => {
  const first = (runDir: string) => follow(runDir, {}, new AbortController().signal).next();
  await writeFile(join(cli.runDir, 'file'), '');
  await expect(first(join(cli.runDir, 'file'))).rejects.toThrow(NoDaemonError);
  await writeFile(join(cli.runDir, 'loden.sock'), '');
  await expect(first(cli.runDir)).rejects.toThrow(NoDaemonError);
  await rm(join(cli.runDir, 'loden.sock'));
  await cli.daemon({
    '/v1/events/stream': (res: http.ServerResponse) =>
      void res.writeHead(400).end('{"error":{"code":"bad-request","message":"no such kind"}}'),
  });
  await expect(first(cli.runDir)).rejects.toThrow(/refuses \/v1\/events\/stream\?: no such kind$/);
});

test('a stream that falls silent is given up', async () => {
  await cli.daemon(ALL);
  const patience = { open: 5_000, silence: 30 };
  const open = stream(cli.runDir, '/v1/events/stream', {}, new AbortController().signal, patience);
  expect([(await open.next()).value, (await open.next()).value]).toEqual(['', ':\n\n']);
  await expect(open.next()).rejects.toThrow(/no answer within 30 ms: the daemon hangs/);
});

test('a stream that is no stream of events is an error of the daemon, not of ours', async () => {
  for (const [text, words] of [
    ['data: '.padEnd(3 << 20, 'x'), /in another shape: a line of more than/],
    ['data: {"id":1}\n\n', /in another shape/],
    ['data: <html>\n\n', /in another shape: it is not JSON/],
  ] as const) {
    await cli.daemon({ '/v1/events/stream': (res: http.ServerResponse) => void res.write(text) });
    const stream = follow(cli.runDir, {}, new AbortController().signal);
    expect(await stream.next()).toEqual({ value: { open: true }, done: false });
    const failure = await stream.next().catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(LodenError);
    expect((failure as LodenError).message).toMatch(words);
    await cli.gone();
  }
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
