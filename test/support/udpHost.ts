import type { ForwarderJson } from '../../src/forwarder/stats.ts';
import type { Cluster, ClusterOptions } from './cluster.ts';
import type { Host } from './host.ts';
import { ping } from './ping.ts';
import { pinnedCluster } from './pinned.ts';
import { until } from './proc.ts';
import type { Workload } from './workload.ts';

/** The forwarder as the daemon of a host tells of it. */
export async function forwarderOf(host: Host): Promise<ForwarderJson> {
  const { forwarder } = await host.get<{ forwarder: ForwarderJson | null }>('/v1/status');
  if (!forwarder) throw new Error(`${host.name} has no forwarder`);
  return forwarder;
}

/** What has been added to counters since, those that did not change left out. */
export function since(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const added = Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)] as const);
  return Object.fromEntries(added.filter(([, n]) => n !== 0));
}

/** What the kernel says of itself on the device (MLD, router solicitations) has no peer to go to: it would be counted. */
const QUIET = `table inet quiet {
  chain out { type filter hook output priority 0; oifname flannel0 ip6 daddr ff00::/8 drop; }
}`;

/** Datagrams of one byte from a pod, as fast as they go; they have been given to its stack when it resolves. */
export async function blast(from: Workload, to: string, count: number): Promise<void> {
  const program = `
    const [to, count] = process.argv.slice(1);
    const socket = require('node:dgram').createSocket(to.includes(':') ? 'udp6' : 'udp4');
    let left = Number(count);
    const next = () => left-- > 0 ? socket.send('x', 9, to, next) : process.exit(0);
    socket.on('error', () => {});
    next();
  `;
  await from.netns.run([process.execPath, '--eval', program, '--', to, String(count)]);
}

/**
 * Hosts with the udp backend, the n-th in the n-th segment named, and a pod on each; all pods reach the first and back. Nothing is probed: the
 * forwarder counts only what tests send, and nobody but it tells what fits.
 */
export async function udpCluster(
  segments: readonly number[],
  options: ClusterOptions = {},
): Promise<{ cluster: Cluster; hosts: readonly Host[]; pods: readonly Workload[] }> {
  const { args = [], ...others } = options;
  const cluster = await pinnedCluster(segments, {
    backend: { Type: 'udp' },
    ...others,
    args: ['--probe-interval', '0', ...args],
  });
  try {
    for (const { netns } of cluster.hosts) await netns.nft(QUIET);
    const pods = await Promise.all(cluster.hosts.map((host) => host.workload()));
    for (const pod of pods.slice(1))
      for (const family of cluster.families) {
        const reached = async () => (await ping(pods[0]!.netns, pod.addr(family))) !== undefined;
        await until(`${pod.netns.name} to be reached`, reached);
      }
    return { cluster, hosts: cluster.hosts, pods };
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}
