import { expect, test } from 'vitest';
import { LINK_ALIAS, ROUTE_PROTOCOL } from '../../src/contract.ts';
import { cleanup } from '../../src/kernel/cleanup.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { LinkChange } from '../../src/kernel/link.ts';
import { Observer } from '../../src/kernel/observer.ts';
import { Reconciler, type ReconcilerOptions } from '../../src/kernel/reconciler.ts';
import type { PassReport } from '../../src/kernel/status.ts';
import type { KernelObject, KindName, Link, Route } from '../../src/kernel/types.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { formatPrefix, prefix } from '../../src/net/prefix.ts';
import { type Change, carryOut, portrait } from './sequence.ts';
import { LOCAL, overlay, owner, peer, through, tunDevice, tunnel, tunOverlay } from './wishes.ts';

/** A host with an uplink `u0` (192.0.2.1/24, fd99::1/64) and a bridge `cni0`. */
export interface World extends AsyncDisposable {
  /** The reconciler's own. */
  readonly kernel: Kernel;
  /** Somebody else's hands on the same kernel. */
  readonly others: Kernel;
}

/** Waits for what must come about soon; the time is a bound, not a measurement. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  ms = 5_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** An observer and a reconciler at work on a kernel. */
export class AtWork implements AsyncDisposable {
  readonly observer: Observer;
  readonly reconciler: Reconciler;
  readonly reports: PassReport[] = [];
  readonly errors: unknown[] = [];
  #revision = 0n;

  private constructor(kernel: Kernel, options: ReconcilerOptions) {
    const onError = (cause: unknown) => this.errors.push(cause);
    this.observer = new Observer(kernel, { owner, debounce: 10, onError });
    this.reconciler = new Reconciler(this.observer, {
      onPass: (r) => this.reports.push(r),
      onError,
      ...options,
    });
  }

  static async on(kernel: Kernel, options: ReconcilerOptions = {}): Promise<AtWork> {
    const work = new AtWork(kernel, options);
    await work.observer.start();
    return work;
  }

  /** Wishes, and waits until it is fulfilled. */
  async want(objects: Iterable<KernelObject>, prune = true): Promise<void> {
    const revision = ++this.#revision;
    await this.reconciler.setDesired(revision, objects, { prune });
    await until(`revision ${revision} is applied`, () => this.reconciler.status().applied === revision);
  }

  /** Waits until the echo of what was done has been looked at, so that it cannot find what happens next by chance. */
  async calm(): Promise<void> {
    let last = performance.now();
    const stop = this.observer.onChange(() => {
      last = performance.now();
    });
    await until('nobody looks any more', () => performance.now() - last > 250);
    stop();
  }

  repairs(kind: KindName): number {
    return this.reconciler.status().repairs[kind];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.reconciler.stop();
    await this.observer.stop();
  }
}

const change = (link: Link, what: keyof LinkChange): Change => ({ do: 'change', link, what });
const route = (n: number): Route => [...through(4, n)].find((o) => o.kind === 'route')!;

/** What somebody may do to us, and the kinds of the objects that are to be put right after it. */
type Drift = readonly [what: string, changes: readonly Change[], repaired: readonly KindName[]];

const DRIFT: readonly Drift[] = [
  [
    'the device is deleted',
    [{ do: 'deleteLink', dev: 'flannel.1' }],
    [
      ...(['link', 'sysctl', 'address'] as const),
      ...(['neigh', 'fdb', 'route'] as const).flatMap((kind) => [kind, kind, kind]),
    ],
  ],
  ['a route is deleted', [{ do: 'op', op: { verb: 'delete', object: route(2) } }], ['route']],
  [
    'all routes are deleted',
    [2, 3, 4].map((n) => ({ do: 'op', op: { verb: 'delete', object: route(n) } })),
    ['route', 'route', 'route'],
  ],
  [
    'a route is exchanged',
    [
      { do: 'op', op: { verb: 'delete', object: route(3) } },
      {
        do: 'op',
        op: { verb: 'create', object: { ...route(3), via: addr('192.0.2.9'), dev: 'u0', onlink: false } },
      },
    ],
    ['route'],
  ],
  [
    'a neighbour is deleted',
    [
      {
        do: 'deleteOn',
        object: { kind: 'neigh', dev: 'flannel.1', addr: peer(4, 2).end, mac: peer(4, 2).mac },
      },
    ],
    ['neigh'],
  ],
  [
    'a neighbour gets another MAC',
    [
      {
        do: 'op',
        op: {
          verb: 'put',
          object: { kind: 'neigh', dev: 'flannel.1', addr: peer(4, 2).end, mac: mac('02:00:00:00:00:77') },
        },
      },
    ],
    ['neigh'],
  ],
  [
    'an FDB entry is deleted',
    [
      {
        do: 'deleteOn',
        object: { kind: 'fdb', dev: 'flannel.1', mac: peer(4, 3).mac, dst: peer(4, 3).endpoint },
      },
    ],
    ['fdb'],
  ],
  [
    'an FDB entry is moved',
    [
      {
        do: 'op',
        op: {
          verb: 'put',
          object: { kind: 'fdb', dev: 'flannel.1', mac: peer(4, 3).mac, dst: addr('192.0.2.99') },
        },
      },
    ],
    ['fdb'],
  ],
  [
    // The last IPv4 address of a device takes its routes and neighbours along.
    'the address is deleted',
    [{ do: 'deleteOn', object: { kind: 'address', dev: 'flannel.1', addr: prefix('10.42.1.0/32') } }],
    ['address', 'neigh', 'neigh', 'neigh', 'route', 'route', 'route'],
  ],
  [
    'the MAC is changed',
    [change({ ...tunnel(4), mac: mac('02:00:00:00:00:66') }, 'mac')],
    ['link', 'neigh', 'neigh', 'neigh'],
  ],
  ['the MTU is changed', [change({ ...tunnel(4), mtu: 1300 }, 'mtu')], ['link']],
  [
    'the device is taken down',
    [change({ ...tunnel(4), up: false }, 'up')],
    ['link', 'neigh', 'neigh', 'neigh', 'route', 'route', 'route'],
  ],
  [
    'the device is taken down and up again',
    [change({ ...tunnel(4), up: false }, 'up'), change({ ...tunnel(4), up: true }, 'up')],
    ['neigh', 'neigh', 'neigh', 'route', 'route', 'route'],
  ],
  ['`local` is changed', [change(tunnel(4, { low: false }), 'vxlan')], ['link']],
  [
    'learning is switched on',
    [change({ ...tunnel(4), vxlan: { ...tunnel(4).vxlan, learning: true } }, 'vxlan')],
    ['link'],
  ],
  [
    // Taken away without being a repair: nothing that we had put was changed.
    'a flood entry with two destinations appears',
    ['192.0.2.21', '192.0.2.22'].map((dst) => ({
      do: 'op',
      op: {
        verb: 'append',
        object: { kind: 'fdb', dev: 'flannel.1', mac: mac('00:00:00:00:00:00'), dst: addr(dst) },
      },
    })),
    [],
  ],
];

/** While our device is told to leave checksums alone. */
const CHECKSUM_DRIFT: readonly Drift[] = [
  ['it is told to fill them in', [change({ ...tunnel(4), txChecksum: true }, 'txChecksum')], ['link']],
  [
    'the device is deleted',
    [{ do: 'deleteLink', dev: 'flannel.1' }],
    ['link', 'sysctl', 'address', 'neigh', 'neigh', 'neigh', 'fdb', 'fdb', 'fdb', 'route', 'route', 'route'],
  ],
];

const TUN_DRIFT: readonly Drift[] = [
  [
    'the device is deleted',
    [{ do: 'deleteLink', dev: 'flannel0' }],
    ['link', 'sysctl', 'sysctl', 'address', 'address', 'route', 'route'],
  ],
  ['the MTU is changed', [change(tunDevice({ mtu: 1300 }), 'mtu')], ['link']],
  ['the queue is shortened', [change(tunDevice({ txqlen: 500 }), 'txqlen')], ['link']],
  ['it is given another alias', [change(tunDevice({ alias: 'other' }), 'alias')], ['link']],
  [
    // Its IPv4 address stays.
    'the device is taken down',
    [change(tunDevice({ up: false }), 'up')],
    ['link', 'address', 'route', 'route'],
  ],
  [
    'the device is taken down and up again',
    [change(tunDevice({ up: false }), 'up'), change(tunDevice(), 'up')],
    ['address', 'route', 'route'],
  ],
  [
    'the IPv4 address is deleted',
    [{ do: 'deleteOn', object: { kind: 'address', dev: 'flannel0', addr: prefix('10.42.1.0/32') } }],
    ['address', 'route'],
  ],
  [
    // Routes do not hang on IPv6 addresses.
    'the IPv6 address is deleted',
    [{ do: 'deleteOn', object: { kind: 'address', dev: 'flannel0', addr: prefix('fd00:42:1::/128') } }],
    ['address'],
  ],
  [
    'the routes are deleted',
    tunOverlay().flatMap((o): Change[] =>
      o.kind === 'route' ? [{ do: 'op', op: { verb: 'delete', object: o } }] : [],
    ),
    ['route', 'route'],
  ],
];

const FOREIGN: readonly Change[] = [
  { do: 'op', op: { verb: 'create', object: { ...route(200), protocol: 4 } as Route } },
  {
    do: 'op',
    op: {
      verb: 'create',
      object: {
        kind: 'route',
        type: 'unicast',
        dst: prefix('10.99.0.0/24'),
        via: addr('192.0.2.77'),
        dev: 'u0',
        onlink: false,
        protocol: 3,
      },
    },
  },
  {
    do: 'op',
    op: { verb: 'create', object: { kind: 'address', dev: 'cni0', addr: prefix('10.42.1.1/24') } },
  },
  {
    do: 'op',
    op: {
      verb: 'put',
      object: { kind: 'neigh', dev: 'u0', addr: addr('192.0.2.9'), mac: mac('02:00:00:00:00:88') },
    },
  },
];

const byKind = (kinds: readonly KindName[]): Record<string, number> =>
  Object.fromEntries(
    Map.groupBy(kinds, (k) => k)
      .entries()
      .map(([k, all]) => [k, all.length]),
  );

/** What holds on any kernel; registered once for the model and once for the real one. */
export function scenarios(create: () => Promise<World>): void {
  test('puts a wish and finds it in sync', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(3, [4, 6]));
    const status = work.reconciler.status();
    for (const kind of ['link', 'address', 'neigh', 'fdb', 'route'] as const) {
      const { desired, inSync, failing } = status.objects[kind];
      expect({ kind, inSync, failing }).toEqual({ kind, inSync: desired, failing: 0 });
    }
    expect(status.failing).toEqual([]);
    expect(status.conflicts).toEqual([]);
    expect(byKind([])).toEqual(Object.fromEntries(Object.entries(status.repairs).filter(([, n]) => n > 0)));
  });

  const expectRepair = async (wish: Iterable<KernelObject>, [, changes, repaired]: Drift): Promise<void> => {
    await using world = await create();
    for (const what of FOREIGN) await carryOut(world.others, what);
    await using work = await AtWork.on(world.kernel);
    await work.want(wish);
    await work.calm();
    const before = await portrait(world.others);
    for (const what of changes) expect(await carryOut(world.others, what)).toBe('ok');
    // What is counted as repaired must have been wrong; it may be right again before anybody else has looked.
    if (repaired.length === 0) expect(await portrait(world.others)).not.toEqual(before);
    await until('all is as before', async () => {
      const now = await portrait(world.others);
      return now.length === before.length && now.every((line, i) => line === before[i]);
    });
    const wanted = byKind(repaired);
    await until('the repairs are counted', () =>
      Object.entries(wanted).every(([kind, n]) => work.repairs(kind as KindName) >= n),
    );
    const counted = Object.entries(work.reconciler.status().repairs).filter(([, n]) => n > 0);
    expect(Object.fromEntries(counted)).toEqual(wanted);
    expect(work.errors).toEqual([]);
  };
  test.for(DRIFT)('puts it right when %s', (drift) => expectRepair(overlay(3), drift));
  test.for(CHECKSUM_DRIFT)('puts the checksums of a device right when %s', (drift) =>
    expectRepair(
      overlay(3).map((o) => (o.kind === 'link' && o.vxlan ? { ...o, txChecksum: false } : o)),
      drift,
    ),
  );

  test('leaves to others what a device does about checksums, unless it is wished', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(1));
    const seen = async () =>
      (await world.others.links()).find(({ name }) => name === 'flannel.1')?.vxlan?.txChecksum;
    const wish = (on: boolean | undefined) =>
      work.want(
        overlay(1).map((o) =>
          o.kind === 'link' && o.vxlan && on !== undefined ? { ...o, txChecksum: on } : o,
        ),
      );
    expect(await seen()).toBe(true);
    expect(await carryOut(world.others, change({ ...tunnel(4), txChecksum: false }, 'txChecksum'))).toBe(
      'ok',
    );
    await work.calm();
    await work.want(overlay(2));
    expect(await seen()).toBe(false);
    await wish(true);
    expect(await seen()).toBe(true);
    await wish(false);
    expect(await seen()).toBe(false);
    await wish(undefined);
    expect(await seen()).toBe(false);
    expect(work.repairs('link')).toBe(0);
  });

  test.for(TUN_DRIFT)('puts a TUN right when %s', (drift) => expectRepair(tunOverlay(), drift));

  test('a bridge with our own subnet inside the network is no conflict, any other is told', async () => {
    await using world = await create();
    const bridge = (text: string): Change => ({
      do: 'op',
      op: { verb: 'create', object: { kind: 'address', dev: 'cni0', addr: prefix(text) } },
    });
    await carryOut(world.others, bridge('10.42.1.1/24'));
    await using work = await AtWork.on(world.kernel);
    await work.want(tunOverlay());
    expect(work.reconciler.status().conflicts).toEqual([]);
    await carryOut(world.others, bridge('10.42.7.1/24'));
    await until('it is told', () => work.reconciler.status().conflicts.length > 0);
    expect(work.reconciler.status().conflicts).toEqual([
      { object: expect.stringContaining('route 10.42.0.0/16'), with: '10.42.7.1/24 on cni0 inside it' },
    ]);
    expect(work.reconciler.status().objects.route).toEqual({ desired: 2, inSync: 2, failing: 0 });
  });

  test('finds nothing to do after a restart, and is silent when nothing happens', async () => {
    await using world = await create();
    {
      await using first = await AtWork.on(world.kernel);
      await first.want(overlay(3, [4, 6]));
    }
    const before = await portrait(world.others);
    await using second = await AtWork.on(world.kernel);
    await second.want(overlay(3, [4, 6]));
    expect(second.reports).toEqual([]);
    expect(await portrait(world.others)).toEqual(before);
  });

  test('removes what is no longer desired, but not before it may', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(4));
    const four = await portrait(world.others);
    await work.want(overlay(2), false);
    expect(await portrait(world.others)).toEqual(four);
    await work.want(overlay(2));
    const two = await portrait(world.others);
    expect(two.filter((line) => line.includes('10.42.4.0'))).toEqual([]);
    expect(two.length).toBe(four.length - 6);
    expect(work.repairs('route')).toBe(0);
  });

  test('follows a wish without counting repairs: another VNI, MAC, address, endpoint', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(3));
    const moved = [...overlay(3)].map((o): KernelObject => {
      if (o.kind === 'link') return tunnel(4, { vni: 2, mac: mac('02:00:00:00:00:55') });
      if (o.kind === 'address') return { ...o, addr: prefix('10.42.8.0/32') };
      return o.kind === 'fdb' ? { ...o, dst: addr('192.0.2.88') } : o;
    });
    await work.want(moved);
    const lines = await portrait(world.others);
    expect(lines.filter((line) => line.includes('192.0.2.88'))).toHaveLength(3);
    expect(lines.find((line) => line.startsWith('link flannel.1'))).toContain(
      '02:00:00:00:00:55 mtu 1400 up',
    );
    expect(Object.values(work.reconciler.status().repairs).every((n) => n === 0)).toBe(true);
  });

  test('leaves a peer prefix to the local bridge that has it, says so, and takes it when it is free', async () => {
    await using world = await create();
    const bridge = { kind: 'address', dev: 'cni0', addr: prefix('10.42.3.1/24') } as const;
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: bridge } });
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(3));
    const { conflicts, objects } = work.reconciler.status();
    expect(conflicts).toEqual([
      { object: expect.stringContaining('route 10.42.3.0/24'), with: '10.42.3.1/24 on cni0' },
    ]);
    expect(objects.route).toEqual({ desired: 3, inSync: 2, failing: 0 });
    const routes = (await portrait(world.others)).filter((line) => line.startsWith('route 10.42.3.0/24'));
    expect(routes).toEqual([expect.stringContaining('dev cni0 protocol 2')]);

    await carryOut(world.others, { do: 'deleteOn', object: bridge });
    await until('the route is put', () => work.reconciler.status().objects.route.inSync === 3);
    expect(work.reconciler.status().conflicts).toEqual([]);
  });

  test('gives a prefix up to a local bridge that comes later', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(3));
    const bridge = { kind: 'address', dev: 'cni0', addr: prefix('10.42.3.1/24') } as const;
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: bridge } });
    await until('ours is gone', async () => {
      const routes = (await portrait(world.others)).filter((line) => line.startsWith('route 10.42.3.0/24'));
      return routes.length === 1 && routes[0]!.includes('dev cni0 protocol 2');
    });
    await until('the conflict is told', () => work.reconciler.status().conflicts.length === 1);
    expect(work.repairs('route')).toBe(0);
  });

  test('does not take the place of a route of others, not even one it cannot see', async () => {
    await using world = await create();
    // Protocol 99 is not among those that are listed.
    const theirs: Route = { ...route(2), via: addr('192.0.2.9'), dev: 'u0', onlink: false, protocol: 99 };
    expect(await carryOut(world.others, { do: 'op', op: { verb: 'create', object: theirs } })).toBe('ok');
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(3));
    const status = work.reconciler.status();
    expect(status.conflicts).toEqual([
      {
        object: expect.stringContaining('route 10.42.2.0/24'),
        with: 'another route with this prefix and metric',
      },
    ]);
    expect(status.objects.route).toEqual({ desired: 3, inSync: 2, failing: 0 });
    expect(await carryOut(world.others, { do: 'op', op: { verb: 'delete', object: theirs } })).toBe('ok');
    await until('ours is put', () => work.reconciler.status().objects.route.inSync === 3);
    expect(work.reconciler.status().conflicts).toEqual([]);
  });

  test('takes over what flanneld has made without touching it, and removes it when it is done with', async () => {
    await using world = await create();
    // As flanneld leaves it: no alias, protocol boot.
    const theirs = tunnel(4, { mac: mac('c6:d2:32:6f:8f:44') });
    const left: KernelObject[] = [...overlay(3)].filter((o) => o.kind !== 'link' && o.kind !== 'sysctl');
    const direct: Route = {
      kind: 'route',
      type: 'unicast',
      dst: prefix('10.42.50.0/24'),
      via: addr('192.0.2.9'),
      dev: 'u0',
      onlink: false,
      protocol: 3,
    };
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: { ...theirs, alias: '' } } });
    for (const object of [...left.map((o) => (o.kind === 'route' ? { ...o, protocol: 3 } : o)), direct]) {
      const verb = object.kind === 'neigh' || object.kind === 'fdb' ? 'put' : 'create';
      expect(await carryOut(world.others, { do: 'op', op: { verb, object } as never })).toBe('ok');
    }
    const before = await portrait(world.others);

    await using work = await AtWork.on(world.kernel);
    const objects = [theirs, ...left, { ...direct, protocol: ROUTE_PROTOCOL }];
    await work.want(objects);
    const adopted = before.map((line) =>
      line.startsWith('link flannel.1') ? line.replace('alias ', `alias ${LINK_ALIAS}`) : line,
    );
    expect(await portrait(world.others)).toEqual(adopted.sort());
    expect(work.reports).toHaveLength(1);
    expect(work.reports[0]).toMatchObject({
      put: { link: 1, neigh: 0, fdb: 0, route: 0 },
      deleted: { route: 0 },
    });
    expect(work.reconciler.status().objects.route).toEqual({ desired: 4, inSync: 4, failing: 0 });

    // The host route was nobody's but flanneld's until we wanted the very same: now it goes with the peer.
    await work.want([theirs, ...left]);
    expect((await portrait(world.others)).filter((line) => line.includes('10.42.50.0'))).toEqual([]);
  });

  test('exchanges a route that flanneld has left for one with an MTU, and leaves others to whoever made them', async () => {
    await using world = await create();
    const direct = (dst: string, via: string, more: Partial<Route> = {}): Route => ({
      kind: 'route',
      type: 'unicast',
      dst: prefix(dst),
      via: addr(via),
      dev: 'u0',
      onlink: false,
      protocol: ROUTE_PROTOCOL,
      ...more,
    });
    const wanted = [direct('10.42.50.0/24', '192.0.2.9'), direct('fd00:42:50::/64', 'fd99::9')];
    const elsewhere = direct('10.42.51.0/24', '192.0.2.9');
    const byHand = direct('10.42.52.0/24', '192.0.2.9');
    const theirs = [
      ...wanted.map((o) => ({ ...o, protocol: 3 })),
      // Somebody had a reason: flanneld names no MTU, and another next hop is not ours.
      { ...elsewhere, protocol: 3, via: addr('192.0.2.8') },
      { ...byHand, protocol: 3, mtu: 1300 },
    ];
    for (const object of theirs)
      expect(await carryOut(world.others, { do: 'op', op: { verb: 'create', object } })).toBe('ok');
    const routes = async () =>
      (await portrait(world.others)).filter((line) => /^route (10.42.5|fd00:42:50)/.test(line));
    const before = await routes();

    await using work = await AtWork.on(world.kernel);
    const all = [...wanted, elsewhere, byHand];
    await work.want(all);
    expect(await routes()).toEqual(before);
    await work.want(all.map((o) => ({ ...o, mtu: 1350 })));
    const of = (dst: string) => (lines: readonly string[]) => lines.filter((line) => line.includes(dst));
    for (const { dst } of wanted) {
      const now = of(formatPrefix(dst))(await routes());
      expect(now).toEqual([expect.stringMatching(/protocol 76 mtu 1350 /)]);
    }
    for (const { dst } of [elsewhere, byHand])
      expect(of(formatPrefix(dst))(await routes())).toEqual(of(formatPrefix(dst))(before));
    const { conflicts, objects } = work.reconciler.status();
    expect(conflicts).toHaveLength(2);
    expect(objects.route).toEqual({ desired: 4, inSync: 2, failing: 0 });
    // From here on they are like any of ours.
    await work.want(all);
    expect((await routes()).filter((line) => /protocol 76 mtu {2}/.test(line))).toHaveLength(2);
    await work.want([]);
    expect(await routes()).toHaveLength(2);
  });

  test('removes what flanneld has left for a peer that is gone', async () => {
    await using world = await create();
    const theirs = { ...tunnel(4), alias: '' };
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: theirs } });
    const address = { kind: 'address', dev: 'flannel.1', addr: prefix('10.42.1.0/32') } as const;
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: address } });
    for (const o of [...through(4, 2), ...through(4, 9)]) {
      const object = o.kind === 'route' ? { ...o, protocol: 3 } : o;
      await carryOut(world.others, {
        do: 'op',
        op: { verb: o.kind === 'route' ? 'create' : 'put', object } as never,
      });
    }
    // Somebody else's route over our device: static, or not through a gateway by decree.
    const kept: Route = {
      kind: 'route',
      type: 'unicast',
      dst: prefix('10.98.0.0/24'),
      dev: 'flannel.1',
      onlink: false,
      protocol: 3,
    };
    expect(await carryOut(world.others, { do: 'op', op: { verb: 'create', object: kept } })).toBe('ok');
    const left = (lines: string[]) =>
      lines.filter((line) => line.includes('10.42.9.0') || line.includes(peer(4, 9).mac));
    expect(left(await portrait(world.others))).toHaveLength(3);
    await using work = await AtWork.on(world.kernel);
    await work.want(overlay(1));
    expect(left(await portrait(world.others))).toEqual([]);
    expect((await portrait(world.others)).some((line) => line.startsWith('route 10.98.0.0/24'))).toBe(true);
    expect(work.reports.flatMap((r) => Object.values(r.repaired)).every((n) => n === 0)).toBe(true);
  });

  test('waits for a device that is not there yet', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    // Another tunnel stands in for an underlay that comes late.
    const late = 'flannel-v6.1';
    const link = tunnel(4, { mtu: 1300 });
    const objects = [{ ...link, vxlan: { ...link.vxlan, underlay: late } }, ...[...overlay(2)].slice(1)];
    await work.reconciler.setDesired(1n, objects, { prune: false });
    await until('it is said', () => work.reconciler.status().failing.length > 0);
    expect(work.reconciler.status().failing[0]).toEqual({
      object: `link ${late}`,
      error: expect.stringContaining('not there'),
    });
    expect(work.reconciler.status().applied).toBeUndefined();
    await carryOut(world.others, { do: 'op', op: { verb: 'create', object: { ...tunnel(6), alias: '' } } });
    await until('all is put', () => work.reconciler.status().applied === 1n);
  });

  test('cleans up what is ours and nothing else', async () => {
    await using world = await create();
    for (const what of FOREIGN) await carryOut(world.others, what);
    const before = await portrait(world.others);
    {
      await using work = await AtWork.on(world.kernel);
      await work.want([
        ...overlay(3, [4, 6]),
        tunDevice(),
        {
          kind: 'route',
          type: 'blackhole',
          dst: prefix('10.42.0.0/16'),
          onlink: false,
          protocol: ROUTE_PROTOCOL,
        },
      ]);
    }
    expect(await portrait(world.others)).not.toEqual(before);
    const report = await cleanup(world.kernel, { devices: new Set() });
    expect(report).toMatchObject({ removed: { link: 3, route: 1 }, failed: [] });
    expect(await portrait(world.others)).toEqual(before);
    expect(await cleanup(world.kernel, { devices: new Set() })).toMatchObject({
      removed: { link: 0, route: 0 },
    });
  });

  test('puts back the direct routes that an uplink loses when it goes down and comes up', async () => {
    await using world = await create();
    await using work = await AtWork.on(world.kernel);
    const direct: Route = { ...route(2), via: addr('192.0.2.9'), dev: 'u0', onlink: false };
    await work.want([...overlay(1).filter((o) => o.kind !== 'route'), direct]);
    await work.calm();
    const before = await portrait(world.others);
    const uplink: Link = { ...tunnel(4), name: 'u0', up: false };
    await carryOut(world.others, change(uplink, 'up'));
    await until('it is noticed', () => work.reconciler.status().objects.route.failing === 1);
    expect(work.reconciler.status().failing).toEqual([
      {
        object: expect.stringContaining('route 10.42.2.0/24'),
        error: expect.stringMatching(/ENETDOWN|ENETUNREACH/),
      },
    ]);
    await carryOut(world.others, change({ ...uplink, up: true }, 'up'));
    // Its IPv6 address does not come back by itself, and is not ours to put.
    const expected = before.filter((line) => !line.includes(LOCAL[6]) && !line.includes('fd99::/64'));
    await until('the route is back', async () => {
      const now = new Set(await portrait(world.others));
      return expected.every((line) => now.has(line));
    });
  });
}
