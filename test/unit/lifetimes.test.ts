import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { LifetimesJson } from '../../src/api/shapes.ts';
import { Lifetimes } from '../../src/daemon/lifetimes.ts';
import type { TimeToLive } from '../../src/subnet/api.ts';
import type { Lease, SubnetKey } from '../../src/subnet/types.ts';

/** When etcd is asked how long leases have left; what it says is shown by test/netns/etcd-lifetimes.test.ts. */

// Not performance.now(), by which long loops are cut into slices.
beforeEach(
  () =>
    void vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'],
    }),
);
afterEach(() => void vi.useRealTimers());

const keyOf = (i: number) => `10.5.${i}.0-24` as SubnetKey;

function setup(count: number, told: Partial<TimeToLive> = {}) {
  const lease = (i: number): [SubnetKey, Lease] => [keyOf(i), { etcdLease: BigInt(i) } as Lease];
  const world = {
    leases: new Map(Array.from({ length: count }, (_, i) => lease(i + 1))) as
      | Map<SubnetKey, Lease>
      | undefined,
    asked: [] as bigint[],
    isAway: false,
    told: { secondsLeft: 80_000, ttl: 86_400, ...told } as TimeToLive | undefined,
  };
  const lifetimes = new Lifetimes({
    leases: () => world.leases,
    ask: async (etcdLease) => {
      world.asked.push(etcdLease);
      if (world.isAway) throw new Error('etcd is away');
      return world.told;
    },
    now: () => Date.now(),
  });
  const read = () => JSON.parse([...lifetimes.text()].join('')) as LifetimesJson;
  return Object.assign(world, { lifetimes, read });
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test('each lease is asked once, at most 20 in a second, and reservations are not', async () => {
  const world = setup(100);
  world.leases!.set(keyOf(200), { etcdLease: 'reservation' } as Lease);
  expect(Object.values(world.read().leases)).toEqual(Array(100).fill(null));
  await pass(1_000);
  expect(world.asked.length).toBeGreaterThan(10);
  expect(world.asked.length).toBeLessThanOrEqual(21);
  await pass(9_000);
  expect(world.asked).toEqual(Array.from({ length: 100 }, (_, i) => BigInt(i + 1)));
  const { leases } = world.read();
  expect(Object.keys(leases)).toHaveLength(100);
  // It was told some seconds ago.
  const { secondsLeft, ttl, age } = leases[keyOf(1)]!;
  expect([secondsLeft + age, ttl]).toEqual([80_000, 86_400]);
  expect(age).toBeGreaterThanOrEqual(9);
});

test.each([
  ['of a day, after five minutes', { secondsLeft: 80_000, ttl: 86_400 }, 300],
  ['of ten minutes, after one', { secondsLeft: 500, ttl: 600 }, 60],
  ['of a day that has little left, sooner', { secondsLeft: 80, ttl: 86_400 }, 20],
  ['that is about to end, not all the time', { secondsLeft: 0, ttl: 86_400 }, 1],
])('a lease %s is asked again', async (_, told, after) => {
  const world = setup(1, told);
  const asker = setInterval(() => world.read(), 10_000);
  world.read();
  await pass(after * 1_000 - 100);
  expect(world.asked).toHaveLength(1);
  await pass(2_000);
  expect(world.asked.length).toBeGreaterThan(1);
  clearInterval(asker);
});

test('a minute after the last question nobody asks etcd, and what it said is forgotten', async () => {
  const world = setup(1, { ttl: 20, secondsLeft: 20 });
  world.read();
  await pass(59_000);
  const asked = world.asked.length;
  expect(asked).toBeGreaterThan(20);
  await pass(2_000);
  const last = world.asked.length;
  await pass(600_000);
  expect(world.asked).toHaveLength(last);
  expect(world.read().leases).toEqual({ [keyOf(1)]: null });
  await pass(100);
  expect(world.asked).toHaveLength(last + 1);
});

test('what changes is asked anew at once, what goes is forgotten, and what etcd does not know is not told', async () => {
  const world = setup(2);
  world.read();
  await pass(5_000);
  expect(world.asked).toEqual([1n, 2n]);
  world.leases = new Map([[keyOf(2), { etcdLease: 7n } as Lease]]);
  world.told = undefined;
  expect(world.read().leases).toEqual({ [keyOf(2)]: null });
  await pass(5_000);
  expect(world.asked).toEqual([1n, 2n, 7n]);
  expect(world.read().leases).toEqual({ [keyOf(2)]: null });
  world.leases = undefined;
  expect(world.read().leases).toEqual({});
  world.leases = new Map([[keyOf(1), { etcdLease: 1n } as Lease]]);
  expect(world.read().leases).toEqual({ [keyOf(1)]: null });
});

test('while etcd is away it is asked every five seconds, and what it said before is told with its age', async () => {
  const world = setup(1, { ttl: 20, secondsLeft: 20 });
  world.read();
  await pass(1_500);
  world.isAway = true;
  const before = world.asked.length;
  await pass(30_000);
  expect(world.asked.length - before).toBeLessThanOrEqual(7);
  const { secondsLeft, age } = world.read().leases[keyOf(1)]!;
  expect(age).toBeGreaterThanOrEqual(29);
  expect(secondsLeft).toBe(0);
  world.isAway = false;
  await pass(6_000);
  expect(world.read().leases[keyOf(1)]!.age).toBeLessThanOrEqual(3);
});
