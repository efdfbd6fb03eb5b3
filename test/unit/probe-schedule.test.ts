import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BURST, Budget, PACKETS_PER_SECOND } from '../../src/probe/budget.ts';
import { Ring } from '../../src/probe/ring.ts';
import {
  MOST_TROUBLED,
  PER_TICK,
  Schedule,
  SETTLE,
  SPREAD_PER_PATH,
  sampleOf,
  TICK,
} from '../../src/probe/schedule.ts';
import { seeded } from '../support/seeded.ts';

/** Which path is asked when. */

const names = (n: number): string[] => Array.from({ length: n }, (_, i) => `p${i}`);

describe('the sample', () => {
  test('is logarithmic, and no more than there are', () => {
    expect([0, 1, 2, 3, 4, 10, 100, 1_000, 5_000].map(sampleOf)).toEqual([0, 1, 2, 3, 3, 5, 8, 11, 14]);
  });

  test('has each path once in n / sample rounds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer(), (n, seed) => {
        const ring = new Ring(seeded(seed));
        for (const name of names(n)) ring.add(name);
        // From any moment on.
        ring.take(Math.abs(seed) % n);
        const met: string[] = [];
        for (let round = 0; round < Math.ceil(n / sampleOf(n)); round++) met.push(...ring.take(sampleOf(n)));
        expect(new Set(met).size).toBe(n);
      }),
    );
  });

  test('meets who stays once before it meets anybody again, whoever goes meanwhile', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.option(fc.integer({ min: 0, max: 39 })), { minLength: 1, maxLength: 80 }),
        (n, commands) => {
          const ring = new Ring(seeded(n));
          const present = new Set(names(n));
          for (const name of present) ring.add(name);
          const met = new Set<string>();
          // After the last command, to the end of the walk.
          for (const remove of [...commands, ...Array<null>(n + 1).fill(null)]) {
            if (remove !== null) {
              ring.remove(`p${remove}`);
              present.delete(`p${remove}`);
              continue;
            }
            const [name] = ring.take(1);
            if (name === undefined || met.has(name)) break;
            met.add(name);
          }
          for (const name of present) expect(met).toContain(name);
        },
      ),
    );
  });

  test('passes nobody over who stays while others come and go', () => {
    const command = fc.oneof(
      fc.record({ add: fc.integer({ min: 0, max: 40 }) }),
      fc.record({ remove: fc.integer({ min: 0, max: 40 }) }),
      fc.record({ take: fc.integer({ min: 1, max: 7 }) }),
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), fc.integer(), (commands, seed) => {
        const ring = new Ring(seeded(seed));
        const present = new Map<string, number>();
        let walked = 0;
        let met = 0;
        let longest = 0;
        for (const c of commands) {
          if ('add' in c) {
            ring.add(`p${c.add}`);
            if (!present.has(`p${c.add}`)) present.set(`p${c.add}`, walked);
          } else if ('remove' in c) {
            ring.remove(`p${c.remove}`);
            present.delete(`p${c.remove}`);
          } else {
            const taken = ring.take(c.take);
            expect(taken).toHaveLength(Math.min(c.take, present.size));
            expect(new Set(taken).size).toBe(taken.length);
            for (const name of taken) {
              met++;
              walked++;
              expect(present.has(name)).toBe(true);
              longest = Math.max(longest, walked - present.get(name)!);
              present.set(name, walked);
            }
          }
          expect(ring.size).toBe(present.size);
        }
        // Within two walks of all there can be.
        expect(longest).toBeLessThanOrEqual(2 * 41);
        expect(met).toBe(walked);
        for (const since of present.values()) expect(walked - since).toBeLessThanOrEqual(2 * 41);
      }),
    );
  });
});

/** Run it: what begins in each tick, over so many milliseconds. */
function run(schedule: Schedule, from: number, ms: number): string[][] {
  const out: string[][] = [];
  for (let now = from; now < from + ms; now += TICK) out.push(schedule.take(now));
  return out;
}

describe('visits', () => {
  test('to new paths are soon, paced, and spread by the number of paths', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 800 }), fc.integer(), (n, seed) => {
        const schedule = new Schedule(seeded(seed));
        for (const name of names(n)) schedule.add(name, 0, n);
        const spread = Math.max(SETTLE, n * SPREAD_PER_PATH);
        const ticks = run(schedule, 0, 2 * (SETTLE + spread) + 1_000);
        expect(new Set(ticks.flat()).size).toBe(n);
        expect(ticks.flat()).toHaveLength(n);
        expect(Math.max(...ticks.map((tick) => tick.length))).toBeLessThanOrEqual(PER_TICK);
        // Nobody before the other end is ready.
        expect(ticks.slice(0, SETTLE / TICK).flat()).toEqual([]);
        expect(schedule.isWaiting).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  test('to a newcomer by a thousand nodes are fifty a second', () => {
    const perSecond = new Map<number, number>();
    for (let node = 0; node < 1_000; node++) {
      const schedule = new Schedule(seeded(node));
      schedule.add('newcomer', 0, 1_000);
      const at = run(schedule, 0, 30_000).findIndex((tick) => tick.length > 0);
      const second = Math.floor((at * TICK) / 1_000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
    }
    expect([...perSecond.values()].reduce((a, b) => a + b)).toBe(1_000);
    expect(Math.max(...perSecond.values())).toBeLessThan(90);
  });

  test('of a round are its sample, and those with something wrong by turns', () => {
    const schedule = new Schedule(seeded(1));
    for (const name of names(1_000)) schedule.add(name, 0, 1_000);
    run(schedule, 0, 100_000);
    const troubled = names(100);
    for (const name of troubled) schedule.setTroubled(name, true);
    const watched = names(1_000).slice(900, 903);
    schedule.watch(new Set(watched));
    const seen = new Set<string>();
    for (let round = 0; round < Math.ceil(100 / MOST_TROUBLED); round++) {
      const now = 100_000 + round * 10_000;
      schedule.round(now);
      const visits = run(schedule, now, 10_000).flat();
      expect(visits.length).toBeLessThanOrEqual(sampleOf(1_000) + MOST_TROUBLED + 3);
      expect(new Set(visits).size).toBe(visits.length);
      for (const name of watched) expect(visits).toContain(name);
      for (const name of visits) seen.add(name);
    }
    for (const name of troubled) expect(seen).toContain(name);
    // In order again, or gone.
    for (const name of troubled) schedule.setTroubled(name, false);
    schedule.watch(new Set());
    schedule.remove('p902');
    schedule.round(900_000);
    expect(run(schedule, 900_000, 10_000).flat()).toHaveLength(sampleOf(999));
  });

  test('to a path that changes again and again are not put off', () => {
    const schedule = new Schedule(seeded(3));
    let visits = 0;
    for (let now = 0; now < 5_000; now += TICK) {
      schedule.add('a', now, 1);
      visits += schedule.take(now).length;
    }
    expect(visits).toBeGreaterThan(5);
  });

  test('to a path that has gone do not happen, and none happens twice', () => {
    const schedule = new Schedule(seeded(2));
    schedule.add('a', 0, 2);
    schedule.add('b', 0, 2);
    schedule.round(0);
    schedule.add('a', 0, 2);
    schedule.remove('b');
    expect(run(schedule, 0, 5_000).flat()).toEqual(['a']);
  });
});

test('the budget holds in every second', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 300 }), (pauses) => {
      const budget = new Budget(0);
      const times: number[] = [];
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        for (let i = 0; i < 50; i++) if (budget.take(now)) times.push(now);
      }
      for (const [i, from] of times.entries()) {
        const within = times.slice(i).filter((t) => t < from + 1_000).length;
        expect(within).toBeLessThanOrEqual(BURST + PACKETS_PER_SECOND);
      }
      expect(times.length).toBeLessThanOrEqual(BURST + (now * PACKETS_PER_SECOND) / 1_000);
    }),
  );
});
