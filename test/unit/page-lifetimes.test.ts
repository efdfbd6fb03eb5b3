import { expect, test } from 'vitest';
import { LifeBook } from '../../page/src/model/lifetimes.ts';
import type { LifetimesJson } from '../../src/api/shapes.ts';

const DAY = 86_400;
const answer = (
  leases: Readonly<Record<string, { secondsLeft: number; ttl: number; age?: number } | null>>,
): LifetimesJson => ({
  at: '2026-01-01T00:00:00.000Z',
  leases: Object.fromEntries(Object.entries(leases).map(([key, life]) => [key, life && { age: 0, ...life }])),
});
const never = () => false;

test('only lifetimes that have changed are passed on', () => {
  const book = new LifeBook();
  expect(book.take(answer({ a: { secondsLeft: 60, ttl: 90 }, b: null }), 1_000, never)).toEqual({
    changed: [{ key: 'a', endsAt: 61_000, ttl: 90, isExpiring: false }],
    gone: [],
  });
  // Two seconds later it has two less, or nearly so.
  expect(book.take(answer({ a: { secondsLeft: 59, ttl: 90 } }), 3_000, never)).toEqual({
    changed: [],
    gone: [],
  });
  const renewed = book.take(answer({ a: { secondsLeft: 90, ttl: 90 } }), 4_000, never);
  expect(renewed.changed).toEqual([{ key: 'a', endsAt: 94_000, ttl: 90, isExpiring: false }]);
  // It was well when etcd told, and may have been renewed since.
  const old = { secondsLeft: 40, ttl: 90, age: 30 };
  expect(book.take(answer({ a: old }), 54_000, never).changed).toEqual([]);
  // As long as nobody renews it nothing but that changes, and that once.
  expect(book.take(answer({ a: { secondsLeft: 44, ttl: 90 } }), 50_000, never).changed).toHaveLength(1);
  expect(book.take(answer({ a: { secondsLeft: 43, ttl: 90 } }), 51_000, never).changed).toHaveLength(0);
  expect(book.take(answer({ a: null }), 52_000, never).gone).toEqual(['a']);
  expect(book.take(answer({}), 53_000, never)).toEqual({ changed: [], gone: [] });
});

test.each([
  [DAY, DAY / 2, false, false],
  [DAY, DAY / 2 - 1, false, true],
  [120, 59, false, true],
  // flanneld renews when an hour is left.
  [DAY, 3_600, true, false],
  [DAY, 3_200, true, true],
  [120, 59, true, true],
])(
  'of %i s there are %i left, a node of flannel: %j; expiring: %j',
  (ttl, secondsLeft, isFlannel, expiring) => {
    const { changed } = new LifeBook().take(answer({ a: { secondsLeft, ttl } }), 0, () => isFlannel);
    expect(changed[0]!.isExpiring).toBe(expiring);
  },
);
