import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openLog } from '../../src/daemon/log.ts';
import { MtuReactions } from '../../src/daemon/reactions/mtus.ts';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { Prober } from '../../src/probe/prober.ts';
import { pathKey, type Target } from '../../src/probe/types.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';
import { FakeProbers } from '../fake/proberAddon.ts';
import { seeded } from '../support/seeded.ts';

/** What is done about paths, with the prober there is: its reports come in the order of its visits, on a pretended network, in pretended time. */

const INTERVAL = 10_000;
const TARGET: Target = {
  key: '10.5.9.0-24' as SubnetKey,
  family: 4,
  addr: addr('10.5.9.0'),
  mtu: 1450,
  dev: 'flannel.1',
  offloads: true,
  via: addr('192.0.2.9'),
};

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'Date', 'performance'],
  });
});
afterEach(() => vi.useRealTimers());

test('a path that narrows is lowered in that very visit, also further and again; and raised by two visits', async () => {
  const net = new FakeProbers();
  const told: string[] = [];
  const mtus = new MtuReactions({
    log: openLog({ level: 'silent', format: 'json' }).log,
    note: (...all) => told.push(...all.map(({ fields }) => `${fields?.from} ${fields?.to}`)),
    onChange: () => {},
    options: { hold: 6 * INTERVAL, longestHold: 360 * INTERVAL, confirm: INTERVAL / 2 },
  });
  const prober = new Prober({
    interval: INTERVAL,
    addon: net,
    random: seeded(5),
    onReport: (report) => mtus.heard(report),
  });
  mtus.attach(prober);
  const takes = (pathMtu: number) => net.paths.set(formatAddr(TARGET.addr), { pathMtu });
  const now = () => mtus.routeMtu(pathKey(TARGET));
  /** Probing at once, and what has been gathered judged. */
  const visit = async () => {
    const visited = prober.probeNow(pathKey(TARGET));
    await vi.advanceTimersByTimeAsync(3_000);
    await visited;
  };
  takes(1450);
  prober.setTargets([TARGET]);
  await visit();
  expect(now()).toBeUndefined();
  for (const narrow of [1400, 1350, 1300]) {
    takes(narrow);
    await visit();
    expect(now()).toBe(narrow);
  }
  // Whole again: one visit is no proof, whatever else is told of it meanwhile.
  await vi.advanceTimersByTimeAsync(6 * INTERVAL);
  takes(1450);
  await visit();
  expect(now()).toBe(1300);
  await vi.advanceTimersByTimeAsync(2 * INTERVAL);
  expect(now()).toBeUndefined();
  takes(1400);
  await visit();
  expect(now()).toBe(1400);
  expect(told).toEqual(['1450 1400', '1400 1350', '1350 1300', '1300 1450', '1450 1400']);
  await prober.stop();
  mtus.end();
});
