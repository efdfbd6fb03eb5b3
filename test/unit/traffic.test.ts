import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type CountedPeer, countNothing, KernelTraffic } from '../../src/daemon/traffic.ts';
import { nothingCounted } from '../../src/kernel/peerCountersText.ts';
import { prefix } from '../../src/net/prefix.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';

/** When counting begins and ends; what is counted is shown by test/netns/peer-counters.test.ts. */

const KEY = '10.5.9.0-24' as SubnetKey;
const PEER: CountedPeer = { key: KEY, subnet: prefix('10.5.9.0/24'), dev: 'flannel.1' };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setup(): {
  readonly traffic: KernelTraffic;
  readonly calls: string[];
  facts: object;
  listed: number;
  failure: string | undefined;
} {
  const calls: string[] = [];
  const world = { calls, facts: {}, listed: 0, failure: undefined as string | undefined };
  const traffic = new KernelTraffic({
    counters: {
      read: async (wish) => {
        calls.push('read');
        if (world.failure !== undefined) throw new Error(world.failure);
        return nothingCounted(wish);
      },
      remove: async () => {
        calls.push('remove');
        return true;
      },
    },
    peers: () => {
      world.listed++;
      return [PEER];
    },
    facts: () => world.facts,
    header: () => 14,
    now: () => Date.now(),
  });
  return Object.assign(world, { traffic });
}

test('counting goes on for a minute after the last question, and not a moment longer', async () => {
  const { traffic, calls } = setup();
  await traffic.refresh();
  await vi.advanceTimersByTimeAsync(59_999);
  await traffic.refresh();
  await vi.advanceTimersByTimeAsync(59_999);
  expect(calls).toEqual(['read', 'read']);
  expect(traffic.of(KEY)).not.toBeNull();
  await vi.advanceTimersByTimeAsync(1);
  expect(calls).toEqual(['read', 'read', 'remove']);
  expect(traffic.of(KEY)).toBeNull();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(calls).toHaveLength(3);
});

test('a daemon that nobody asks removes what another has left, once', async () => {
  const { calls } = setup();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(calls).toEqual(['remove']);
});

test('at its end it leaves what is in the kernel, and asks no more', async () => {
  const { traffic, calls } = setup();
  await traffic.refresh();
  await traffic[Symbol.asyncDispose]();
  await vi.advanceTimersByTimeAsync(600_000);
  await traffic.refresh();
  expect(calls).toEqual(['read']);
});

test('who the peers are is found out anew when something has changed, not at each question', async () => {
  const world = setup();
  for (let i = 0; i < 3; i++) {
    await world.traffic.refresh();
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect([world.listed, world.calls.length]).toEqual([1, 3]);
  world.facts = {};
  await world.traffic.refresh();
  expect([world.listed, world.calls.length]).toEqual([2, 4]);
});

test('who does not want it counted begins nothing and prolongs nothing, and is told what is counted anyway', async () => {
  const { traffic, calls } = setup();
  await traffic.refresh(false);
  expect(calls).toEqual([]);
  expect(traffic.of(KEY)).toBeNull();
  await traffic.refresh();
  await vi.advanceTimersByTimeAsync(59_999);
  await traffic.refresh(false);
  expect(traffic.of(KEY)).not.toBeNull();
  expect(calls).toEqual(['read', 'read']);
  await vi.advanceTimersByTimeAsync(1);
  expect(calls).toEqual(['read', 'read', 'remove']);
});

test('why nobody counts is told until it is counted again, or nobody wants it any more', async () => {
  const world = setup();
  world.failure = 'nft is not installed';
  await world.traffic.refresh();
  const words = 'packets to and from peers are not counted: nft is not installed';
  expect(world.traffic.problem).toBe(words);
  await vi.advanceTimersByTimeAsync(10_000);
  world.failure = undefined;
  await world.traffic.refresh();
  expect(world.traffic.problem).toBeNull();
  world.failure = 'nft is not installed';
  await vi.advanceTimersByTimeAsync(1_000);
  await world.traffic.refresh();
  expect(world.traffic.problem).toBe(words);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(world.traffic.problem).toBeNull();
});

test('with --peer-counters=false what is left is removed at once, and nothing is counted', async () => {
  let removed = 0;
  const remove = async () => {
    removed++;
    throw new Error('nft is not installed');
  };
  const traffic = countNothing({ remove });
  await traffic.refresh();
  expect([removed, traffic.of(KEY), traffic.problem]).toEqual([1, null, null]);
});
