import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  adopted,
  heard,
  LEAST,
  type MtuOptions,
  NO_PATH_MTUS,
  type PathMtus,
  remaining,
} from '../../src/daemon/reactions/pathMtu.ts';
import { addr, type Family } from '../../src/net/addr.ts';
import { type PathReport, pathKey } from '../../src/probe/types.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';

const OPTIONS: MtuOptions = { hold: 60, longestHold: 400, confirm: 5 };
const WHOLE = 1450;

/** Reports have a time of their own: each is another probe. */
let clock = 1_000_000;

const report = (
  more: Partial<PathReport> & { readonly family?: Family; readonly n?: number } = {},
): PathReport => {
  const { family = 4, n = 9, ...rest } = more;
  return {
    target: {
      key: `10.5.${n}.0-24` as SubnetKey,
      family,
      addr: addr('10.5.9.0'),
      mtu: WHOLE,
      dev: 'flannel.1',
      offloads: true,
      via: addr('192.0.2.9'),
    },
    health: 'reachable',
    at: ++clock,
    sizeAt: undefined,
    rtt: 1,
    leastRtt: 1,
    sent: 1,
    lost: 0,
    fullSize: 'unknown',
    pathMtu: undefined,
    checksum: 'unknown',
    error: undefined,
    ...rest,
  };
};
const takes = (pathMtu: number | undefined, more: Parameters<typeof report>[0] = {}) =>
  report({ fullSize: pathMtu === WHOLE ? 'passes' : 'lost', pathMtu, sizeAt: ++clock, ...more });

const PATH = pathKey(report().target);

/** One path's story: what was reported when, and what its route was lowered to after each. */
function story(...chapters: readonly [now: number, report: PathReport][]) {
  let state: PathMtus = NO_PATH_MTUS;
  const mtus: (number | undefined)[] = [];
  const told: string[] = [];
  for (const [now, said] of chapters) {
    const next = heard(state, [said], now, OPTIONS);
    state = next.state;
    mtus.push(state.get(pathKey(said.target))?.mtu);
    told.push(...next.changes.map(({ what, from, to }) => `${what} ${from} ${to}`));
  }
  return { state, mtus, told };
}

describe('a path that loses large packets', () => {
  test('has its route lowered at once, and raised when they have passed for a while', () => {
    const { state, mtus, told } = story(
      [0, takes(1350)],
      [10, takes(1350)],
      [70, takes(WHOLE)],
      [72, takes(WHOLE)],
      [76, takes(WHOLE)],
    );
    expect(mtus).toEqual([1350, 1350, 1350, 1350, undefined]);
    expect(told).toEqual(['lowered 1450 1350', 'raised 1350 1450']);
    // What was is known for a while, and then forgotten.
    expect(state.size).toBe(1);
    expect(heard(state, [takes(WHOLE)], 76 + 601, OPTIONS).state.size).toBe(0);
  });

  test('is not raised before its time, nor by a single report', () => {
    const early = story([0, takes(1350)], [10, takes(WHOLE)], [20, takes(WHOLE)], [59, takes(WHOLE)]);
    expect(early.mtus.at(-1)).toBe(1350);
    const once = story([0, takes(1350)], [100, takes(WHOLE)], [110, takes(1350)], [120, takes(WHOLE)]);
    expect(once.mtus.at(-1)).toBe(1350);
  });

  test('is raised in part, to the least of what passed', () => {
    const { mtus } = story([0, takes(1350)], [100, takes(1420)], [103, takes(1400)], [106, takes(1410)]);
    expect(mtus).toEqual([1350, 1350, 1350, 1400]);
  });

  test('is lowered further at once', () => {
    expect(story([0, takes(1350)], [1, takes(1300)]).mtus).toEqual([1350, 1300]);
  });

  test('stays lowered twice as long each time it was raised in vain, up to a limit', () => {
    let state: PathMtus = NO_PATH_MTUS;
    const holds: number[] = [];
    let now = 0;
    for (let i = 0; i < 5; i++) {
      state = heard(state, [takes(1350)], now, OPTIONS).state;
      holds.push(state.get(PATH)!.hold);
      const from = now;
      while (state.get(PATH)?.mtu !== undefined) {
        now += 5;
        state = heard(state, [takes(WHOLE)], now, OPTIONS).state;
      }
      expect(now - from).toBeGreaterThanOrEqual(holds.at(-1)!);
      now += 5;
    }
    expect(holds).toEqual([60, 120, 240, 400, 400]);
  });

  test('stays lowered longer also when it was raised in part', () => {
    const { mtus, state } = story(
      [0, takes(1350)],
      [70, takes(1400)],
      [76, takes(1400)],
      [80, takes(1350)],
      // Not a minute later, as the first time.
      [150, takes(1400)],
      [196, takes(1400)],
      [201, takes(1400)],
    );
    expect(mtus).toEqual([1350, 1350, 1400, 1350, 1350, 1350, 1400]);
    expect(state.get(PATH)?.hold).toBe(120);
    // What was long ago was not in vain.
    expect(heard(state, [takes(1300)], 201 + 1_201, OPTIONS).state.get(PATH)?.hold).toBe(120);
  });

  test.each([
    [4, 576],
    [6, 1280],
  ] as const)('IPv%d: takes fewer than %d bytes: nothing is done', (family, least) => {
    const { mtus, told, state } = story([0, takes(undefined, { family })], [1, takes(least - 1, { family })]);
    expect(mtus).toEqual([undefined, undefined]);
    expect(told).toEqual([`tooSmall 1450 ${least - 1}`]);
    expect(
      Iterator.from(state.values())
        .map((s) => s.tooSmall)
        .toArray(),
    ).toEqual([least - 1]);
    expect(story([0, takes(least, { family })]).mtus).toEqual([least]);
    // It is narrow, but not that narrow.
    expect(
      heard(state, [takes(least, { family })], 2, OPTIONS)
        .state.values()
        .next().value,
    ).toMatchObject({ mtu: least });
  });

  test.each([
    ['an unreachable path', { health: 'unreachable' as const }],
    ['one that was not asked for size', { fullSize: 'unknown' as const }],
    ['one that was not asked at all', { sizeAt: undefined }],
  ])('%s says nothing', (_, more) => {
    const state = story([0, takes(1350)]).state;
    expect(heard(state, [takes(1200, more)], 1, OPTIONS)).toEqual({ state, changes: [] });
    expect(heard(NO_PATH_MTUS, [takes(1200, more)], 1, OPTIONS).state).toBe(NO_PATH_MTUS);
  });

  test('the same report twice counts once', () => {
    const state = story([0, takes(1350)]).state;
    const passes = takes(WHOLE);
    const one = heard(state, [passes], 100, OPTIONS).state;
    expect(heard(one, [passes], 200, OPTIONS).state).toBe(one);
  });

  test('a device that takes no more itself is the end of it', () => {
    const narrow = { ...takes(1300), fullSize: 'passes' as const };
    const small = { ...narrow, target: { ...narrow.target, mtu: 1300 }, pathMtu: 1300 };
    const { mtus } = story([0, takes(1350)], [100, small], [106, { ...small, sizeAt: ++clock }]);
    expect(mtus.at(-1)).toBeUndefined();
  });
});

test('whoever was heard of last comes last', () => {
  const [a, b] = [takes(1350, { n: 1 }), takes(1350, { n: 2 })];
  const { state } = heard(NO_PATH_MTUS, [a, b], 0, OPTIONS);
  expect([...state.keys()]).toEqual([pathKey(a.target), pathKey(b.target)]);
  expect([...heard(state, [takes(1350, { n: 1 })], 1, OPTIONS).state.keys()]).toEqual([
    pathKey(b.target),
    pathKey(a.target),
  ]);
});

test('what an earlier daemon has lowered stays until it is known better', () => {
  const { key, family } = report().target;
  const state = adopted(NO_PATH_MTUS, [{ key, family, mtu: 1350 }], 1_000, OPTIONS);
  expect(heard(state, [report()], 1_001, OPTIONS).state).toBe(state);
  const one = heard(state, [takes(WHOLE)], 1_002, OPTIONS).state;
  expect(one.get(PATH)?.mtu).toBe(1350);
  expect(heard(one, [takes(WHOLE)], 1_008, OPTIONS).state.get(PATH)?.mtu).toBeUndefined();
  expect(remaining(state, () => true)).toBe(state);
  expect(remaining(state, () => false).size).toBe(0);
});

test('whatever is reported: in bounds, down at once, up only late and on the word of all', () => {
  const what = fc.record({
    wait: fc.integer({ min: 0, max: 90 }),
    health: fc.constantFrom<PathReport['health']>(
      'reachable',
      'reachable',
      'reachable',
      'lossy',
      'unreachable',
    ),
    size: fc.constantFrom<number | 'unknown'>(WHOLE, WHOLE, WHOLE, 1400, 1350, 1000, 500, 'unknown'),
  });
  fc.assert(
    fc.property(fc.array(what, { maxLength: 60 }), (all) => {
      let state: PathMtus = NO_PATH_MTUS;
      let now = 0;
      let changedAt = Number.NEGATIVE_INFINITY;
      /** Sizes reported without a break that were more than the route takes, and since when. */
      let above: number[] = [];
      let aboveSince = 0;
      for (const { wait, health, size } of all) {
        now += wait;
        const said = size === 'unknown' ? report({ health }) : takes(size, { health });
        const before = state.get(PATH);
        const { state: next, changes } = heard(state, [said], now, OPTIONS);
        const after = next.get(PATH);
        const counts = health !== 'unreachable' && size !== 'unknown';
        const limit = before?.mtu ?? WHOLE;
        if (!counts) expect(next).toBe(state);
        if (after?.mtu !== undefined) {
          expect(after.mtu).toBeGreaterThanOrEqual(LEAST[4]);
          expect(after.mtu).toBeLessThan(WHOLE);
        }
        expect(after?.hold ?? 0).toBeLessThanOrEqual(OPTIONS.longestHold);
        if (counts && size >= LEAST[4] && size < limit) expect(after?.mtu).toBe(size);
        if (counts) {
          if (before?.mtu !== undefined && size > before.mtu) {
            if (above.length === 0) aboveSince = now;
            above.push(size);
          } else above = [];
        }
        const now_ = after?.mtu ?? WHOLE;
        if (now_ > limit) {
          expect(now_).toBe(Math.min(...above));
          expect(now - aboveSince).toBeGreaterThanOrEqual(OPTIONS.confirm);
          expect(now - changedAt).toBeGreaterThanOrEqual(before!.hold);
          above = [];
        }
        expect(changes.filter((c) => c.what !== 'tooSmall')).toEqual(
          now_ === limit ? [] : [expect.objectContaining({ from: limit, to: now_ })],
        );
        if (now_ !== limit) {
          changedAt = now;
          above = [];
        }
        state = next;
      }
      // All is well in the end, and forgotten.
      for (let i = 0; i < 20; i++) {
        now += 500;
        state = heard(state, [takes(WHOLE)], now, OPTIONS).state;
      }
      expect(state.size).toBe(0);
    }),
    { numRuns: 2000, seed: 20_260_101 },
  );
});
