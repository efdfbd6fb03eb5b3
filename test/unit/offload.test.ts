import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type OffloadEffect, type OffloadEvent, offloadNext } from '../../src/daemon/reactions/offload.ts';
import {
  freeOffload,
  isOurs,
  type Offload,
  type OffloadOptions,
  restoredOffload,
  unattendedOffload,
  wantedOffload,
} from '../../src/daemon/reactions/offloadState.ts';

const OPTIONS: OffloadOptions = { first: 600, last: 4000, again: 10 };
const corrupted = (path: string): OffloadEvent => ({ event: 'report', path, checksum: 'corrupted' });

/** A device, who watches over it, and what has been told. */
class World {
  state: Offload = freeOffload(OPTIONS);
  now = 0;
  on: boolean | undefined = true;
  /** Would somebody answer in a trial? */
  ready = true;
  readonly told: string[] = [];
  checking: Extract<OffloadEffect, { effect: 'check' }> | undefined;

  do(event: OffloadEvent): this {
    const { state, effects } = offloadNext(this.state, event, this.on, this.now, OPTIONS);
    this.state = state;
    for (const effect of effects) {
      if (effect.effect === 'check') this.checking = effect;
      else this.told.push(effect.what);
    }
    return this;
  }

  /** What is wanted is done, and seen. */
  settle(): this {
    const wanted = wantedOffload(this.state);
    if (wanted !== undefined && this.on !== undefined) this.on = wanted;
    return this.do({ event: 'kernel' });
  }

  checked(verdict: 'unknown' | 'good' | 'corrupted'): this {
    const { check } = this.checking!;
    this.checking = undefined;
    return this.do({ event: 'checked', check, verdict });
  }

  wait(ms: number): this {
    this.now += ms;
    return this.do({ event: 'tick', ready: this.ready });
  }
}

/** Until it is off and that is known to help. */
const off = (): World => new World().do(corrupted('a')).settle().checked('good');

describe('corrupted packets', () => {
  test('turn the offload off, and it stays so when that helps', () => {
    const world = new World().do(corrupted('a'));
    expect([world.state.phase, wantedOffload(world.state)]).toEqual(['verifying', false]);
    world.do(corrupted('b'));
    // Nothing is judged before the kernel has done it.
    world.do({ event: 'kernel' });
    expect(world.checking).toBeUndefined();
    world.settle();
    expect(world.checking?.paths).toEqual(['a', 'b']);
    // One check at a time.
    const { checking } = world;
    world.settle();
    expect(world.checking).toBe(checking);
    world.checked('good');
    expect([world.state.phase, world.on, world.told]).toEqual(['off', false, ['turnedOff']]);
    expect(isOurs(world.state)).toBe(true);
  });

  test('that do not become better have another cause: it is turned on again, and left alone ever longer', () => {
    const world = new World();
    for (const delay of [1200, 2400, 4000, 4000]) {
      world.do(corrupted('a')).settle().checked('corrupted');
      expect([world.state.phase, wantedOffload(world.state), isOurs(world.state)]).toEqual([
        'undoing',
        true,
        true,
      ]);
      world.settle();
      expect([world.state.phase, wantedOffload(world.state), world.on]).toEqual([
        'helpless',
        undefined,
        true,
      ]);
      expect(world.state.reason).toMatch(/not by this host's offload/);
      world
        .do(corrupted('a'))
        .wait(delay - 1)
        .do(corrupted('a'));
      expect(world.state.phase).toBe('helpless');
      world.wait(1);
      expect(world.state.phase).toBe('free');
    }
    expect(world.told).toEqual(Array(4).fill('helpless'));
  });

  test('cannot be checked when nobody answers: it is seen again, and nothing is undone meanwhile', () => {
    const world = new World().do(corrupted('a')).settle().checked('unknown');
    expect(wantedOffload(world.state)).toBe(false);
    world.settle();
    expect(world.checking).toBeUndefined();
    world.wait(9);
    expect(world.checking).toBeUndefined();
    world.wait(1);
    expect(world.checking).toBeDefined();
    expect(world.checked('good').state.phase).toBe('off');
  });

  test.each([
    ['off by somebody else', false, /off already/],
    ['unknown to this kernel', undefined, /does not tell/],
  ] as const)('of a device whose offload is %s are told of; it is not touched', (_, on, reason) => {
    const world = new World();
    world.on = on;
    for (let i = 0; i < 20; i++) {
      world.do(corrupted('a')).do({ event: 'kernel' }).do({ event: 'uplink' }).wait(500);
      expect(wantedOffload(world.state)).toBeUndefined();
    }
    world.do(corrupted('a'));
    expect(world.state.reason).toMatch(reason);
    // Told ever more seldom, and anew at another uplink.
    const told: number[] = [];
    world.do({ event: 'uplink' });
    for (world.told.length = 0; told.length < 5; world.wait(100)) {
      world.do(corrupted('a'));
      if (world.told.length > told.length) told.push(world.now);
    }
    const gaps = told.slice(1).map((at, i) => at - told[i]!);
    expect(gaps).toEqual([600, 1200, 2400, 4000]);
  });
});

describe('an offload that is off', () => {
  test('is tried when its time is over; and stays on when all is well', () => {
    const world = off().wait(599);
    expect(wantedOffload(world.state)).toBe(false);
    world.wait(1);
    expect([world.state.phase, wantedOffload(world.state)]).toEqual(['trial', true]);
    world.settle().checked('good');
    expect([world.state, world.told]).toEqual([
      { ...freeOffload(OPTIONS), checks: 2, delay: 1200, until: 6600 },
      ['turnedOff', 'turnedOn'],
    ]);
    // All has been well for so long that nothing is remembered.
    expect(world.wait(6000).state).toEqual({ ...freeOffload(OPTIONS), checks: 2 });
  });

  test('is not tried before there is somebody who would answer', () => {
    const world = off();
    world.ready = false;
    for (let n = 0; n < 100; n++) expect(world.wait(600).state.phase).toBe('off');
    world.ready = true;
    expect(world.wait(10).state.phase).toBe('trial');
  });

  test('is off for longer when a good trial was in vain', () => {
    const world = off();
    for (const delay of [600, 1200, 2400, 4000, 4000]) {
      expect(world.wait(delay - 1).state.phase).toBe('off');
      expect(world.wait(1).settle().checked('good').state.phase).toBe('free');
      world.do(corrupted('a')).settle().checked('good');
    }
  });

  test('is off again at once when it would still corrupt, for twice the time, up to a limit', () => {
    const world = off();
    for (const delay of [600, 1200, 2400, 4000, 4000]) {
      world.wait(delay - 1);
      expect(world.state.phase).toBe('off');
      world.wait(1).settle();
      expect(world.on).toBe(true);
      world.checked('corrupted');
      expect(wantedOffload(world.state)).toBe(false);
      world.settle();
      expect(world.checking).toBeUndefined();
    }
    expect(world.told).toEqual(['turnedOff', ...Array(5).fill('stillCorrupted')]);
  });

  test('is tried in as long again when nobody can tell', () => {
    const world = off().wait(600).settle().checked('unknown');
    expect([world.state.phase, world.state.until - world.now]).toEqual(['off', 600]);
    expect(world.told).toEqual(['turnedOff']);
  });

  test('is tried at once on another uplink', () => {
    const world = off().do({ event: 'uplink' }).wait(0);
    expect(wantedOffload(world.state)).toBe(true);
    expect(world.settle().checked('good').state.phase).toBe('free');
  });

  test('by an earlier daemon is tried too', () => {
    const world = new World();
    world.on = false;
    world.state = restoredOffload({ suspects: ['a'], delay: 2400 }, OPTIONS, 0);
    expect([wantedOffload(world.state), isOurs(world.state)]).toEqual([false, true]);
    world.wait(600).settle();
    expect(world.checking?.paths).toEqual(['a']);
    expect(world.checked('corrupted').state.delay).toBe(4000);
    expect(world.wait(4000).settle().checked('good').state.phase).toBe('free');
    expect(world.on).toBe(true);
  });

  test('by an earlier daemon is on again, and nobody’s, when nobody probes', () => {
    const world = new World();
    world.on = false;
    world.state = unattendedOffload(OPTIONS);
    expect([wantedOffload(world.state), isOurs(world.state)]).toEqual([true, true]);
    world.settle();
    expect([world.on, world.checking, isOurs(world.state), world.told]).toEqual([true, undefined, false, []]);
  });

  test('the result of an old check is nobody’s', () => {
    const world = new World().do(corrupted('a')).settle();
    world.do({ event: 'checked', check: 7, verdict: 'corrupted' });
    expect(world.state.phase).toBe('verifying');
  });
});

test('whatever happens: only what was turned off here is turned on, no oftener than allowed, and all ends well', () => {
  const step = fc.constantFrom(
    'report',
    'report',
    'settle',
    'settle',
    'settle',
    'answer',
    'answer',
    'answer',
    'uplink',
    'silence',
    'wait',
    'wait',
    'long',
    'operator',
    'cause',
    'elsewhere',
    'gone',
    'deaf',
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const world = new World();
      /** Does this device corrupt while its offload is on? Do packets arrive corrupted whatever it does? */
      let cause = false;
      let elsewhere = false;
      const truth = () => (elsewhere || (cause && world.on === true) ? 'corrupted' : 'good');
      let ours = false;
      const watched = (work: () => void) => {
        const before = wantedOffload(world.state);
        const { phase, until } = world.state;
        work();
        const after = wantedOffload(world.state);
        if (after === false && !ours) {
          expect(world.state.phase).toBe('verifying');
          ours = true;
        }
        if (after === true) expect(ours).toBe(true);
        if (after === undefined) ours = false;
        if (before === false && after === true && phase === 'off')
          expect(world.now).toBeGreaterThanOrEqual(until);
        expect(world.state.delay).toBeLessThanOrEqual(OPTIONS.last);
        expect(world.state.suspects.length).toBeLessThanOrEqual(3);
      };
      for (const what of steps) {
        watched(() => {
          if (what === 'report' && truth() === 'corrupted') world.do(corrupted('a'));
          else if (what === 'settle') world.settle();
          else if (what === 'answer' && world.checking) world.checked(truth());
          else if (what === 'silence' && world.checking) world.checked('unknown');
          else if (what === 'uplink') world.do({ event: 'uplink' });
          else if (what === 'wait') world.wait(50);
          else if (what === 'long') world.wait(700);
          else if (what === 'operator' && !ours) world.on = !world.on;
          else if (what === 'cause') cause = !cause;
          else if (what === 'elsewhere') elsewhere = !elsewhere;
          else if (what === 'deaf') world.ready = !world.ready;
          else if (what === 'gone') world.on = world.on === undefined ? true : undefined;
        });
      }
      // In the end nothing is wrong, and the kernel does what it is told.
      cause = false;
      elsewhere = false;
      world.on ??= true;
      world.ready = true;
      const end = ours ? true : world.on;
      for (let i = 0; i < 60; i++) {
        watched(() => {
          world.settle();
          if (world.checking) world.checked(truth());
          world.settle().wait(1000);
        });
      }
      expect([world.state.phase, world.on]).toEqual(['free', end]);
    }),
    { numRuns: 2000, seed: 20_260_101 },
  );
});
