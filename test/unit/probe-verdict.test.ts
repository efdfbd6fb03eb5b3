import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  afterSizes,
  floorOf,
  foundBy,
  MOST_STEPS,
  nextSizes,
  type SizeSearch,
  startSearch,
} from '../../src/probe/search.ts';
import {
  afterChecksum,
  afterSmall,
  CORRUPTED,
  DOWN,
  isOpen,
  LOSSY,
  lostOf,
  NO_CHECKSUM,
  NO_PROBES,
  type SmallProbes,
  UP,
  WINDOW,
} from '../../src/probe/verdict.ts';

/** What answers and losses mean. */

const history = fc.array(fc.boolean(), { maxLength: 60 });
const told = (answers: readonly boolean[], from: SmallProbes = NO_PROBES): SmallProbes =>
  answers.reduce(afterSmall, from);

describe('small probes', () => {
  test('losses are counted over the window', () => {
    fc.assert(
      fc.property(history, (answers) => {
        const s = told(answers);
        expect(s.sent).toBeLessThanOrEqual(Math.min(answers.length, WINDOW));
        expect(lostOf(s)).toBe(answers.slice(answers.length - s.sent).filter((a) => !a).length);
      }),
    );
  });

  test('one loss is never a verdict', () => {
    fc.assert(
      fc.property(history, (answers) => {
        const before = told(answers);
        expect(before.health === afterSmall(before, false).health || answers.at(-1) === false).toBe(true);
        // And it is asked again at once, unless nothing else has come for long.
        if (before.health !== 'unreachable') {
          expect(
            isOpen(afterSmall(before, false)) || afterSmall(before, false).health === 'unreachable',
          ).toBe(true);
        }
      }),
    );
    expect(told([false]).health).toBe('unprobed');
    expect(told([true, false, true]).health).toBe('reachable');
  });

  test(`${DOWN} losses in a row are unreachable, whatever was before; ${UP} answers in a row end that`, () => {
    fc.assert(
      fc.property(history, (answers) => {
        const down = told(Array(DOWN).fill(false), told(answers));
        expect(down.health).toBe('unreachable');
        expect(isOpen(down)).toBe(false);
        expect(afterSmall(down, true).health).toBe('unreachable');
        expect(isOpen(afterSmall(down, true))).toBe(true);
        const up = told([true, true], down);
        expect(up).toMatchObject({ health: 'reachable', sent: UP });
        // What was lost while it was away is not held against it.
        expect(lostOf(up)).toBe(0);
      }),
    );
  });

  test('lossy from the second loss on, until fewer than that are in the window', () => {
    const lossy = told([true, false, true, true, false, true]);
    expect(lossy.health).toBe('lossy');
    let s = lossy;
    let asked = 0;
    for (; s.health === 'lossy'; asked++) s = afterSmall(s, true);
    expect(s.health).toBe('reachable');
    expect(lostOf(s)).toBeLessThan(LOSSY);
    expect(asked).toBe(WINDOW - 4);
    // Two of twenty are a tenth.
    expect(told([false, ...Array(18).fill(true), false, true]).health).toBe('reachable');
    expect(told([...Array(18).fill(true), false, true, false, true]).health).toBe('lossy');
  });

  test('a path that answers whenever it is asked is reachable, and one that never does is not', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), (n) => {
        expect(told(Array(n).fill(true)).health).toBe('reachable');
        expect(told(Array(n).fill(false)).health).toBe(n < DOWN ? 'unprobed' : 'unreachable');
      }),
    );
  });
});

describe('checksums', () => {
  const pair = fc.record({ left: fc.boolean(), complete: fc.boolean() });

  test(`are corrupted only after ${CORRUPTED} times in a row that only the complete one arrived`, () => {
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 30 }), (pairs) => {
        let c = NO_CHECKSUM;
        for (const [i, { left, complete }] of pairs.entries()) {
          const before = c;
          c = afterChecksum(c, left, left ? undefined : complete);
          if (left) expect(c.verdict).toBe('good');
          if (c.verdict !== 'corrupted' || before.verdict === 'corrupted') continue;
          expect(i + 1).toBeGreaterThanOrEqual(CORRUPTED);
          for (const last of pairs.slice(i + 1 - CORRUPTED, i + 1)) {
            expect(last).toEqual({ left: false, complete: true });
          }
        }
      }),
    );
  });

  test('are unknown where nobody answers, at once or after having been good', () => {
    let c = afterChecksum(NO_CHECKSUM, true, undefined);
    c = afterChecksum(c, false, false);
    expect(c.verdict).toBe('good');
    c = afterChecksum(afterChecksum(c, false, false), false, false);
    expect(c.verdict).toBe('unknown');
  });
});

/** Search on a path that passes up to `limit` bytes. */
function search(
  family: 4 | 6,
  top: number,
  passes: (size: number) => boolean,
  named: (size: number) => number | undefined = () => undefined,
): { found: number | undefined; packets: number; steps: number; end: SizeSearch } {
  let s = startSearch(family, top, named(top));
  let packets = 0;
  for (;;) {
    const sizes = nextSizes(s);
    if (sizes.length === 0) return { found: foundBy(s), packets, steps: s.steps, end: s };
    for (const size of sizes) {
      expect(size).toBeGreaterThanOrEqual(floorOf(family));
      expect(size).toBeLessThanOrEqual(top);
    }
    packets += sizes.length;
    const hints = sizes.flatMap((size) => (passes(size) ? [] : (named(size) ?? [])));
    s = afterSizes(s, sizes, sizes.filter(passes), hints.length > 0 ? Math.max(...hints) : undefined);
  }
}

describe('the search for the path MTU', () => {
  const family = fc.constantFrom(4 as const, 6 as const);
  const world = fc
    .record({ family, top: fc.integer({ min: 1281, max: 65_535 }) })
    .chain(({ family: f, top }) =>
      fc.record({
        family: fc.constant(f),
        top: fc.constant(top),
        limit: fc.integer({ min: floorOf(f), max: top - 1 }),
        named: fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined }),
      }),
    );

  test('finds it to the byte, by few packets, whatever anybody names', () => {
    fc.assert(
      fc.property(world, ({ family: f, top, limit, named }) => {
        const { found, packets, steps } = search(
          f,
          top,
          (size) => size <= limit,
          () => named,
        );
        expect(found).toBe(limit);
        expect(steps).toBeLessThan(MOST_STEPS);
        expect(packets).toBeLessThanOrEqual(3 * Math.ceil(Math.log(top) / Math.log(4)) + 8);
      }),
    );
  });

  test('takes a named MTU for a hint, and tries it', () => {
    const told = search(
      4,
      1450,
      (size) => size <= 1350,
      () => 1350,
    );
    expect(told).toMatchObject({ found: 1350, packets: 4, steps: 2 });
  });

  test('never says more than what has passed, and no more than there is, where packets are lost by chance', () => {
    fc.assert(
      fc.property(
        world,
        fc.infiniteStream(fc.integer({ min: 0, max: 9 })),
        ({ family: f, top, limit }, luck) => {
          const { found, steps } = search(f, top, (size) => size <= limit && luck.next().value! > 0);
          expect(found ?? 0).toBeLessThanOrEqual(limit);
          expect(steps).toBeLessThanOrEqual(MOST_STEPS);
        },
      ),
    );
  });

  test('finds out that everything passes after all', () => {
    let top = 0;
    const { found } = search(4, 1450, (size) => {
      if (size === 1450) top++;
      return size < 1450 || top > 1;
    });
    expect(found).toBe(1450);
  });

  test('finds nothing below the floor, and has nothing to look for there', () => {
    expect(search(4, 1450, (size) => size < 576).found).toBeUndefined();
    expect(search(6, 1280, () => true)).toMatchObject({ found: undefined, packets: 0 });
  });
});
