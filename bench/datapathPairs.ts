import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cluster } from '../test/support/cluster.ts';
import type { Netns } from '../test/support/netns.ts';
import { OnePacketHost } from '../test/support/onePacket.ts';
import { ping } from '../test/support/ping.ts';
import type { Workload } from '../test/support/workload.ts';
import type { UnderlayName, VariantName } from './datapathFigures.ts';
import { IPERF_PORT } from './iperf.ts';

export const NETLOAD = fileURLToPath(new URL('../build/native/netload', import.meta.url));
export const PORT = 5200;
/** That of a server that stays on the last CPU. */
export const PINNED_PORT = 5201;

/** A pod on each of two hosts that one variant connects, and servers of all kinds of load in the second. */
export interface Pair {
  readonly variant: VariantName;
  readonly cluster: Cluster;
  readonly from: Netns;
  /** The servers'. */
  readonly address: string;
}

const BACKENDS = { 'host-gw': 'host-gw', vxlan: 'vxlan', udp: 'udp' } as const;

/**
 * Two fresh hosts with a cable between them, and what a variant makes of it. Everything of it idles until it is loaded,
 * so that all variants can stand side by side. It goes with `pair.cluster`.
 */
export async function makePair(
  variant: VariantName,
  underlay: UnderlayName,
  options: { args?: readonly string[] } = {},
): Promise<Pair> {
  const cluster = await Cluster.create(
    variant === 'one-packet' ? {} : { backend: { Type: BACKENDS[variant] } },
  );
  try {
    // Loden takes the cable's address for its own, and reaches etcd by the segment.
    const args = ['--iface', 'cable0', ...(variant === 'udp' ? (options.args ?? []) : [])];
    const [a, b] = [await cluster.addHost({ args }), await cluster.addHost({ args })];
    const { ipv4 } = await cluster.underlay.cable(a.at, b.at, underlay);
    if (variant === 'one-packet') {
      const one = await OnePacketHost.make(cluster, a, { n: 1, local: ipv4[0] });
      await OnePacketHost.make(cluster, b, { n: 2, local: ipv4[1] });
      await one.sync();
    } else {
      await Promise.all([a.start(), b.start()]);
    }
    const [from, to] = [await a.workload(), await b.workload()];
    await reach(from, to);
    const netload = (port: number) => [NETLOAD, 'serve', '--port', String(port)];
    await serve(to, netload(PORT), 'netload');
    await serve(to, ['taskset', '-c', String(availableParallelism() - 1), ...netload(PINNED_PORT)], 'pinned');
    await serve(to, ['iperf3', '--server', '--forceflush', '--port', String(IPERF_PORT)], 'iperf3');
    return { variant, cluster, from: from.netns, address: to.addr(4) };
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw new Error(`${variant} on ${underlay}: ${(error as Error).message}`, { cause: error });
  }
}

async function serve({ host, netns }: Workload, argv: readonly string[], name: string): Promise<void> {
  const server = await netns.start(argv, { log: join(host.dir, `${name}.log`) });
  await server.saying(/listening/i);
}

/** Both hosts are ready, but the first may have yet to hear of the second. */
async function reach(from: Workload, to: Workload): Promise<void> {
  for (let i = 0; i < 20; i++) if ((await ping(from.netns, to.addr(4))) !== undefined) return;
  throw new Error(`${from.netns.name} does not reach ${to.addr(4)}`);
}
