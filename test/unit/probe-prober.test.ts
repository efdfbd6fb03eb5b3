import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { BURST, PACKETS_PER_SECOND } from '../../src/probe/budget.ts';
import { PORTS } from '../../src/probe/datagrams.ts';
import { Prober, type ProberOptions } from '../../src/probe/prober.ts';
import { MOST_TROUBLED, sampleOf } from '../../src/probe/schedule.ts';
import { type PathReport, pathKey, RTT_BOUNDS, type Target } from '../../src/probe/types.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';
import { type FakePath, FakeProbers } from '../fake/proberAddon.ts';
import { seeded } from '../support/seeded.ts';

/** The engine on a pretended network, in pretended time. */

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'Date', 'performance'],
  });
});
afterEach(async () => {
  await prober?.stop();
  prober = undefined;
  vi.useRealTimers();
});

let prober: Prober | undefined;
let net: FakeProbers;
let changes: { now: PathReport; before: PathReport }[];

const target = (n: number, more: Partial<Target> = {}): Target => ({
  key: `10.${n >> 8}.${n & 255}.0-24` as SubnetKey,
  family: 4,
  addr: addr(`10.${n >> 8}.${n & 255}.0`),
  mtu: 1450,
  dev: 'flannel.1',
  offloads: true,
  via: addr('192.0.2.1'),
  ...more,
});

/** A prober with `paths.length` targets. */
function start(paths: readonly (FakePath | undefined)[], options: Partial<ProberOptions> = {}): Prober {
  net = new FakeProbers();
  changes = [];
  prober = new Prober({
    interval: 10_000,
    addon: net,
    random: seeded(5),
    onReport: (now, before) => changes.push({ now, before }),
    ...options,
  });
  for (const [n, path] of paths.entries()) set(n, path);
  prober.setTargets(paths.map((_, n) => target(n)));
  return prober;
}

function set(n: number, path: FakePath | undefined): void {
  const name = formatAddr(target(n).addr);
  if (path) net.paths.set(name, path);
  else net.paths.delete(name);
}

const of = (n: number): PathReport => prober!.paths.get(pathKey(target(n)))!;
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const HEALTHY = {
  health: 'reachable',
  fullSize: 'passes',
  pathMtu: 1450,
  checksum: 'good',
  error: undefined,
};

describe('a path', () => {
  test('that is whole', async () => {
    start([{ rtt: 0.4 }]);
    expect(of(0)).toMatchObject({ health: 'unprobed', at: undefined, rtt: undefined, sent: 0 });
    await pass(1_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, rtt: 0.4, leastRtt: 0.4, sent: 1, lost: 0 });
    // One of each kind is enough.
    expect(net.sent.map(({ kind, size }) => `${kind} ${size}`).sort()).toEqual([
      'echo 1450',
      'echo 84',
      'udp 60',
    ]);
    expect(changes).toHaveLength(3);
    expect(changes[0]).toMatchObject({
      before: { health: 'unprobed', sent: 0, at: undefined },
      now: { health: 'reachable', fullSize: 'unknown', checksum: 'unknown' },
    });
    for (const [n, { before }] of changes.slice(1).entries()) expect(before).toBe(changes[n]!.now);
    const before = of(0);
    expect(of(0)).toBe(before);
    await pass(35_000);
    // The checksum less often than the rest.
    expect(net.sent.filter(({ kind }) => kind === 'udp').length).toBeLessThan(
      net.sent.filter(({ size }) => size === 1450).length,
    );
    expect(of(0).sent).toBeGreaterThan(2);
  });

  test('of which one packet is lost', async () => {
    let lost = 0;
    start([{ loses: (kind, size) => kind === 'echo' && size === 84 && ++lost === 2 }]);
    await pass(14_000);
    expect(lost).toBeGreaterThan(3);
    expect(of(0)).toMatchObject({ ...HEALTHY, sent: lost, lost: 1 });
    expect(changes.some(({ now }) => now.health === 'lossy' || now.health === 'unreachable')).toBe(false);
  });

  test('of which one large packet is lost', async () => {
    let lost = 0;
    start([{ loses: (_, size) => size === 1450 && lost++ === 0 }]);
    await pass(2_500);
    expect(of(0)).toMatchObject(HEALTHY);
    expect(changes.some(({ now }) => now.fullSize === 'lost')).toBe(false);
  });

  test('that ends, and begins again', async () => {
    start([{}]);
    await pass(1_000);
    set(0, undefined);
    await pass(15_000);
    expect(of(0)).toMatchObject({ health: 'unreachable', lost: 4 });
    net.sent.length = 0;
    await pass(60_000);
    // One packet a round to find out.
    expect(net.sent.length).toBeLessThanOrEqual(7);
    set(0, {});
    await pass(11_500);
    expect(of(0)).toMatchObject({ ...HEALTHY, lost: 0 });
    expect(
      changes
        .map(({ now, before }) => `${before.health} ${now.health}`)
        .filter((c) => c.split(' ')[0] !== c.split(' ')[1]),
    ).toEqual(['unprobed reachable', 'reachable unreachable', 'unreachable reachable']);
  });

  test('that ends in the middle of a visit is unreachable, not narrow', async () => {
    let asked = 0;
    start([{ loses: () => asked++ > 0 }]);
    await pass(9_000);
    expect(of(0)).toMatchObject({ health: 'unreachable', fullSize: 'unknown', pathMtu: undefined });
    expect(changes.some(({ now }) => now.fullSize !== 'unknown')).toBe(false);
  });

  test('that takes less than its device', async () => {
    start([{ pathMtu: 1333 }]);
    await pass(5_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, fullSize: 'lost', pathMtu: 1333 });
    set(0, { pathMtu: 1400 });
    await pass(11_500);
    expect(of(0)).toMatchObject({ fullSize: 'lost', pathMtu: 1400 });
    set(0, { pathMtu: 1000 });
    await pass(14_000);
    expect(of(0)).toMatchObject({ fullSize: 'lost', pathMtu: 1000 });
    set(0, {});
    await pass(12_000);
    expect(of(0)).toMatchObject(HEALTHY);
  });

  test('on which a router names an MTU, rightly or wrongly', async () => {
    start([
      { pathMtu: 1333, named: 1333 },
      { pathMtu: 1333, named: 600 },
      { pathMtu: 1333, named: 1449 },
    ]);
    await pass(8_000);
    for (const n of [0, 1, 2]) expect(of(n)).toMatchObject({ fullSize: 'lost', pathMtu: 1333 });
  });

  test('that loses every other packet is lossy, and its large ones are not taken for lost', async () => {
    let n = 0;
    start([{ loses: (kind) => kind === 'echo' && n++ % 2 === 1 }]);
    await pass(60_000);
    expect(of(0)).toMatchObject({ health: 'lossy' });
    expect(changes.some(({ now }) => now.fullSize === 'lost')).toBe(false);
  });

  test('whose device breaks checksums', async () => {
    start([{ datagrams: 'broken' }]);
    await pass(5_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, checksum: 'corrupted' });
    // By turns, each pair to a port of its own.
    const datagrams = net.sent.filter(({ kind }) => kind !== 'echo');
    expect(datagrams.map(({ kind }) => kind)).toEqual(['udp', 'raw-udp', 'udp', 'raw-udp', 'udp', 'raw-udp']);
    for (const [i, { port, kind }] of datagrams.entries()) {
      expect(port).toBeGreaterThanOrEqual(PORTS.first);
      expect(port).toBeLessThan(PORTS.first + PORTS.count);
      if (kind === 'raw-udp') expect(port).toBe(datagrams[i - 1]!.port);
    }
    expect(new Set(datagrams.map(({ port }) => port)).size).toBe(3);
    set(0, {});
    await pass(11_000);
    expect(of(0)).toMatchObject(HEALTHY);
  });

  test('on which datagrams are not answered', async () => {
    start([{ datagrams: 'silent' }]);
    await pass(60_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, checksum: 'unknown' });
    expect(changes.some(({ now }) => now.checksum !== 'unknown')).toBe(false);
  });

  test('whose device does not fill in checksums is not asked for them', async () => {
    start([]);
    net.paths.set('10.0.0.0', {});
    prober!.setTargets([target(0, { offloads: false })]);
    await pass(60_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, checksum: 'unknown' });
    expect(net.sent.some(({ kind }) => kind !== 'echo')).toBe(false);
  });

  test('to which the kernel has no route', async () => {
    start([{ errno: 101 }]);
    await pass(3_000);
    expect(of(0)).toMatchObject({ health: 'unreachable', error: 'ENETUNREACH: network is unreachable' });
    set(0, {});
    await pass(11_000);
    expect(of(0)).toMatchObject(HEALTHY);
  });

  test('that is refused for a moment only is not unreachable', async () => {
    start([{ errno: 101 }]);
    const pending = prober!.probeNow(pathKey(target(0)));
    await pass(300);
    set(0, {});
    await pass(3_000);
    expect(await pending).toMatchObject({ ...HEALTHY, lost: 0 });
    expect(changes.some(({ now }) => now.health === 'lossy')).toBe(false);
  });
});

describe('what is told', () => {
  test('counts only when it was asked, and once', async () => {
    start([undefined]);
    for (let token = 0; token < 100; token++) {
      net.tell(token, 0, 1_000);
      net.tell(2 ** 32 - token, 0, 1_000);
    }
    await pass(1_400);
    expect(of(0)).toMatchObject({ health: 'unprobed', rtt: undefined });
    expect(prober!.counters).toMatchObject({ received: 0, rtt: { count: 0 } });
    set(0, { rtt: 3 });
    await pass(3_000);
    const { received } = prober!.counters;
    for (const { token } of net.sent) net.tell(token, 0, 1_000);
    expect(prober!.counters.received).toBe(received);
  });

  test('while the event loop was busy is not late', async () => {
    start([]);
    net.paths.set('10.0.0.0', { rtt: 699 });
    prober!.setTargets([target(0)]);
    await pass(1_400);
    expect(of(0)).toMatchObject({ health: 'reachable', lost: 0 });
  });

  test('is counted, by how long it took', async () => {
    start([{ rtt: 0.15 }, { rtt: 30 }, undefined], { interval: 86_400_000 });
    await pass(5_000);
    const { rtt, lost, sent, received } = prober!.counters;
    expect(rtt.buckets).toHaveLength(RTT_BOUNDS.length + 1);
    expect(rtt.buckets[RTT_BOUNDS.indexOf(0.2)]).toBe(1);
    expect(rtt.buckets[RTT_BOUNDS.indexOf(50)]).toBe(1);
    expect(rtt).toMatchObject({ count: 2 });
    expect(rtt.sum).toBeCloseTo(30.15);
    expect(lost).toBe(4);
    expect(sent).toBe(net.count);
    expect(received).toBe(6);
  });
});

describe('targets', () => {
  test('that have gone are forgotten, those that stay keep what is known', async () => {
    start([{}, {}]);
    await pass(2_000);
    const kept = of(1);
    prober!.setTargets([target(1)]);
    expect([...prober!.paths.keys()]).toEqual([pathKey(target(1))]);
    expect(of(1)).toBe(kept);
    prober!.setTargets([target(1), target(1, { mtu: 1300 })]);
    expect(of(1)).toBe(kept);
    expect(prober!.paths.size).toBe(1);
  });

  test('that have changed are asked anew, soon', async () => {
    start([{}]);
    await pass(2_000);
    prober!.setTargets([target(0, { mtu: 1400 })]);
    expect(of(0)).toMatchObject({ health: 'unprobed', fullSize: 'unknown' });
    await pass(1_000);
    expect(of(0)).toMatchObject({ health: 'reachable', fullSize: 'passes', pathMtu: 1400 });
  });

  test.each([
    ['whose peer has another address on the underlay', { via: addr('192.0.2.2') }],
    ['whose end has another MAC', { mac: mac('02:00:00:00:00:02') }],
  ])('%s are asked anew, soon; one that is only written anew is not', async (_, other) => {
    start([{}]);
    await pass(2_000);
    const known = of(0);
    prober!.setTargets([target(0, { via: addr('192.0.2.1') })]);
    expect(of(0)).toBe(known);
    prober!.setTargets([target(0, other)]);
    expect(of(0)).toMatchObject({ health: 'unprobed', fullSize: 'unknown', at: undefined });
    await pass(1_000);
    expect(of(0)).toMatchObject({ ...HEALTHY, target: other });
  });

  test('of thousands are taken in by slices; those that come next overtake them', async () => {
    vi.useRealTimers();
    start([], { interval: 86_400_000 });
    const all = Array.from({ length: 20_000 }, (_, n) => target(n));
    const first = prober!.setTargets(all);
    expect(prober!.paths.size).toBeLessThan(all.length);
    const kept = [all[0]!, all.at(-1)!];
    await Promise.all([first, prober!.setTargets(kept)]);
    expect([...prober!.paths.keys()]).toEqual(kept.map(pathKey));
    await prober!.setTargets(all);
    expect(prober!.paths.size).toBe(all.length);
    expect(prober!.sample).toBe(sampleOf(all.length));
  });

  test('of which only the offload has changed keep what is known', async () => {
    start([{}]);
    await pass(2_000);
    prober!.setTargets([target(0, { offloads: false })]);
    expect(of(0)).toMatchObject({ health: 'reachable', fullSize: 'passes' });
    expect(of(0).target.offloads).toBe(false);
  });

  test('that change in the middle of a visit are not told of by it', async () => {
    start([{ rtt: 500 }]);
    await pass(700);
    prober!.setTargets([target(0, { mtu: 1300 })]);
    await pass(600);
    for (const { now } of changes) expect(now.pathMtu ?? 1300).toBe(1300);
    await pass(5_000);
    expect(of(0)).toMatchObject({ pathMtu: 1300 });
  });

  test('are seen as a map', () => {
    start([{}, {}]);
    const keys = [0, 1].map((n) => pathKey(target(n)));
    const seen: string[] = [];
    prober!.paths.forEach((report, key, map) => {
      seen.push(key);
      expect(map.get(key)).toBe(report);
    });
    expect(seen).toEqual(keys);
    expect([...prober!.paths.values()]).toEqual([of(0), of(1)]);
    expect(new Map(prober!.paths)).toEqual(new Map(keys.map((key, n) => [key, of(n)])));
    expect(prober!.paths.has('x')).toBe(false);
  });
});

describe('asked at once', () => {
  test.each<[string, FakePath | undefined, object]>([
    ['whole', {}, { ...HEALTHY, sent: 3 }],
    ['nobody there', undefined, { health: 'unreachable', sent: 4 }],
    ['a hole', { pathMtu: 1350, rtt: 0.3 }, { fullSize: 'lost', pathMtu: 1350 }],
    ['broken checksums', { datagrams: 'broken' }, { checksum: 'corrupted' }],
    [
      'a hole and broken checksums',
      { pathMtu: 701, datagrams: 'broken' },
      { checksum: 'corrupted', pathMtu: 701 },
    ],
  ])('%s: within three seconds', async (_, path, like) => {
    start([path], { interval: 86_400_000 });
    const pending = prober!.probeNow(pathKey(target(0)));
    const begun = performance.now();
    let said: PathReport | undefined;
    const took = pending.then(() => {
      said = of(0);
      return performance.now() - begun;
    });
    await pass(5_000);
    expect(await pending).toMatchObject(like);
    expect(await pending).toBe(said);
    expect(await took).toBeLessThan(3_300);
  });

  test.each(['answered', 'broken'] as const)(
    'again and again, by which a peer that limits its answers (%s) is not misjudged',
    async (datagrams) => {
      let left = 6;
      let at = 0;
      const limited = (kind: string): boolean => {
        if (kind === 'echo' || (kind === 'udp' && datagrams === 'broken')) return false;
        left = Math.min(6, left + (performance.now() - at) / 1_000);
        at = performance.now();
        if (left < 1) return true;
        left--;
        return false;
      };
      start([{ datagrams, loses: limited }], { interval: 86_400_000 });
      for (let n = 0; n < 40; n++) {
        const pending = prober!.probeNow(pathKey(target(0)));
        await pass(5_000);
        await pending;
      }
      // What has changed is known at once, however often it was asked before.
      set(0, { datagrams: datagrams === 'answered' ? 'broken' : 'answered' });
      const fresh = prober!.probeNow(pathKey(target(0)));
      await pass(5_000);
      expect(await fresh).toMatchObject({ checksum: datagrams === 'answered' ? 'corrupted' : 'good' });
      set(0, { datagrams, loses: limited });
      for (let n = 0; n < 40; n++) {
        // Too often: it waits until the peer would answer again.
        const pending = prober!.probeNow(pathKey(target(0)));
        await pass(datagrams === 'answered' ? 1_200 : 4_500);
        await pending;
        expect(of(0).checksum).toBe(datagrams === 'answered' ? 'good' : 'corrupted');
      }
    },
  );

  test('while a visit takes long: what is known is told after three seconds', async () => {
    // A visit without hurry is going on: four small packets are lost, and one in each of the rounds that follow.
    start([{ rtt: 690, pathMtu: 701, datagrams: 'silent' }]);
    await pass(700);
    const begun = performance.now();
    const took = prober!.probeNow(pathKey(target(0))).then((report) => [report, performance.now() - begun]);
    await pass(10_000);
    const [report, ms] = await took;
    expect(report).toMatchObject({ health: 'reachable' });
    expect(ms).toBe(3_000);
  });

  test.each([
    ['answered', 'good', 30],
    ['broken', 'corrupted', 125],
    ['silent', 'unknown', 125],
  ] as const)('for datagrams alone (%s), by one of each kind', async (datagrams, verdict, longest) => {
    const path = { rtt: 30 };
    start([path], { interval: 86_400_000 });
    const key = pathKey(target(0));
    expect(prober!.mayCheck(key)).toBe(false);
    const first = prober!.probeNow(key);
    await pass(3_000);
    await first;
    expect([prober!.mayCheck(key), of(0).checksum]).toEqual([true, 'good']);
    set(0, { ...path, datagrams });
    for (const rtt of [30, 2]) {
      set(0, { rtt, datagrams });
      net.sent.length = 0;
      const begun = performance.now();
      const took = prober!.checkNow(key, true).then((found) => [found, performance.now() - begun]);
      await pass(200);
      const [found, ms] = await took;
      expect(found).toBe(verdict);
      expect(ms).toBeLessThanOrEqual(longest);
      expect(net.sent.map(({ kind }) => kind)).toEqual(['udp', 'raw-udp']);
      expect(new Set(net.sent.map(({ port }) => port)).size).toBe(1);
    }
    // What was found out in a trial is none of the path's.
    expect(of(0).checksum).toBe('good');
    // It has answered often enough.
    await Promise.all([prober!.checkNow(key, true), pass(200)]);
    expect(prober!.mayCheck(key)).toBe(false);
    net.sent.length = 0;
    expect(await prober!.checkNow(key, true)).toBe('unknown');
    expect(net.sent).toEqual([]);
    const patient = prober!.checkNow(key, false);
    await pass(4_000);
    expect(await patient).toBe(verdict);
    await pass(1_000);
    expect(prober!.mayCheck(key)).toBe(true);
    expect(await prober!.checkNow('nobody 4', true)).toBe('unknown');
  });

  test('by several at once, it asks once', async () => {
    start([{}], { interval: 86_400_000 });
    const all = Promise.all([1, 2, 3].map(() => prober!.probeNow(pathKey(target(0)))));
    await pass(200);
    expect(new Set(await all).size).toBe(1);
    expect(net.sent).toHaveLength(5);
  });

  test('it answers also when it is stopped meanwhile', async () => {
    start([undefined]);
    const pending = prober!.probeNow(pathKey(target(0)));
    await pass(100);
    await prober!.stop();
    expect(net.closed).toBe(true);
    expect(await pending).toMatchObject({ health: 'unprobed' });
    expect(await prober!.probeNow(pathKey(target(0)))).toBeUndefined();
    expect(prober!.counters.lost).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('among 5,000 peers', () => {
  const N = 5_000;

  /** Packets in each second of so many. */
  async function rates(seconds: number): Promise<number[]> {
    const out: number[] = [];
    for (let s = 0; s < seconds; s++) {
      const before = net.count;
      await pass(1_000);
      out.push(net.count - before);
    }
    return out;
  }

  test('all are asked within three minutes, then each in its turn, by a few packets a second', async () => {
    start(Array(N).fill({}));
    net.keep = false;
    const first = await rates(170);
    expect(Math.max(...first)).toBeLessThanOrEqual(BURST + PACKETS_PER_SECOND);
    expect([...prober!.paths.values()].filter(({ health }) => health === 'reachable')).toHaveLength(N);
    expect(prober!.sample).toBe(sampleOf(N));
    const since = Date.now();
    const steady = await rates(Math.ceil((N / sampleOf(N)) * 11));
    const mean = steady.reduce((a, b) => a + b) / steady.length;
    expect(mean).toBeLessThan(5);
    expect(Math.max(...steady)).toBeLessThanOrEqual(3 * sampleOf(N));
    for (const { at } of prober!.paths.values()) expect(at).toBeGreaterThan(since);
  }, 60_000);

  test('none of which answers, it stays within its budget, and hears of each that comes back', async () => {
    start(Array(N).fill(undefined));
    net.keep = false;
    const all = await rates(600);
    expect(Math.max(...all)).toBeLessThanOrEqual(BURST + PACKETS_PER_SECOND);
    expect([...prober!.paths.values()].filter(({ health }) => health === 'unreachable')).toHaveLength(N);
    const steady = await rates(100);
    expect(steady.reduce((a, b) => a + b)).toBeLessThanOrEqual(11 * (sampleOf(N) + MOST_TROUBLED));
  }, 60_000);

  test('watched ones are asked in each round', async () => {
    start(Array(200).fill({}));
    await pass(30_000);
    prober!.watch(new Set([pathKey(target(7))]));
    for (let round = 0; round < 5; round++) {
      const before = of(7).at!;
      await pass(11_500);
      expect(of(7).at).toBeGreaterThan(before);
    }
    prober!.watch(new Set());
    const before = of(7);
    // Then in its turn again, which is 23 rounds away.
    await pass(12_000);
    expect(of(7)).toBe(before);
  });
});
