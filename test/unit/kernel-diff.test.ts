import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { desiredState, describe as inWords } from '../../src/kernel/desired.ts';
import { type PlanItem, plan, type Step } from '../../src/kernel/diff.ts';
import { encode } from '../../src/kernel/encode.ts';
import type { Op } from '../../src/kernel/kernel.ts';
import { Names } from '../../src/kernel/names.ts';
import { Observer } from '../../src/kernel/observer.ts';
import { settled } from '../../src/kernel/outcome.ts';
import { type KernelObject, objectKey } from '../../src/kernel/types.ts';
import { NLM_F_REPLACE } from '../../src/netlink/header.ts';
import { RTM_NEWROUTE } from '../../src/netlink/rtnl.ts';
import { FakeKernel } from '../fake/kernel.ts';
import { type Change, carryOut, change, OTHERS, OURS, portrait, START } from '../fake/sequence.ts';
import { owner, wish } from '../fake/wishes.ts';

/** A kernel to which all kinds of things have happened; its underlay works. */
async function troubled(changes: readonly Change[]): Promise<FakeKernel> {
  const kernel = new FakeKernel();
  for (const name of OTHERS) kernel.addDevice(name);
  // Not everything at once: `u0` must stay what it is, for no plan can do without its underlay.
  const harmless = changes.filter(
    (c) =>
      !(c.do === 'change' && c.link.name === 'u0') &&
      !(c.do === 'deleteOn' && c.object.dev === 'u0') &&
      // A better route of others to a peer's prefix: the kernel refuses the peer's gateway then, and rightly so.
      !(
        c.do === 'op' &&
        c.op.object.kind === 'route' &&
        c.op.object.dst.addr.family === 6 &&
        c.op.object.metric
      ),
  );
  for (const what of [...START, ...harmless]) await carryOut(kernel, what);
  kernel.log.length = 0;
  return kernel;
}

async function planned(
  kernel: FakeKernel,
  objects: readonly KernelObject[],
  prune = true,
): Promise<PlanItem[]> {
  const observer = new Observer(kernel, { owner });
  await observer.look();
  return [...plan(observer.state, desiredState(objects), owner, { prune })].filter(
    (item) => item !== undefined,
  );
}

const tellStep = ({ ops }: Step): string => ops.map((op) => `${op.verb} ${inWords(op.object)}`).join(', ');

const steps = (items: readonly PlanItem[]): Step[] => items.filter((item) => item.kind === 'step');

/** Carries the steps out; returns what failed and mattered. */
function apply(kernel: FakeKernel, items: readonly PlanItem[]): string[] {
  const failed: string[] = [];
  for (const { ops } of steps(items)) {
    for (const op of ops) {
      const error = settled(op, kernel.applyOne(op));
      if (error) failed.push(error.message);
    }
  }
  return failed;
}

/** What belongs to others: everything on their devices, and their routes anywhere. */
const foreign = (lines: readonly string[]): string[] =>
  lines.filter(
    (line) =>
      !OURS.some(
        (dev) =>
          line.includes(`dev ${dev}`) || line.startsWith(`link ${dev}`) || line.startsWith(`fdb ${dev}`),
      ) && !line.includes('protocol 76'),
  );

const RUNS = Number(process.env.LODEN_MODEL_RUNS ?? 200);
const changes = fc.array(change, { maxLength: 40 });

describe('plan', () => {
  test('of a wish applied to any kernel, gives the wish', async () => {
    await fc.assert(
      fc.asyncProperty(changes, wish, async (before, objects) => {
        const kernel = await troubled(before);
        const others = foreign(await portrait(kernel));
        const items = await planned(kernel, objects);
        // What was in the way may have been ours, and gone by now: an old address whose prefix is a peer's.
        const failed = apply(kernel, items);
        if (failed.length > 0 || items.some((i) => i.kind === 'conflict')) {
          expect(apply(kernel, await planned(kernel, objects))).toEqual([]);
        }
        expect(foreign(await portrait(kernel))).toEqual(others);

        const left = await planned(kernel, objects);
        expect(steps(left).map(tellStep)).toEqual([]);
        // What is not there is there for a reason that has been given.
        const withheld = new Set(left.filter((i) => i.kind === 'conflict').map((i) => i.key));
        const observer = new Observer(kernel, { owner });
        await observer.look();
        for (const route of desiredState(objects).route.values()) {
          const there = observer.state
            .routesAt(objectKey(route))
            .some((o) => o.protocol === 76 || o.protocol === 3);
          expect(there || withheld.has(objectKey(route)), inWords(route)).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('leads from any wish to any other at once', async () => {
    await fc.assert(
      fc.asyncProperty(wish, wish, async (first, second) => {
        const kernel = await troubled([]);
        expect(apply(kernel, await planned(kernel, first))).toEqual([]);
        expect(apply(kernel, await planned(kernel, second))).toEqual([]);
        expect(
          (await planned(kernel, second)).map((i) => (i.kind === 'step' ? tellStep(i) : i.kind)),
        ).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  });

  test('of what is already there, is nothing', async () => {
    await fc.assert(
      fc.asyncProperty(wish, async (objects) => {
        const kernel = await troubled([]);
        apply(kernel, await planned(kernel, objects));
        expect(
          (await planned(kernel, objects)).map((i) => (i.kind === 'step' ? tellStep(i) : i.kind)),
        ).toEqual([]);
      }),
    );
  });

  test('survives the failure of any one operation: the next plan completes the wish', async () => {
    await fc.assert(
      fc.asyncProperty(
        changes,
        wish,
        fc.nat(40),
        fc.constantFrom('ENOMEM', 'EEXIST', 'ENOBUFS', 'EPERM'),
        async (before, objects, n, code) => {
          const kernel = await troubled(before);
          const others = foreign(await portrait(kernel));
          let count = 0;
          kernel.fault = () => (count++ === n ? code : undefined);
          apply(kernel, await planned(kernel, objects));
          kernel.fault = () => undefined;
          // A failed link can take two more: one for the link, one for what could not be put on it.
          apply(kernel, await planned(kernel, objects));
          expect(apply(kernel, await planned(kernel, objects))).toEqual([]);
          expect(steps(await planned(kernel, objects)).map(tellStep)).toEqual([]);
          expect(foreign(await portrait(kernel))).toEqual(others);
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('never replaces a route', async () => {
    await fc.assert(
      fc.asyncProperty(changes, wish, async (before, objects) => {
        const kernel = await troubled(before);
        const names = new Names();
        for (const [i, name] of [...OURS, ...OTHERS, 'lo'].entries()) names.set(i + 1, name);
        for (const { ops } of steps(await planned(kernel, objects))) {
          for (const request of ops.flatMap((op) => encode(op, names))) {
            if (request.type === RTM_NEWROUTE) expect(request.flags & NLM_F_REPLACE).toBe(0);
          }
        }
      }),
    );
  });

  test('deletes nothing while it may not prune', async () => {
    await fc.assert(
      fc.asyncProperty(changes, wish, async (before, objects) => {
        const kernel = await troubled(before);
        for (const step of steps(await planned(kernel, objects, false))) {
          // Giving way to a local prefix is the one exception.
          if (step.aim === 'delete') expect(step.object.kind).toBe('route');
        }
        const wanted = new Set(objects.map(objectKey));
        const gone = (op: Op) => op.verb === 'delete' && op.object.kind === 'route' && !op.optional;
        for (const { key, ops } of steps(await planned(kernel, objects, false))) {
          if (ops.some(gone)) expect(wanted.has(key)).toBe(true);
        }
      }),
    );
  });

  test('changes a route without a moment in which there is none', async () => {
    await fc.assert(
      fc.asyncProperty(changes, wish, wish, async (before, first, second) => {
        const kernel = await troubled(before);
        apply(kernel, await planned(kernel, first));
        const routed = new Set(
          desiredState(first)
            .route.values()
            .filter((r) => desiredState(second).route.has(objectKey(r)))
            .map((r) => objectKey(r)),
        );
        for (const step of steps(await planned(kernel, second))) {
          const { object, key, ops } = step;
          if (object.kind !== 'route' || step.aim !== 'put' || !routed.has(key)) continue;
          if (object.dst.addr.family === 6 && object.onlink) continue; // May have to leave a gap: see diff.ts.
          for (const op of ops) {
            kernel.applyOne(op);
            const covered = await covers(kernel, objectKey(object));
            expect(covered, `${inWords(object)} after ${op.verb}`).toBe(true);
          }
        }
      }),
    );
  });
});

/** Is there a route to the prefix, at whatever metric? */
async function covers(kernel: FakeKernel, key: string): Promise<boolean> {
  const dst = key.split(' ')[1];
  return (await portrait(kernel)).some((line) => line.startsWith(`route ${dst} `));
}
