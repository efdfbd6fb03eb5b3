import { describe, expect, test } from 'vitest';
import { Observer } from '../../src/kernel/observer.ts';
import { Reconciler } from '../../src/kernel/reconciler.ts';
import type { ReconcilerStatus } from '../../src/kernel/status.ts';
import { objectKey } from '../../src/kernel/types.ts';
import { FakeKernel } from '../fake/kernel.ts';
import { AtWork, scenarios, until, type World } from '../fake/scenarios.ts';
import { OTHERS, OURS, portrait, START } from '../fake/sequence.ts';
import { overlay, owner, peer, through } from '../fake/wishes.ts';

function fakeHost(): FakeKernel {
  const kernel = new FakeKernel();
  for (const name of OTHERS) kernel.addDevice(name);
  for (const what of START.slice(0, 2)) if (what.do === 'op') kernel.applyOne(what.op);
  for (const dev of OURS) kernel.sysctls.set(`net/ipv6/conf/${dev}/accept_ra`, '1');
  kernel.sysctls.set('net/ipv4/conf/flannel0/accept_local', '0');
  kernel.log.length = 0;
  return kernel;
}

describe.concurrent('on the model', () => {
  scenarios(async (): Promise<World> => {
    const kernel = fakeHost();
    return { kernel, others: kernel, async [Symbol.asyncDispose]() {} };
  });
});

/** A fake kernel, and a reconciler at work on it. */
async function atWork(peers: number, options: { random?: () => number } = {}) {
  const kernel = fakeHost();
  const work = await AtWork.on(kernel, options);
  await work.want(overlay(peers));
  kernel.log.length = 0;
  return { kernel, work };
}

const deleteRoute = (kernel: FakeKernel, n: number) =>
  kernel.applyOne({ verb: 'delete', object: [...through(4, n)].find((o) => o.kind === 'route')! });

describe.concurrent('Reconciler', () => {
  test('is not told of a loss by the kernel: the audit finds it', async () => {
    const kernel = fakeHost();
    await using watch = await audited(kernel);
    const { reconciler } = watch;
    await reconciler.setDesired(1n, overlay(3), { prune: true });
    await until('applied', () => reconciler.status().applied === 1n);
    kernel.silent(() => deleteRoute(kernel, 2));
    await until('it is put back', () => reconciler.status().repairs.route === 1);
  });

  test('looks at everything after lost notifications', async () => {
    const { kernel, work } = await atWork(3);
    await using _ = work;
    kernel.silent(() => deleteRoute(kernel, 2));
    kernel.overrun();
    await until('it is put back', () => work.repairs('route') === 1);
  });

  test('asks and changes nothing while nothing happens', async () => {
    const { kernel, work } = await atWork(3);
    await using _ = work;
    // The echo of its own work is looked at once.
    await new Promise((resolve) => setTimeout(resolve, 600));
    const { reads } = kernel;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(kernel.reads).toBe(reads);
    expect(kernel.log).toEqual([]);
  });

  test('lets a refused object hold back nobody, tells the reason, and tries it again ever more seldom', async () => {
    const kernel = fakeHost();
    const bad = peer(4, 3).end;
    let attempts = 0;
    kernel.fault = ({ object }) => {
      if (object.kind !== 'neigh' || object.addr.value !== bad.value) return undefined;
      attempts++;
      return 'EPERM';
    };
    await using work = await AtWork.on(kernel, { random: () => 0 });
    await work.reconciler.setDesired(1n, overlay(3), { prune: true });
    await until('the others are put', () => work.reconciler.status().objects.route.inSync === 3);
    expect(work.reconciler.status().objects.neigh).toEqual({ desired: 3, inSync: 2, failing: 1 });
    expect(work.reconciler.status().failing).toEqual([
      { object: expect.stringContaining('neigh 10.42.3.0 dev flannel.1'), error: 'EPERM' },
    ]);
    expect(work.reconciler.status().applied).toBeUndefined();
    // After the third failure it does not keep the daemon from being ready.
    await until('it is given up', () => work.reconciler.status().applied === 1n);
    expect(attempts).toBe(3);
    // Told once.
    expect(work.reports.flatMap((r) => r.failed)).toHaveLength(1);
    kernel.fault = () => undefined;
    await until('it is put', () => work.reconciler.status().objects.neigh.inSync === 3);
    expect(work.reports.at(-1)!.recovered).toBe(1);
    expect(work.repairs('neigh')).toBe(0);
  });

  test('is not ready while a device of its own is refused, however often', async () => {
    const kernel = fakeHost();
    kernel.fault = ({ object }) => (object.kind === 'address' ? 'EPERM' : undefined);
    await using work = await AtWork.on(kernel, { random: () => 0 });
    await work.reconciler.setDesired(1n, overlay(1), { prune: true });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect(work.reconciler.status().applied).toBeUndefined();
    expect(work.reconciler.status().objects.address.failing).toBe(1);
  });

  test('looks again instead of failing when it has lost a race', async () => {
    const { kernel, work } = await atWork(2);
    await using _ = work;
    // Somebody puts the very object in the moment before we do.
    let raced = false;
    kernel.fault = (op) => {
      if (raced || op.verb !== 'create' || op.object.kind !== 'route') return undefined;
      raced = true;
      kernel.applyOne(op);
      return undefined;
    };
    await work.want(overlay(3));
    expect(raced).toBe(true);
    expect(work.reports.flatMap((r) => r.failed)).toEqual([]);
    expect(work.reconciler.status().objects.route).toEqual({ desired: 3, inSync: 3, failing: 0 });
  });

  test('counts as repaired what was lost and could not be put back at once', async () => {
    const { kernel, work } = await atWork(2);
    await using _ = work;
    await work.calm();
    let refusals = 0;
    kernel.fault = ({ verb }) => (verb === 'create' && refusals++ < 2 ? 'ENODEV' : undefined);
    deleteRoute(kernel, 2);
    await until('it is put back', () => work.repairs('route') === 1);
    expect(refusals).toBe(3);
  });

  test('does not fight another program at full speed', async () => {
    const { kernel, work } = await atWork(3);
    await using _ = work;
    const undone: number[] = [];
    const enemy = kernel.watch(() => {
      if (!deleteRoute(kernel, 2)) undone.push(performance.now());
    });
    deleteRoute(kernel, 2);
    await until('the fight is seen', () =>
      work.reconciler.status().conflicts.some((c) => c.with.includes('another program')),
    );
    const { reads } = kernel;
    const before = undone.length;
    await until('two more rounds', () => undone.length >= before + 3);
    // Once a second now, however fast the machine is; the first of the three may have been under way.
    expect(undone[before + 2]! - undone[before + 1]!).toBeGreaterThan(900);
    expect(kernel.reads - reads).toBeLessThan(200);
    // The others' routes are put right at once all the while.
    enemy.close();
    const repairs = work.repairs('route');
    deleteRoute(kernel, 3);
    await until('another route is put right', () => work.repairs('route') > repairs);
  });

  test('misses no wish that comes in the moment a pass ends', async () => {
    const kernel = fakeHost();
    let revision = 1n;
    const next = async (hops: number) => {
      for (let i = 0; i < hops; i++) await Promise.resolve();
      await work.reconciler.setDesired(revision, overlay(2), { prune: true });
    };
    const onStatus = ({ applied }: ReconcilerStatus) => {
      // Each time a little later.
      if (applied === revision && revision < 50n) void next(Number(revision++));
    };
    await using work = await AtWork.on(kernel, { onStatus });
    await next(0);
    await until('all are applied', () => work.reconciler.status().applied === 50n);
  });

  test('drops an outdated wish in the middle', async () => {
    const kernel = fakeHost();
    await using work = await AtWork.on(kernel);
    const first = work.reconciler.setDesired(1n, overlay(2000), { prune: true });
    const second = work.reconciler.setDesired(2n, overlay(2), { prune: true });
    await Promise.all([first, second]);
    await until('the second is applied', () => work.reconciler.status().applied === 2n);
    expect(work.reconciler.status().objects.route).toEqual({ desired: 2, inSync: 2, failing: 0 });
    expect((await portrait(kernel)).filter((line) => line.startsWith('route 10.42'))).toHaveLength(2);
  });

  test('tries nothing on a device that could not be made', async () => {
    const kernel = fakeHost();
    const tried: string[] = [];
    kernel.fault = ({ verb, object }) => {
      tried.push(`${verb} ${object.kind}`);
      return object.kind === 'link' ? 'EPERM' : undefined;
    };
    await using work = await AtWork.on(kernel, { random: () => 1 });
    await work.reconciler.setDesired(1n, overlay(100), { prune: true });
    await until('it has failed twice', () => tried.length >= 2);
    expect(new Set(tried)).toEqual(new Set(['create link']));
    expect(work.reconciler.status().failing).toEqual([
      { object: 'link flannel.1', error: 'it is not there; 302 objects wait for it' },
      { object: 'link flannel.1', error: 'EPERM' },
    ]);
  });

  test('waits for a device that is not there, not for what was to be tried on it', async () => {
    const kernel = fakeHost();
    let passes = 0;
    await using work = await AtWork.on(kernel, { random: () => 1, onStatus: () => passes++ });
    let links = 0;
    let refusing = 'route';
    kernel.fault = ({ verb, object }) => {
      if (verb === 'delete' || object.kind !== refusing) return undefined;
      if (object.kind === 'link') links++;
      return 'EPERM';
    };
    await work.reconciler.setDesired(1n, overlay(2), { prune: true });
    await until('its routes are refused', () => work.reconciler.status().failing.length >= 2);
    refusing = 'link';
    const [device] = (await kernel.links()).filter(({ name }) => name === 'flannel.1');
    kernel.deleteDevice(device!.ifindex);
    await until('the device is refused', () => links >= 1);
    const before = passes;
    await until('it is refused again and again', () => links >= 4);
    // One for each refusal, and for each of the things that were to be tried, once.
    expect(passes - before).toBeLessThan(30);
  });

  test('knows without another look what it has changed', async () => {
    const { kernel, work } = await atWork(3);
    await using _ = work;
    await work.calm();
    const { reads } = kernel;
    const wanted = [...overlay(4)].filter((o) => o.kind !== 'neigh' || o.addr.value !== peer(4, 2).end.value);
    await work.want(wanted.map((o) => (o.kind === 'fdb' ? { ...o, dst: peer(4, 77).endpoint } : o)));
    expect(kernel.reads).toBe(reads);
    const fresh = new Observer(kernel, { owner });
    await fresh.look();
    const shown = ({ state }: Observer) => ({
      neighs: [...state.neighs('flannel.1').values()].flat().map(objectKey).sort(),
      fdb: [...state.fdb('flannel.1').values()]
        .flat()
        .map((o) => `${o.mac} ${o.dst?.value}`)
        .sort(),
      routes: [...state.routes()].map(objectKey).sort(),
    });
    expect(shown(work.observer)).toEqual(shown(fresh));
  });

  test('does not look all the time where looking is dear and events never end', async () => {
    const { kernel, work } = await atWork(3);
    await using _ = work;
    await work.calm();
    const { neighs } = kernel;
    let looks = 0;
    kernel.neighs = async (ifindex) => {
      looks++;
      await new Promise((resolve) => setTimeout(resolve, 30));
      return neighs.call(kernel, ifindex);
    };
    const end = performance.now() + 1000;
    while (performance.now() < end) {
      kernel.applyOne({ verb: 'put', object: [...through(4, 2)].find((o) => o.kind === 'neigh')! });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(looks).toBeGreaterThan(1);
    expect(looks).toBeLessThan(8);
  });

  test('goes on when the kernel has not answered for a while', async () => {
    const { kernel, work } = await atWork(2);
    await using _ = work;
    const { routes } = kernel;
    kernel.routes = () => Promise.reject(new Error('no answer'));
    deleteRoute(kernel, 2);
    await until('it is told', () => work.errors.length > 0);
    kernel.routes = routes;
    await until('the route is put back', () => work.repairs('route') === 1);
  });
});

async function audited(kernel: FakeKernel) {
  const observer = new Observer(kernel, { owner, debounce: 5, auditInterval: 50 });
  const reconciler = new Reconciler(observer);
  await observer.start();
  return {
    reconciler,
    async [Symbol.asyncDispose]() {
      await reconciler.stop();
      await observer.stop();
    },
  };
}
