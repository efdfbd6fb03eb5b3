import { describe, expect, test } from 'vitest';
import { KernelError } from '../../src/errors.ts';
import { backoff } from '../../src/kernel/backoff.ts';
import { Dirt, type Job } from '../../src/kernel/dirt.ts';
import { Fights } from '../../src/kernel/fights.ts';
import type { ObservedLink, ObservedRoute } from '../../src/kernel/observed.ts';
import { ObservedState } from '../../src/kernel/state.ts';
import { Troubles } from '../../src/kernel/troubles.ts';
import { prefix } from '../../src/net/prefix.ts';

const link = (ifindex: number, name: string, up = true): ObservedLink => ({
  kind: 'link',
  ifindex,
  name,
  mtu: 1500,
  up,
  carrier: up,
});

describe('backoff', () => {
  test('doubles up to half a minute and scatters over its upper half', () => {
    expect([1, 2, 3, 4].map((n) => backoff(n, 1))).toEqual([250, 500, 1000, 2000]);
    expect(backoff(100, 1)).toBe(30_000);
    expect(backoff(3, 0)).toBe(500);
  });
});

describe('Fights', () => {
  test('slows an object down after ten repairs in ten seconds, until it is left in peace', () => {
    const fights = new Fights();
    for (let i = 0; i < 10; i++) fights.repaired('x', 1000 + i * 100);
    expect(fights.until('x', 2000)).toBeUndefined();
    fights.repaired('x', 2000);
    expect(fights.until('x', 2001)).toBe(3000);
    expect(fights.due(2001)).toBe(3000);
    expect([...fights.ongoing(2001)]).toEqual([{ key: 'x', repairs: 11 }]);
    expect(fights.until('y', 2001)).toBeUndefined();
    // One repair a second does not end it …
    for (let t = 3000; t <= 30_000; t += 1000) fights.repaired('x', t);
    expect([...fights.ongoing(30_001)]).toHaveLength(1);
    // … peace does, and then nothing is left of it.
    expect([...fights.ongoing(38_000)]).toEqual([]);
    expect(fights.until('x', 38_000)).toBeUndefined();
    expect(fights.due(38_000)).toBeUndefined();
  });

  test('is due for what it held back, also when its moment passed before anybody asked', () => {
    const fights = new Fights();
    for (let i = 0; i <= 10; i++) fights.repaired('x', 1000 + i * 100);
    expect(fights.until('x', 2999.9)).toBe(3000);
    expect(fights.due(3000.1)).toBe(3000);
    // Let through: from now on only the end of the fight is waited for.
    expect(fights.until('x', 3000.2)).toBeUndefined();
    expect(fights.due(3000.2)).toBeGreaterThan(10_000);
  });

  test('takes many repairs of different objects for no fight', () => {
    const fights = new Fights();
    for (let i = 0; i < 5000; i++) fights.repaired(`route ${i}`, 1000);
    expect([...fights.ongoing(1001)]).toEqual([]);
  });
});

describe('Troubles', () => {
  const error = (code: string) =>
    new KernelError({ errno: 1, code, op: 'put', object: 'x', extack: 'because' });
  const on = { kind: 'route', object: 'route x', dev: 'u0' } as const;

  function troubles(): { state: ObservedState; troubles: Troubles } {
    const state = new ObservedState();
    state.setLinks([link(2, 'u0')]);
    return { state, troubles: new Troubles(state, () => 1) };
  }

  test('waits longer after each failure and tells of the first', () => {
    const { troubles: t } = troubles();
    expect(t.fail('route x', on, error('EPERM'), 0)).toMatchObject({ error: 'EPERM: because' });
    expect(t.held('route x', 249)).toBe(true);
    expect(t.held('route x', 250)).toBe(false);
    expect(t.fail('route x', on, error('EPERM'), 250)).toBeUndefined();
    expect(t.due()).toBe(750);
    expect(t.pressing).toBe(true);
    t.fail('route x', on, error('EPERM'), 750);
    expect(t.pressing).toBe(false);
    expect(t.clear('route x')).toBe(true);
    expect(t.due()).toBeUndefined();
  });

  test('tries again at once after a race, and tells of it only if it happens again', () => {
    const { troubles: t } = troubles();
    expect(t.fail('route x', on, error('ENODEV'), 0)).toBeUndefined();
    expect(t.held('route x', 0)).toBe(false);
    expect([...t.failing()]).toEqual([]);
    expect(t.fail('route x', on, error('ENODEV'), 1)).toMatchObject({ attempts: 2 });
    expect([...t.failing()]).toHaveLength(1);
  });

  test('gives a new chance when the device has changed', () => {
    const { state, troubles: t } = troubles();
    t.fail('route x', on, error('ENETDOWN'), 0);
    t.reconsider(() => 'u0');
    expect(t.held('route x', 1)).toBe(true);
    state.setLink(2, link(2, 'u0', false));
    t.reconsider(() => 'u0');
    expect(t.held('route x', 1)).toBe(false);
  });

  test('takes a route in the place of ours for a conflict', () => {
    const { troubles: t } = troubles();
    t.fail('route x', on, error('EEXIST'), 0);
    t.fail('route x', on, error('EEXIST'), 0);
    expect([...t.conflicts()]).toHaveLength(1);
    expect([...t.failing()]).toEqual([]);
    expect(t.pressing).toBe(false);
  });
});

describe('Dirt', () => {
  function world(): { dirt: Dirt; state: ObservedState } {
    const state = new ObservedState();
    state.setLinks([link(2, 'u0'), link(3, 'flannel.1'), link(4, 'veth1')]);
    const dirt = new Dirt(state);
    dirt.devices = new Set(['flannel.1']);
    dirt.carriers = new Set(['u0']);
    return { dirt, state };
  }
  const all = (dirt: Dirt, now = 0): Job[] => {
    const due = dirt.split(now);
    const jobs: Job[] = [];
    for (let job = due.take(); job; job = due.take()) jobs.push(job);
    return jobs;
  };

  test('an address event on our device makes its neighbours and routes doubtful', () => {
    const { dirt } = world();
    dirt.hint({ kind: 'address', ifindex: 3, family: 4 }, 0);
    expect(all(dirt).map((job) => job.what)).toEqual(['addresses', 'neighs', 'routes', 'routes']);
  });

  test('an address event elsewhere concerns that device alone', () => {
    const { dirt } = world();
    dirt.hint({ kind: 'address', ifindex: 4, family: 4 }, 0);
    expect(all(dirt)).toEqual([{ what: 'addresses', ifindex: 4 }]);
  });

  test("others' neighbours are nobody's business", () => {
    const { dirt } = world();
    dirt.hint({ kind: 'neigh', ifindex: 2, family: 4 }, 0);
    dirt.hint({ kind: 'fdb', ifindex: 4 }, 0);
    expect(dirt.due()).toBeUndefined();
  });

  test("others' routes are looked at later, the later the dearer it was", () => {
    const { dirt } = world();
    dirt.hint({ kind: 'route', ifindex: 4, family: 4 }, 1000);
    expect(dirt.due()).toBe(2000);
    expect(all(dirt, 1500)).toEqual([]);
    expect(all(dirt, 2000)).toEqual([{ what: 'routes', family: 4 }]);
    dirt.routeCost = 100;
    dirt.hint({ kind: 'route', ifindex: 4, family: 4 }, 3000);
    expect(dirt.due()).toBe(8000);
    // A hint about ours does not wait.
    dirt.hint({ kind: 'route', ifindex: 3, family: 4 }, 3001);
    expect(dirt.due()).toBe(0);
  });

  test('a device that kept routes lead through matters like one of ours', async () => {
    const { dirt, state } = world();
    expect(dirt.matters(state.linkAt(4))).toBe(false);
    const dst = prefix('0.0.0.0/0');
    const route = {
      kind: 'route',
      type: 'unicast',
      dst,
      dev: 'veth1',
      ifindex: 4,
      onlink: false,
      protocol: 16,
    };
    await state.setRoutes(
      4,
      16,
      [{ ...route, rtmType: 1, scope: 0, tos: 0, odd: false } as ObservedRoute],
      new Set([4]),
    );
    expect(dirt.matters(state.linkAt(4))).toBe(true);
  });
});
