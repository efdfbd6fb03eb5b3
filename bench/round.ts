import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ROUTE_PROTOCOL } from '../src/contract.ts';
import type { Cluster } from '../test/support/cluster.ts';
import type { Host } from '../test/support/host.ts';
import { until } from '../test/support/proc.ts';
import { peer } from './peers.ts';
import { cpuSeconds, memory } from './procStats.ts';
import { now, RouteMonitor } from './routeMonitor.ts';
import { spread } from './stats.ts';

/** What the daemon logs when it first holds a whole snapshot. */
const FIRST_VIEW = 'leases seen';

/** One fresh host. Times in seconds unless the name says otherwise; memory in MB (10^6 bytes). */
export interface Measured {
  /** From the start of the process to the last peer's route, seen by `ip monitor`. */
  readonly startToKernel: number;
  /** From the first whole snapshot of the leases to the same. */
  readonly snapshotToKernel: number;
  readonly startToReady: number;
  /** Until ready. */
  readonly cpuSeconds: number;
  readonly netlinkMessages: number;
  /** As the daemon counts them, and as etcd does. */
  readonly etcdRequests: number;
  readonly etcdSaw: number;
  /** Until ready, and at the end of the round. */
  readonly peakAtReady: number;
  readonly peakAtEnd: number;
  readonly rssAtEnd: number;
  /** A second start, everything being in the kernel already. */
  readonly restartToReady: number;
  readonly restartNetlinkMessages: number;
  /** Milliseconds from a put in etcd to the route in the kernel, and from a delete to its end; medians. Null: not asked for. */
  readonly peerAddedMs: number | null;
  readonly peerRemovedMs: number | null;
  /** Per cent of one core when nothing changes. Null: not asked for. */
  readonly idleCpu: number | null;
}

/** The parts of `/v1/status` that are read here. */
interface Status {
  readonly ready: boolean;
  readonly kernel: { readonly messages: number };
  readonly store: { readonly requests: number };
}

/** Start a daemon on a fresh host among `count` peers, restart it, let peers come and go, let it idle. */
export async function measureRound(
  cluster: Cluster,
  options: { count: number; churn: number; idle: number },
): Promise<Measured> {
  const { etcd } = cluster;
  await using host = await cluster.addHost();
  await using monitor = await RouteMonitor.start(host.netns, host.dir);
  const requestsBefore = await requestsSeen(cluster);
  const started = now();
  await host.start({ timeout: 120_000 });
  const ready = now();
  const { pid } = host.daemon;
  const cpu = cpuSeconds(pid);
  const { peak: peakAtReady } = memory(pid);
  const status = await host.get<Status>('/v1/status');
  const etcdSaw = (await requestsSeen(cluster)) - requestsBefore;
  const last = await lastRoute(monitor, options.count);
  await verify(host, options.count);

  const added: number[] = [];
  const removed: number[] = [];
  for (let i = 0; i < options.churn; i++) {
    const { key, value, subnet } = peer(options.count + i);
    const put = now();
    await etcd.put(key, value);
    added.push((await monitor.wait(subnet, put)) - put);
    const gone = now();
    await etcd.delete(key);
    removed.push((await monitor.wait(subnet, gone, { deleted: true })) - gone);
  }

  // V8 collects garbage once more some 8 s after it was last busy: that belongs to what came before.
  await sleep(12_000);
  const idleFrom = cpuSeconds(pid);
  await sleep(options.idle * 1_000);
  const idleCpu = options.idle === 0 ? null : ((cpuSeconds(pid) - idleFrom) / options.idle) * 100;
  const end = memory(pid);

  await host.stop();
  const restarted = now();
  await host.start({ timeout: 120_000 });
  const restartToReady = (now() - restarted) / 1_000;
  const again = await host.get<Status>('/v1/status');
  await verify(host, options.count);
  await releaseLease(cluster, host);

  return {
    startToKernel: (last - started) / 1_000,
    snapshotToKernel: (last - (await firstSnapshot(host))) / 1_000,
    startToReady: (ready - started) / 1_000,
    cpuSeconds: cpu,
    netlinkMessages: status.kernel.messages,
    etcdRequests: status.store.requests,
    etcdSaw,
    peakAtReady,
    peakAtEnd: end.peak,
    rssAtEnd: end.rss,
    restartToReady,
    restartNetlinkMessages: again.kernel.messages,
    peerAddedMs: added.length > 0 ? spread(added).median : null,
    peerRemovedMs: removed.length > 0 ? spread(removed).median : null,
    idleCpu,
  };
}

/** gRPC calls etcd has begun to serve, streams counted once. Reading the metric is none. */
const requestsSeen = (cluster: Cluster): Promise<number> => cluster.etcd.metric('grpc_server_started_total');

/** When the last of `count` peers' routes came. */
async function lastRoute(monitor: RouteMonitor, count: number): Promise<number> {
  const routes = await until(`${count} routes in ip monitor`, () => {
    const seen = monitor.seen().filter((s) => !s.deleted && s.dst.startsWith('10.') && s.dst.endsWith('/24'));
    return seen.length >= count && seen;
  });
  return routes.at(-1)!.at;
}

/** When the daemon says it first saw all leases, milliseconds since the epoch. */
async function firstSnapshot(host: Host): Promise<number> {
  const line = await host.logged('the first view of the leases', ({ msg }) => msg === FIRST_VIEW);
  return Date.parse(String(line.time));
}

/**
 * A daemon's start with its event loop under observation, which costs it something and so is a round of its own.
 * Returns the longest time the loop was not served from the first snapshot on, and the most CPU time it used in one
 * go, in milliseconds: the difference is what others did on the machine.
 */
export async function longestStall(
  cluster: Cluster,
  count: number,
): Promise<{ stallMs: number; stallCpuMs: number }> {
  await using host = await cluster.addHost();
  const file = join(host.dir, 'stalls.json');
  const probe = fileURLToPath(new URL('loopProbe.mjs', import.meta.url));
  await host.start({ env: { NODE_OPTIONS: `--import=${probe}`, LOOP_PROBE_FILE: file }, timeout: 120_000 });
  await verify(host, count);
  await sleep(2_000);
  const since = await firstSnapshot(host);
  await releaseLease(cluster, host);
  const all = JSON.parse(readFileSync(file, 'utf8')) as { at: number; ms: number; cpuMs: number }[];
  const stalls = all.filter((stall) => stall.at + stall.ms >= since);
  return {
    stallMs: Math.max(0, ...stalls.map((stall) => stall.ms)),
    stallCpuMs: Math.max(0, ...stalls.map((stall) => stall.cpuMs)),
  };
}

/** The kernel's own lists must hold every peer: a figure for half the work is none. */
async function verify(host: Host, count: number): Promise<void> {
  const lengths = {
    routes: (await host.netns.ipJson(`route show proto ${ROUTE_PROTOCOL}`)).length,
    neighbours: (await host.netns.ipJson('neigh show dev flannel.1 nud permanent')).length,
    fdb: (await host.netns.bridgeJson('fdb show dev flannel.1')).length,
  };
  for (const [what, length] of Object.entries(lengths)) {
    if (length !== count) throw new Error(`the kernel holds ${length} ${what} for ${count} peers`);
  }
}

/** The host's own lease would be one peer more to the next round. */
async function releaseLease(cluster: Cluster, host: Host): Promise<void> {
  const { lease } = await host.get<{ lease: { lease: { key: string } } }>('/v1/status');
  await host.stop();
  await cluster.etcd.delete(`/coreos.com/network/subnets/${lease.lease.key}`);
}
