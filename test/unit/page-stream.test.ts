import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventStream } from '../../page/src/data/stream.ts';
import { EventStreamText, type Message } from '../../page/src/model/sse.ts';
import { EventLog } from '../../src/daemon/events/log.ts';
import { ApiServer } from '../../src/daemon/http/server.ts';
import { eventRoutes } from '../../src/daemon/routes/events.ts';
import { until } from '../support/proc.ts';

describe('text/event-stream', () => {
  const TEXT =
    ':\n\nid: a-1\ndata: {"x":"é → 1"}\n\nevent: missed\r\ndata: 1\r\ndata:2\r\n\r\nid: a-2\n\ndata\n\n';
  const MESSAGES: readonly Message[] = [
    { event: 'message', id: 'a-1', data: '{"x":"é → 1"}' },
    { event: 'missed', id: 'a-1', data: '1\n2' },
    { event: 'message', id: 'a-2', data: '' },
  ];

  test('is taken apart wherever it is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(TEXT.length)), (cuts) => {
        const text = new EventStreamText();
        const at = [0, ...cuts.toSorted((a, b) => a - b), TEXT.length];
        expect(at.slice(1).flatMap((end, i) => text.push(TEXT.slice(at[i], end)))).toEqual(MESSAGES);
      }),
    );
  });
});

describe('events', () => {
  /** Serves one log of a daemon after the other, always at the same port. */
  async function follow(first: EventLog) {
    const serve = async (log: EventLog, port: number) => {
      const api = new ApiServer({ routes: eventRoutes({ events: log }), most: 10 });
      await api.listen({ port, host: '127.0.0.1' });
      return api;
    };
    const api = await serve(first, 0);
    const { port } = api.server.address() as AddressInfo;
    const seen: string[] = [];
    const open: boolean[] = [];
    const stream = new EventStream({
      url: `http://127.0.0.1:${port}/v1/events/stream?since=0`,
      onEvents: (instance, events) => seen.push(...events.map((e) => `${instance}-${e.id}`)),
      onOpen: (is) => open.push(is),
    });
    const next = (log: EventLog) => serve(log, port);
    return { stream, seen, open, api, next };
  }
  const note = (log: EventLog, count: number) => {
    for (let i = 0; i < count; i++) log.note({ level: 'info', kind: 'daemon', message: `event ${i}` });
  };

  test('are told each once, also those from between two connections', async () => {
    const log = new EventLog('aa');
    note(log, 2);
    const { stream, seen, open, api, next } = await follow(log);
    stream.set(true);
    await until('what was there before', () => seen.length === 2);
    note(log, 1);
    await until('what happens', () => seen.length === 3);
    await api.close();
    await until('word of the end', () => open.at(-1) === false);
    note(log, 2);
    const again = await next(log);
    await until('what happened meanwhile', () => {
      stream.now();
      return seen.length === 5;
    });
    stream.set(false);
    expect(open.at(-1)).toBe(false);
    note(log, 1);
    stream.set(true);
    await until('what happened while nobody looked', () => seen.length === 6);
    stream.set(false);
    await again.close();
    expect(seen).toEqual(['aa-1', 'aa-2', 'aa-3', 'aa-4', 'aa-5', 'aa-6']);
  });

  test.each([1, 3, 5])('of a daemon that has started meanwhile and has %i are all told', async (count) => {
    const before = new EventLog('aa');
    note(before, 3);
    const { stream, seen, open, api, next } = await follow(before);
    stream.set(true);
    await until('the first three', () => seen.length === 3);
    await api.close();
    await until('word of the end', () => open.at(-1) === false);
    const after = new EventLog('bb');
    note(after, count);
    const again = await next(after);
    await until('those of the next daemon', () => {
      stream.now();
      return seen.length === 3 + count;
    });
    stream.set(false);
    await again.close();
    expect(seen.slice(3)).toEqual(Array.from({ length: count }, (_, i) => `bb-${i + 1}`));
  });
});
