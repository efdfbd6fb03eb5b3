import { describe, expect, test } from 'vitest';
import { chunks, Differ } from '../../page/src/model/differ.ts';
import { delay, hurry, LONGEST } from '../../page/src/model/schedule.ts';
import { OpenApi } from '../support/openapi.ts';
import { PretendCluster } from '../support/pretendCluster.ts';

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
    ['/v1/lifetimes', cluster.lifetimes()],
    ['/v1/peers', cluster.peers()],
    ['/v1/matrix', cluster.matrix()],
    ['/v1/events', cluster.events.read()],
  ] as const) {
    expect(api.problems('GET', path, 200, 'application/json', JSON.stringify(value))).toEqual([]);
  }
});
