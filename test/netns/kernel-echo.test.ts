import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { ROUTE_PROTOCOL } from '../../src/contract.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { Observer } from '../../src/kernel/observer.ts';
import type { ObservedState } from '../../src/kernel/state.ts';
import type { KernelObject } from '../../src/kernel/types.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { AtWork, until } from '../fake/scenarios.ts';
import { carryOut, OTHERS, OURS, START } from '../fake/sequence.ts';
import { overlay, owner, peer, through, wish } from '../fake/wishes.ts';
import { kernelIn } from '../support/kernelIn.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

/** The kernel tells us of our own changes, too: that must cost no look, and hide nobody else's. */

async function host() {
  const netns = await Netns.create(thisProcess(), 'echo');
  await netns.ipBatch(
    OTHERS.flatMap((name, i) => [
      `link add ${name} mtu 1500 type vxlan id ${100 + i} dstport 4789`,
      `link set ${name} up`,
    ]),
  );
  const kernel = kernelIn(netns);
  const others = kernelIn(netns);
  for (const what of START.slice(0, 2)) expect(await carryOut(others, what)).toBe('ok');
  return {
    netns,
    kernel,
    others,
    async [Symbol.asyncDispose]() {
      kernel.close();
      others.close();
      await netns[Symbol.asyncDispose]();
    },
  };
}

afterAll(() => thisProcess().remove());

/** Counts the looks at what peers have. */
function counting(kernel: Kernel): { readonly kernel: Kernel; looks: string[] } {
  const looks: string[] = [];
  const counted = new Set<string | symbol>(['neighs', 'fdb', 'routes']);
  const watched = new Proxy(kernel, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (counted.has(name)) looks.push(String(name));
        return value.apply(target, args);
      };
    },
  });
  return { kernel: watched, looks };
}

/** What is held of peers, in an order of its own. */
const held = (state: ObservedState) =>
  [
    ...OURS.flatMap((dev) => [...state.neighs(dev), ...state.fdb(dev)]),
    ...[...state.routeListings()]
      .flatMap((rows) => [...rows])
      .flatMap(([key, rows]) => {
        const ours = rows.filter((row) => row.protocol === ROUTE_PROTOCOL);
        return ours.length > 0 ? [[key, ours] as const] : [];
      }),
  ].sort(([a], [b]) => (a < b ? -1 : 1));

test('what it has done itself is not looked at, what others do is', async () => {
  await using world = await host();
  const { kernel, looks } = counting(world.kernel);
  await using work = await AtWork.on(kernel);
  await work.want(overlay(3, [4, 6]));
  await work.calm();
  /** Everything told before this has been dealt with after it. */
  let marks = 0;
  const mark = async () => {
    const name = `mark${++marks}`;
    await world.netns.ip(`link add ${name} type bridge`);
    await until(`${name} is seen`, () => work.observer.state.link(name) !== undefined);
  };
  // The kernel tells of a new device's carrier up to a second late (net/core/link_watch.c), and that is looked at.
  await until(
    'the devices have settled',
    async () => {
      looks.length = 0;
      await sleep(1_200);
      await mark();
      return looks.length === 0;
    },
    30_000,
  );
  const moved = [...overlay(3, [4, 6])].map((o) =>
    o.kind === 'fdb' && o.dst.family === 4 ? { ...o, dst: addr('192.0.2.99') } : o,
  );
  const renamed = moved.map((o) =>
    o.kind === 'neigh' && o.addr.family === 6 ? { ...o, mac: mac('02:00:00:00:09:09') } : o,
  );
  for (const wanted of [
    [...overlay(6, [4, 6])],
    [...overlay(2, [4, 6])],
    [...overlay(3, [4, 6])],
    moved,
    renamed,
  ]) {
    await work.want(wanted);
    await mark();
    expect(looks).toEqual([]);
  }

  const { end, mac: vtep } = peer(4, 2);
  const others = through(4, 2, { mac: mac('02:00:00:00:00:77') });
  for (const [kind, drift] of [
    [
      'neigh',
      () => carryOut(world.others, { do: 'op', op: { verb: 'put', object: [...others][0] as never } }),
    ],
    ['fdb', () => world.netns.run(['bridge', 'fdb', 'del', vtep, 'dev', 'flannel.1'])],
    [
      'fdb',
      () => world.netns.run(['bridge', 'fdb', 'replace', vtep, 'dev', 'flannel.1', 'dst', '192.0.2.77']),
    ],
    // To where it leads already, but not permanently.
    [
      'fdb',
      () => world.netns.run(`bridge fdb replace ${vtep} dev flannel.1 dst 192.0.2.99 dynamic`.split(' ')),
    ],
    ['neigh', () => world.netns.ip('neigh del 10.42.2.0 dev flannel.1')],
    ['route', () => world.netns.ip('route del 10.42.2.0/24')],
  ] as const) {
    const before = work.repairs(kind);
    await drift();
    await until(`${kind} is put right`, () => work.repairs(kind) > before);
  }
  expect(end).toEqual(addr('10.42.2.0'));
  expect(work.errors).toEqual([]);
});

test('what is held after changes of its own is what the kernel lists', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(wish, { minLength: 2, maxLength: 8 }), async (wishes) => {
      await using world = await host();
      await using work = await AtWork.on(world.kernel);
      const base = [...overlay(0, [4, 6])];
      await work.want(base);
      for (const objects of wishes) {
        const peers = objects.filter(
          (o: KernelObject) =>
            ['neigh', 'fdb', 'route'].includes(o.kind) && !('dev' in o && o.dev === 'flannel0'),
        );
        await work.want([...base, ...peers]);
        const fresh = new Observer(world.others, { owner });
        await fresh.look();
        expect(held(work.observer.state)).toEqual(held(fresh.state));
      }
    }),
    { numRuns: 15, seed: 20_260_101, endOnFailure: true },
  );
}, 120_000);
