import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { desiredState, describe as inWords } from '../../src/kernel/desired.ts';
import { type PlanItem, plan, type Step } from '../../src/kernel/diff.ts';
import { encode } from '../../src/kernel/encode.ts';
import type { Op } from '../../src/kernel/kernel.ts';
import { Names } from '../../src/kernel/names.ts';
import { Observer } from '../../src/kernel/observer.ts';
import { settled } from '../../src/kernel/outcome.ts';
import {
  type Address,
  type Fdb,
  type KernelObject,
  type Link,
  objectKey,
  type Route,
} from '../../src/kernel/types.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { NLM_F_REPLACE } from '../../src/netlink/header.ts';
import { RTM_NEWROUTE } from '../../src/netlink/rtnl.ts';
import { FakeKernel } from '../fake/kernel.ts';
import { type Change, carryOut, change, OTHERS, OURS, portrait, START } from '../fake/sequence.ts';
import { owner, peer, through, tunnel, wish } from '../fake/wishes.ts';

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

/** What a plan does to one object, in words. */
async function stepFrom(
  before: readonly Change[],
  objects: readonly KernelObject[],
  key: string,
): Promise<string[]> {
  const kernel = await troubled(before);
  const step = steps(await planned(kernel, objects)).find((s) => s.key === key);
  return (step?.ops ?? []).map((op) => `${op.verb} ${inWords(op.object)}${op.optional ? ' (optional)' : ''}`);
}

describe('a step', () => {
  const create = (object: Link | Address | Route): Change => ({ do: 'op', op: { verb: 'create', object } });
  const [, , v4] = [...through(4, 2)] as [unknown, unknown, Route];
  const [, , v6] = [...through(6, 2)] as [unknown, unknown, Route];
  const direct = (r: Route, via: string): Route => ({ ...r, via: addr(via), dev: 'u0', onlink: false });

  test('changes an IPv4 route by appending the new one first', async () => {
    expect(
      await stepFrom([create(direct(v4, '192.0.2.9'))], [tunnel(4), v4], 'route 10.42.2.0/24 metric 0'),
    ).toEqual([
      'append route 10.42.2.0/24 metric 0 via 10.42.2.0 dev flannel.1 onlink',
      'delete route 10.42.2.0/24 metric 0 via 192.0.2.9 dev u0',
    ]);
  });

  test('changes an IPv6 route behind a spare one', async () => {
    const key = 'route fd00:42:2::/64 metric 0';
    expect(await stepFrom([create(v6)], [tunnel(6), direct(v6, 'fd99::9')], key)).toEqual([
      'create route fd00:42:2::/64 metric 1025 via fd99::9 dev u0 (optional)',
      'delete route fd00:42:2::/64 metric 0 via fd00:42:2:: dev flannel-v6.1 onlink',
      'create route fd00:42:2::/64 metric 0 via fd99::9 dev u0',
      'delete route fd00:42:2::/64 metric 1025 via fd99::9 dev u0 (optional)',
    ]);
  });

  test('makes room for an IPv6 address of another prefix length', async () => {
    const wide: Address = { kind: 'address', dev: 'flannel-v6.1', addr: prefix('fd00:42:7::1/64') };
    const wanted: Address = { ...wide, addr: prefix('fd00:42:7::1/128') };
    expect(await stepFrom([create(wide)], [tunnel(6), wanted], objectKey(wanted))).toEqual([
      'delete address fd00:42:7::1/64 dev flannel-v6.1',
      'create address fd00:42:7::1/128 dev flannel-v6.1',
    ]);
  });

  test('moves an FDB entry in place', async () => {
    const entry: Fdb = { kind: 'fdb', dev: 'flannel.1', mac: peer(4, 2).mac, dst: addr('192.0.2.2') };
    const moved = { ...entry, dst: addr('192.0.2.3') };
    const before: Change = { do: 'op', op: { verb: 'put', object: entry } };
    expect(await stepFrom([before], [tunnel(4), moved], objectKey(moved))).toEqual([
      `put fdb ${entry.mac} dev flannel.1 dst 192.0.2.3`,
    ]);
  });

  test('leaves one remote of a MAC that has got two', async () => {
    const flood: Fdb = {
      kind: 'fdb',
      dev: 'flannel.1',
      mac: mac('01:00:5e:00:00:01'),
      dst: addr('192.0.2.2'),
    };
    const both = ['192.0.2.2', '192.0.2.3'].map(
      (dst): Change => ({ do: 'op', op: { verb: 'append', object: { ...flood, dst: addr(dst) } } }),
    );
    expect(await stepFrom(both, [tunnel(4), flood], objectKey(flood))).toEqual([
      'delete fdb 01:00:5e:00:00:01 dev flannel.1 dst 192.0.2.3',
    ]);
  });

  test('makes a device anew only for what cannot be changed', async () => {
    const to = (link: Link) => stepFrom([], [link], 'link flannel.1');
    const { vxlan } = tunnel(4);
    const anew = ['delete link flannel.1', 'create link flannel.1'];
    const inPlace = ['change link flannel.1'];
    expect(await to(tunnel(4))).toEqual([]);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, vni: 2 } })).toEqual(anew);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, port: 4789 } })).toEqual(anew);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, gbp: true } })).toEqual(anew);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, local: addr('fd99::1') } })).toEqual(anew);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, local: addr('192.0.2.7') } })).toEqual(inPlace);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, underlay: 'cni0' } })).toEqual(inPlace);
    expect(await to({ ...tunnel(4), vxlan: { ...vxlan, learning: true } })).toEqual(inPlace);
    expect(await to({ ...tunnel(4), mtu: 1300 })).toEqual(inPlace);
    expect(await to({ ...tunnel(4), txChecksum: false })).toEqual(inPlace);
    expect(await to({ ...tunnel(4), txChecksum: true })).toEqual([]);
    expect(await to({ ...tunnel(4), mac: mac('02:00:00:00:00:77') })).toEqual(inPlace);
  });

  test('reports a local address inside the prefix of a peer, and routes it all the same', async () => {
    const inside: Address = { kind: 'address', dev: 'cni0', addr: prefix('10.42.2.130/25') };
    const kernel = await troubled([create(inside)]);
    const items = await planned(kernel, [tunnel(4), v4]);
    expect(items.filter((i) => i.kind === 'conflict')).toMatchObject([
      { with: '10.42.2.130/25 on cni0 inside it', withheld: false },
    ]);
    expect(steps(items).some((s) => s.key === objectKey(v4))).toBe(true);
  });

  test('makes nothing of a wider local prefix: an overlay may lie within the range of the underlay', async () => {
    const wide: Address = { kind: 'address', dev: 'cni0', addr: prefix('10.0.0.1/8') };
    const items = await planned(await troubled([create(wide)]), [tunnel(4), v4]);
    expect(items.filter((i) => i.kind === 'conflict')).toEqual([]);
  });
});

/** Is there a route to the prefix, at whatever metric? */
async function covers(kernel: FakeKernel, key: string): Promise<boolean> {
  const dst = key.split(' ')[1];
  return (await portrait(kernel)).some((line) => line.startsWith(`route ${dst} `));
}
