import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { backoff, STORE_BACKOFF } from '../../src/backoff.ts';
import { Latest } from '../../src/latest.ts';

it('a follower sees the value there is, then the newest ones, and ends with its signal', async () => {
  const latest = new Latest<number>(1);
  const stop = new AbortController();
  const seen: number[] = [];
  let go = () => {};
  const done = (async () => {
    for await (const n of latest.follow(stop.signal)) {
      seen.push(n);
      if (n === 1) await new Promise<void>((resolve) => (go = resolve));
    }
  })();
  await turn();
  latest.set(2);
  latest.set(3);
  go();
  await turn();
  latest.set(4);
  await turn();
  expect(seen).toEqual([1, 3, 4]);
  stop.abort();
  await done;
  latest.set(5);
  expect([seen.length, latest.value]).toEqual([3, 5]);
});

it('undefined is a value too, once it is set', async () => {
  const latest = new Latest<string | undefined>();
  const stop = new AbortController();
  const first = latest.follow(stop.signal).next();
  latest.set(undefined);
  expect(await first).toEqual({ done: false, value: undefined });
});

it('pauses double from 0.1 s to 5 s, of which at least half is kept', () => {
  const longest = Array.from({ length: 9 }, (_, i) => backoff(i + 1, STORE_BACKOFF, () => 1));
  expect(longest).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  expect(backoff(3, STORE_BACKOFF, () => 0)).toBe(200);
  expect(backoff(1_000_000, STORE_BACKOFF, () => 0.5)).toBe(3750);
});
