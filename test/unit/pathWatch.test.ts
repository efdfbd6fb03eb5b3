import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { chooseBackend } from '../../src/backends/registry.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { FILES } from '../../src/contract.ts';
import type { Happening } from '../../src/daemon/events/log.ts';
import { openLog } from '../../src/daemon/log.ts';
import type { NetworkInForce } from '../../src/daemon/networkSource.ts';
import { kernelObjects } from '../../src/daemon/overlay.ts';
import { PathWatch } from '../../src/daemon/pathWatch.ts';
import type { ObservedRoute } from '../../src/kernel/observed.ts';
import { type KernelObject, objectKey, type Route } from '../../src/kernel/types.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { NO_PROBING } from '../../src/probe/none.ts';
import { type PathReport, type Probing, pathKey, type Target } from '../../src/probe/types.ts';
import type { Lease, LeaseView } from '../../src/subnet/types.ts';
import { host, lease, NETWORKS, peer, peerMac } from '../fake/overlay.ts';

const INTERVAL = 1_000;
/** Long enough for reports to be gathered. */
const SOON = 300;

const inRealTime = globalThis.setTimeout;

let clock = 1_000_000;

/** Answers as it is told. */
class ScriptedProber implements Probing {
  readonly paths = new Map<string, PathReport>();
  readonly counters = { sent: 0, received: 0, rtt: { buckets: [], sum: 0, count: 0 }, lost: 0 };
  readonly interval = INTERVAL;
  readonly sample = 1;
  watched: ReadonlySet<string> = new Set();
  /** What a checksum probe finds. */
  checksum: (path: string) => PathReport['checksum'] = () => 'good';
  asked: string[] = [];
  hasAnsweredOften = false;
  onReport: (report: PathReport) => void = () => {};

  async setTargets(targets: Iterable<Target>): Promise<void> {
    const before = new Map(this.paths);
    this.paths.clear();
    for (const target of targets) {
      const key = pathKey(target);
      const known = before.get(key);
      this.paths.set(key, known?.target === target ? known : blank(target));
    }
  }
  says(path: string, more: Partial<PathReport>): void {
    const sized = more.fullSize === undefined ? {} : { sizeAt: clock };
    const report = { ...this.paths.get(path)!, health: 'reachable' as const, at: ++clock, ...sized, ...more };
    this.paths.set(path, report);
    this.onReport(report);
  }
  async probeNow(path: string): Promise<PathReport | undefined> {
    return this.paths.get(path);
  }
  mayCheck(path: string): boolean {
    return this.paths.get(path)?.health === 'reachable' && !this.hasAnsweredOften;
  }
  async checkNow(path: string): Promise<PathReport['checksum']> {
    this.asked.push(path);
    if (!this.paths.has(path)) return 'unknown';
    const checksum = this.checksum(path);
    if (checksum === 'good') this.says(path, { checksum });
    return checksum;
  }
  watch(keys: ReadonlySet<string>): void {
    this.watched = new Set(keys);
  }
  async stop(): Promise<void> {}
}

const blank = (target: Target): PathReport => ({
  target,
  health: 'unprobed',
  at: undefined,
  rtt: undefined,
  leastRtt: undefined,
  sent: 0,
  lost: 0,
  fullSize: 'unknown',
  pathMtu: undefined,
  sizeAt: undefined,
  checksum: 'unknown',
  error: undefined,
});

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'loden-paths-'));
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true, force: true });
});

interface WorldInit {
  readonly config?: object;
  readonly peers?: readonly Lease[];
  readonly interval?: number;
  /** What the kernel holds at the start. */
  readonly routes?: readonly Partial<ObservedRoute>[];
}

const typed = (type: string, network: object = NETWORKS.dual) => ({ ...network, Backend: { Type: type } });

/** A daemon's part, as far as paths are concerned. */
function world(init: WorldInit = {}) {
  const network = parseNetworkConfig(JSON.stringify(init.config ?? typed('vxlan', NETWORKS.v4)));
  const inForce = { network, ...chooseBackend(network) } as NetworkInForce;
  const { type } = inForce.backend;
  const families = [...network.families.keys()];
  const view = (peers: readonly Lease[]): LeaseView => ({
    revision: 1n,
    network,
    self: peer(1, families, { backend: type }),
    peers: new Map(peers.map((p) => [p.key, p])),
  });
  const facts = host();
  const told: Happening[] = [];
  const device = { on: true as boolean | undefined };
  const kicks = { count: 0 };
  const { log } = openLog({ level: 'silent', format: 'json' });
  const make = (): PathWatch =>
    new PathWatch({
      log,
      note: (...happenings) => void told.push(...happenings),
      state: {
        link: () => ({ vxlan: device.on === undefined ? {} : { txChecksum: device.on } }) as never,
        *routes() {
          yield* (init.routes ?? []) as ObservedRoute[];
        },
      },
      runDir: dir,
      interval: init.interval ?? INTERVAL,
      onChange: () => kicks.count++,
    });
  const prober = new ScriptedProber();
  const watch = make();
  prober.onReport = (report) => watch.heard(report);
  watch.attach(prober);
  const objects = (peers: readonly Lease[], by = watch): KernelObject[] => [
    ...kernelObjects(inForce, view(peers), facts, { blackholeRoute: false }, by.adjustments, []),
  ];
  const take = (peers: readonly Lease[], by = watch, more = facts) => by.take(inForce, view(peers), more);
  /** What a convergence does: what is wanted is in the kernel, and seen. */
  const converge = (by = watch) => {
    const on = by.adjustments.txChecksums.get('flannel.1');
    if (on !== undefined && device.on !== undefined) device.on = on;
    by.looked();
  };
  return { watch, make, prober, told, device, kicks, objects, take, converge, inForce };
}

const routesOf = (objects: readonly KernelObject[]) =>
  objects
    .filter((o) => o.kind === 'route')
    .map((o) => `${objectKey(o)}${o.mtu === undefined ? '' : ` mtu ${o.mtu}`}`);

const gather = () => vi.advanceTimersByTimeAsync(SOON);

const DIRECT = { ...NETWORKS.v4, Backend: { Type: 'vxlan', DirectRouting: true } };

describe('what is probed', () => {
  const targets = async (config: object, peers: readonly Lease[]) => {
    const { prober, take } = world({ config, peers });
    await take(peers);
    return Array.from(
      prober.paths.values(),
      ({ target: t }) => `${pathKey(t)}: ${formatAddr(t.addr)} ${t.dev} ${t.mtu} ${t.offloads}`,
    );
  };

  test('of vxlan: the ends of the tunnels', async () => {
    expect(await targets(typed('vxlan'), [peer(9, [4, 6])])).toEqual([
      '10.5.9.0-24&fd00:5:0:9::-64 4: 10.5.9.0 flannel.1 1450 true',
      '10.5.9.0-24&fd00:5:0:9::-64 6: fd00:5:0:9:: flannel-v6.1 1430 true',
    ]);
  });

  test('of vxlan with direct routing: the same address, on its way', async () => {
    const far = peer(8, [4], { endpoints: ['198.51.100.8'] });
    expect(await targets(DIRECT, [peer(9), far])).toEqual([
      '10.5.8.0-24 4: 10.5.8.0 flannel.1 1450 true',
      '10.5.9.0-24 4: 10.5.9.0 eth0 1500 false',
    ]);
  });

  test('of udp: the peers’ devices', async () => {
    expect(await targets(typed('udp'), [peer(9, [4, 6], { backend: null })])).toEqual([
      '10.5.9.0-24&fd00:5:0:9::-64 4: 10.5.9.0 flannel0 1472 false',
      '10.5.9.0-24&fd00:5:0:9::-64 6: fd00:5:0:9:: flannel0 1472 false',
    ]);
  });

  test('of host-gw: the peers themselves, if they are on the link', async () => {
    const far = peer(8, [4], { backend: 'host-gw', endpoints: ['198.51.100.8'] });
    expect(await targets(typed('host-gw', NETWORKS.v4), [peer(9, [4], { backend: 'host-gw' }), far])).toEqual(
      ['10.5.9.0-24 4: 192.0.2.9 eth0 1500 false'],
    );
  });

  test('of alloc: nothing', async () => {
    expect(await targets(typed('alloc'), [peer(9, [4, 6], { backend: null })])).toEqual([]);
  });

  test('no peer that is not served', async () => {
    const outside = lease({
      subnets: ['10.6.9.0/24'],
      endpoints: ['192.0.2.8'],
      data: { VNI: 1, VtepMAC: '02:00:00:00:00:09' },
    });
    const twin = lease({
      subnets: ['10.5.8.0/24'],
      endpoints: ['192.0.2.8'],
      data: peer(9).data.get(4),
      revision: 99,
    });
    expect(await targets(typed('vxlan', NETWORKS.v4), [peer(9), outside, twin])).toEqual([
      '10.5.9.0-24 4: 10.5.9.0 flannel.1 1450 true',
    ]);
  });

  test.each(['vxlan', 'udp', 'host-gw'])('of %s: the same objects while nothing changes', async (type) => {
    const backend = type === 'udp' ? null : type;
    const peers = [peer(8, [4, 6], { backend }), peer(9, [4, 6], { backend })];
    const { prober, take } = world({ config: typed(type) });
    await take(peers);
    const before = Array.from(prober.paths.values(), ({ target }) => target);
    await take([...peers, peer(10, [4, 6], { backend })]);
    expect(before).toHaveLength(4);
    for (const target of before) expect(prober.paths.get(pathKey(target))!.target).toBe(target);
  });

  test('where a peer is reached now, also when only that has changed', async () => {
    const { prober, take } = world();
    const at = () => {
      const { via, mac } = prober.paths.get('10.5.9.0-24 4')!.target;
      return [formatAddr(via), mac];
    };
    await take([peer(9)]);
    expect(at()).toEqual(['192.0.2.9', peerMac(9)]);
    await take([peer(9, [4], { endpoints: ['192.0.2.99'] })]);
    expect(at()).toEqual(['192.0.2.99', peerMac(9)]);
    await take([peer(9, [4], { data: { VNI: 1, VtepMAC: peerMac(99) } })]);
    expect(at()).toEqual(['192.0.2.9', peerMac(99)]);
    const udp = world({ config: typed('udp') });
    await udp.take([peer(9, [4], { backend: null })]);
    expect(formatAddr(udp.prober.paths.get('10.5.9.0-24 4')!.target.via)).toBe('192.0.2.9');
  });

  test('nothing, if nothing is to be probed', async () => {
    const { prober, take, watch, objects } = world({ interval: 0, routes: [lowRoute('10.5.9.0/24', 1350)] });
    await watch.restore();
    await take([peer(9)]);
    expect([prober.paths.size, routesOf(objects([peer(9)]))]).toEqual([0, ['route 10.5.9.0/24 metric 0']]);
  });
});

const lowRoute = (dst: string, mtu: number): Partial<ObservedRoute> => ({
  kind: 'route',
  type: 'unicast',
  dst: prefix(dst),
  protocol: 76,
  mtu,
});

describe('a path that loses large packets', () => {
  const lost = { fullSize: 'lost', pathMtu: 1350 } as const;
  const whole = { fullSize: 'passes', pathMtu: 1450 } as const;

  test('lowers the route of its peer, no other, until they pass again; what does not change stays the same', async () => {
    const { prober, take, objects, kicks, watch, told } = world();
    const peers = [peer(8), peer(9)];
    await take(peers);
    const before = objects(peers);
    prober.says('10.5.9.0-24 4', lost);
    expect(kicks.count).toBe(0);
    await gather();
    expect(kicks.count).toBe(1);
    const low = objects(peers);
    expect(routesOf(low)).toEqual(['route 10.5.8.0/24 metric 0', 'route 10.5.9.0/24 metric 0 mtu 1350']);
    expect([watch.routeMtu('10.5.9.0-24 4'), watch.routeMtu('10.5.8.0-24 4')]).toEqual([1350, undefined]);
    expect(prober.watched).toEqual(new Set(['10.5.9.0-24 4']));
    expect(watch.problems()).toEqual([
      expect.stringMatching(/the route to 10\.5\.9\.0-24 \(IPv4, 1350 bytes\)$/),
    ]);
    expect(watch.counts).toEqual({ low: 1, lowered: 1, raised: 0 });
    const same = (a: readonly KernelObject[], b: readonly KernelObject[]) =>
      a.filter((o) => o.kind === 'route' && !b.includes(o)).length;
    expect([same(low, before), same(low, objects(peers))]).toEqual([1, 0]);

    await vi.advanceTimersByTimeAsync(6 * INTERVAL);
    for (let i = 0; i < 2; i++) {
      prober.says('10.5.9.0-24 4', whole);
      await vi.advanceTimersByTimeAsync(INTERVAL);
    }
    expect(routesOf(objects(peers))).toEqual(['route 10.5.8.0/24 metric 0', 'route 10.5.9.0/24 metric 0']);
    expect(same(objects(peers), before)).toBe(0);
    expect([prober.watched.size, watch.problems()]).toEqual([0, []]);
    expect(told.map(({ level, kind, subject, fields }) => ({ level, kind, subject, fields }))).toEqual([
      { level: 'warn', kind: 'mtu', subject: '10.5.9.0-24', fields: { family: 4, from: 1450, to: 1350 } },
      { level: 'info', kind: 'mtu', subject: '10.5.9.0-24', fields: { family: 4, from: 1350, to: 1450 } },
    ]);
  });

  test('of udp gets its peer a route of its own', async () => {
    const { prober, take, objects } = world({ config: typed('udp') });
    const peers = [peer(8, [4, 6], { backend: null }), peer(9, [4, 6], { backend: null })];
    await take(peers);
    const plain = ['route 10.5.0.0/16 metric 0', 'route fd00:5::/48 metric 0'];
    expect(routesOf(objects(peers))).toEqual(plain);
    for (const family of [4, 6]) prober.says(`10.5.9.0-24&fd00:5:0:9::-64 ${family}`, lost);
    await gather();
    const own = ['route 10.5.9.0/24 metric 0 mtu 1350', 'route fd00:5:0:9::/64 metric 0 mtu 1350'];
    expect(routesOf(objects(peers))).toEqual([...plain, ...own]);
    const [a, b] = [objects(peers), objects(peers)].map((all) =>
      all.filter((o) => o.kind === 'route' && o.mtu),
    );
    expect(a).toHaveLength(2);
    expect(a!.every((o, i) => o === b![i])).toBe(true);
    expect(a![0]).toMatchObject({ dev: 'flannel0', onlink: false } satisfies Partial<Route>);
    // A peer that has gone, or is not served, has none.
    await take([peers[0]!]);
    expect(routesOf(objects([peers[0]!]))).toEqual(plain);
  });

  test('that was found lowered stays so until its probes say better', async () => {
    const { prober, take, objects, watch } = world({
      routes: [
        lowRoute('10.5.9.0/24', 1350),
        lowRoute('10.5.8.0/24', 1450),
        { ...lowRoute('10.5.7.0/24', 1300), protocol: 4 },
      ],
    });
    const peers = [peer(7), peer(8), peer(9)];
    await take(peers);
    const low = [
      'route 10.5.7.0/24 metric 0',
      'route 10.5.8.0/24 metric 0',
      'route 10.5.9.0/24 metric 0 mtu 1350',
    ];
    expect(routesOf(objects(peers))).toEqual(low);
    expect(prober.watched).toEqual(new Set(['10.5.9.0-24 4']));
    prober.says('10.5.9.0-24 4', { fullSize: 'unknown' });
    prober.says('10.5.9.0-24 4', whole);
    await gather();
    expect(routesOf(objects(peers))).toEqual(low);
    await vi.advanceTimersByTimeAsync(INTERVAL);
    prober.says('10.5.9.0-24 4', whole);
    await gather();
    expect(watch.routeMtu('10.5.9.0-24 4')).toBeUndefined();
  });

  test('is of no interest once its device takes no more', async () => {
    const { prober, take, objects, watch } = world();
    await take([peer(9)]);
    prober.says('10.5.9.0-24 4', lost);
    await gather();
    await take([peer(9)], watch, host({ uplink: { mtu: 1400 } }));
    expect(watch.routeMtu('10.5.9.0-24 4')).toBeUndefined();
    expect(watch.adjustments.routeMtus).toEqual([]);
    expect(routesOf(objects([peer(9)]))).toEqual(['route 10.5.9.0/24 metric 0']);
  });

  test('of many peers is told in a few words', async () => {
    const { prober, take, told, watch, kicks } = world();
    const peers = Array.from({ length: 200 }, (_, i) => peer(i + 2));
    await take(peers);
    for (const path of prober.paths.keys()) prober.says(path, lost);
    await gather();
    expect([kicks.count, told.length, watch.problems().length]).toEqual([1, 21, 1]);
    expect(prober.watched.size).toBe(50);
    const first = new Set(prober.watched);
    // Their turns come.
    for (const path of first) prober.says(path, lost);
    await gather();
    expect([...prober.watched].filter((path) => first.has(path))).toEqual([]);
    expect(kicks.count).toBe(1);
  });
});

describe('corrupted packets', () => {
  const PATH = '10.5.9.0-24 4';
  const saved = () => readFileSync(join(dir, FILES.offload), 'utf8').trim();
  /** Until something is so; converging as a daemon does. */
  async function comes(what: () => boolean, w: ReturnType<typeof world>, by = w.watch): Promise<void> {
    for (let i = 0; i < 2_000; i++) {
      w.converge(by);
      if (what()) return;
      // Files are written in real time.
      await new Promise((resolve) => inRealTime(resolve, 2));
    }
    throw new Error('it does not come');
  }
  const linkOf = (objects: readonly KernelObject[]) =>
    objects.find((o) => o.kind === 'link')! as { readonly txChecksum?: boolean };

  test('turn the offload off; it is remembered, tried in time, and on again when all is well', async () => {
    const w = world();
    const { watch, prober, device, told } = w;
    await w.take([peer(9)]);
    expect(watch.checksumOffload()).toEqual({ device: 'flannel.1', state: 'on', reason: null });
    expect(linkOf(w.objects([peer(9)]))).not.toHaveProperty('txChecksum');
    prober.checksum = () => (device.on ? 'corrupted' : 'good');
    prober.says(PATH, { checksum: 'corrupted' });
    await comes(() => told.length === 1, w);
    expect(linkOf(w.objects([peer(9)])).txChecksum).toBe(false);
    expect([device.on, prober.asked]).toEqual([false, [PATH]]);
    expect(JSON.parse(saved())).toEqual([{ device: 'flannel.1', suspects: [PATH], delay: 60 * INTERVAL }]);
    expect(watch.checksumOffload()).toMatchObject({
      state: 'off',
      reason: expect.stringMatching(/corrupts/),
    });
    expect(watch.problems()).toEqual([expect.stringMatching(/^flannel\.1: it corrupts/)]);

    // Nobody would answer in a trial: there is none.
    prober.hasAnsweredOften = true;
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    expect(watch.adjustments.txChecksums.get('flannel.1')).toBe(false);
    prober.hasAnsweredOften = false;
    await vi.advanceTimersByTimeAsync(INTERVAL);

    // Still wrong: a trial of a moment.
    await comes(() => told.length === 2, w);
    await comes(() => device.on === false, w);
    prober.checksum = () => 'good';
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    expect(device.on).toBe(false);
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    await comes(() => told.length === 3, w);
    await comes(() => linkOf(w.objects([peer(9)])).txChecksum === undefined, w);
    expect([device.on, watch.problems()]).toEqual([true, []]);
    expect(watch.checksumOffload()).toEqual({ device: 'flannel.1', state: 'on', reason: null });
    expect(told.map(({ level, kind, subject }) => `${level} ${kind} ${subject}`)).toEqual([
      'warn offload flannel.1',
      'warn offload flannel.1',
      'info offload flannel.1',
    ]);
    await watch.end();
    expect(saved()).toBe('[]');
  });

  test('of another cause: it is on again, and that is told', async () => {
    const w = world();
    await w.take([peer(9)]);
    w.prober.checksum = () => 'corrupted';
    w.prober.says(PATH, { checksum: 'corrupted' });
    await comes(() => w.told.length === 1, w);
    await comes(() => w.watch.adjustments.txChecksums.size === 0, w);
    expect([w.device.on, w.prober.asked.length]).toEqual([true, 3]);
    expect(w.told[0]).toMatchObject({
      level: 'error',
      message: expect.stringMatching(/not by this host's offload/),
    });
    expect(w.watch.checksumOffload()).toMatchObject({
      state: 'on',
      reason: expect.stringMatching(/not by this host/),
    });
    await w.watch.end();
    expect(saved()).toBe('[]');
  });

  test('another daemon goes on where one has ended, also at another uplink', async () => {
    const w = world();
    await w.take([peer(9)]);
    w.prober.checksum = () => (w.device.on ? 'corrupted' : 'good');
    w.prober.says(PATH, { checksum: 'corrupted' });
    await comes(() => w.told.length === 1, w);
    await w.watch.end();

    const next = w.make();
    await next.restore();
    next.attach(w.prober);
    w.prober.onReport = (report) => next.heard(report);
    await w.take([peer(9)], next);
    expect(linkOf(w.objects([peer(9)], next)).txChecksum).toBe(false);
    w.converge(next);
    await w.take([peer(9)], next, host({ uplink: { mtu: 1400 } }));
    // Nobody is known to answer there yet.
    await vi.advanceTimersByTimeAsync(10 * INTERVAL);
    expect(next.adjustments.txChecksums.get('flannel.1')).toBe(false);
    w.prober.checksum = () => 'good';
    w.prober.says(PATH, { checksum: 'good' });
    await vi.advanceTimersByTimeAsync(INTERVAL);
    await comes(() => w.told.length === 2, w, next);
    await comes(() => w.device.on === true, w, next);
    await next.end();

    const nobody = w.make();
    await nobody.restore();
    expect(nobody.adjustments.txChecksums.size).toBe(0);
    await nobody.end();
  });

  test('are asked of those that were suspected, and after twice the time, also by another daemon', async () => {
    const w = world();
    const peers = Array.from({ length: 20 }, (_, i) => peer(i + 2));
    const suspected = '10.5.21.0-24 4';
    await w.take(peers);
    const allGood = () => {
      for (const path of w.prober.paths.keys()) w.prober.says(path, { checksum: 'good' });
    };
    allGood();
    // Packets of one peer are corrupted, and of no other.
    w.prober.checksum = (path) => (w.device.on && path === suspected ? 'corrupted' : 'good');
    w.prober.says(suspected, { checksum: 'corrupted' });
    await comes(() => w.told.length === 1, w);
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    await comes(() => w.told.length === 2, w);
    await comes(() => w.device.on === false, w);
    await w.watch.end();

    const next = w.make();
    await next.restore();
    next.attach(w.prober);
    w.prober.onReport = (report) => next.heard(report);
    await w.take(peers, next);
    allGood();
    w.prober.asked.length = 0;
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    await comes(() => w.told.length === 3, w, next);
    expect(w.prober.asked).toEqual([suspected]);
    await comes(() => w.device.on === false, w, next);
    await next.end();
    expect(JSON.parse(saved())).toEqual([
      { device: 'flannel.1', suspects: [suspected], delay: 240 * INTERVAL },
    ]);

    // The peer has gone: several of the others are asked, and only those that would tell.
    const last = w.make();
    await last.restore();
    last.attach(w.prober);
    await w.take(peers.slice(0, 19), last);
    allGood();
    w.prober.says('10.5.2.0-24 4', { checksum: 'unknown' });
    w.prober.asked.length = 0;
    await vi.advanceTimersByTimeAsync(60 * INTERVAL);
    await comes(() => w.told.length === 4, w, last);
    expect(w.prober.asked).toHaveLength(8);
    expect(w.prober.asked).not.toContain('10.5.2.0-24 4');
    expect(w.told.at(-1)!.level).toBe('info');
    await last.end();
  });

  test('that nobody probes any more are undone: the offload is on again, once, and it is forgotten', async () => {
    const text = JSON.stringify([{ device: 'flannel.1', suspects: [PATH], delay: 1 }]);
    writeFileSync(join(dir, FILES.offload), text);
    const w = world({ interval: 0 });
    w.device.on = false;
    await w.watch.restore();
    await w.take([peer(9)]);
    expect(linkOf(w.objects([peer(9)])).txChecksum).toBe(true);
    expect(saved()).toBe(text);
    w.converge();
    expect(w.device.on).toBe(true);
    expect(linkOf(w.objects([peer(9)]))).not.toHaveProperty('txChecksum');
    expect(w.watch.problems()).toEqual([]);
    await w.watch.end();
    expect(saved()).toBe('[]');
  });

  test('stay as they are while nobody can probe, and that is told', async () => {
    const text = JSON.stringify([{ device: 'flannel.1', suspects: [PATH], delay: 1 }]);
    writeFileSync(join(dir, FILES.offload), text);
    const w = world();
    w.watch.attach(NO_PROBING);
    await w.watch.restore();
    await w.take([peer(9)]);
    await vi.advanceTimersByTimeAsync(1_000 * INTERVAL);
    expect(linkOf(w.objects([peer(9)])).txChecksum).toBe(false);
    expect(w.watch.problems()).toEqual([
      expect.stringMatching(/^paths to peers cannot be probed/),
      expect.stringMatching(/^flannel\.1: it corrupts/),
    ]);
    await w.watch.end();
  });

  test('of a device that others have turned off are only told of', async () => {
    const w = world();
    w.device.on = false;
    await w.take([peer(9)]);
    w.prober.says(PATH, { checksum: 'corrupted' });
    expect(w.told).toMatchObject([{ level: 'error', message: expect.stringMatching(/off already/) }]);
    // Told ever more seldom: after 60 rounds, 120 more, and so on.
    for (let round = 0; round < 400; round++) {
      await vi.advanceTimersByTimeAsync(INTERVAL);
      w.prober.says(PATH, { checksum: 'corrupted' });
    }
    expect(w.told).toHaveLength(3);
    expect(w.watch.adjustments.txChecksums.size).toBe(0);
    await w.watch.end();
  });

  test('a path that does not lead through a device of ours is none of its business', async () => {
    const w = world({ config: DIRECT });
    await w.take([peer(9)]);
    w.prober.says(PATH, { checksum: 'corrupted' });
    expect(w.told).toEqual([]);
    await w.watch.end();
  });
});
