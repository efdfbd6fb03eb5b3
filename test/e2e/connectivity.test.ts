import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { ForwarderJson } from '../../src/forwarder/stats.ts';
import type { ClusterOptions } from '../support/cluster.ts';
import { FlannelHost } from '../support/flannel.ts';
import { dump, overlayText } from '../support/kernelText.ts';
import { measureLoss } from '../support/loss.ts';
import type { Netns } from '../support/netns.ts';
import { OnePacketHost } from '../support/onePacket.ts';
import { pingMatrix } from '../support/ping.ts';
import { outcome, pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

type Families = readonly (4 | 6)[];
const STACKS = { v4: [4], v6: [6], dual: [4, 6] } as const;

/** Bytes of IP and UDP headers. */
const HEADERS = { 4: 28, 6: 48 } as const;

/** How often a namespace has fragmented, or put fragments together, or could not. */
async function fragmentations(netns: Netns): Promise<number> {
  const text = await netns.run(['cat', '/proc/net/snmp', '/proc/net/snmp6']);
  let sum = 0;
  for (const [, name, value] of text.matchAll(/^(Ip6(?:Frag|Reasm)\w+)\s+(\d+)$/gm))
    sum += name ? Number(value) : 0;
  const [names, values] = [...text.matchAll(/^Ip: (.*)$/gm)].map((m) => m[1]!.split(' '));
  for (const [i, name] of names!.entries()) if (/^(Frag|Reasm)/.test(name)) sum += Number(values![i]);
  return sum;
}

/** Every pod reaches every other. */
async function expectPings(pods: readonly Workload[], families: Families): Promise<void> {
  const cells = await pingMatrix(pods, families);
  expect(cells).toHaveLength(pods.length * (pods.length - 1) * families.length);
  const lost = cells.filter((cell) => cell.ms === undefined);
  expect(lost.map((c) => `${c.from.netns.name} to ${c.to.addr(c.family)}`)).toEqual([]);
}

/** Packets as large as the overlay takes arrive. Linux sends UDP with DF set as long as it fits the path's MTU. */
async function expectFullSize(from: Workload, to: Workload, family: 4 | 6): Promise<void> {
  const mtu = Number(from.host.subnetEnv().FLANNEL_MTU);
  const { received, lost } = await measureLoss(from.netns, to.netns, to.addr(family), {
    dir: from.host.dir,
    size: mtu - HEADERS[family],
    during: () => sleep(30),
  });
  expect({ lost, some: received > 0 }).toEqual({ lost: 0, some: true });
}

async function expectOverlay(name: string, segments: readonly number[], options: ClusterOptions) {
  await using cluster = await pinnedCluster(segments, options);
  const pods = await Promise.all(cluster.hosts.map((host) => host.workload()));
  await expectPings(pods, cluster.families);
  const ring = pods.map((from, i) => [from, pods[(i + 1) % pods.length]!] as const);
  await Promise.all(cluster.families.flatMap((f) => ring.map(([from, to]) => expectFullSize(from, to, f))));
  const pieces = [...cluster.hosts, ...pods].map(({ netns }) => fragmentations(netns));
  expect(await Promise.all(pieces)).toEqual(pieces.map(() => 0));
  await expect(await outcome(cluster, cluster.hosts[0]!)).toMatchFileSnapshot(`golden/${name}.txt`);
}

describe.each(Object.entries(STACKS))('%s', (stack, families) => {
  test.each(['vxlan', 'host-gw', 'udp'])('%s connects all pods', async (Type) => {
    await expectOverlay(`${Type}-${stack}`, stack === 'v4' ? [0, 0, 0] : [0, 0], {
      families,
      backend: { Type },
      // As many queues on every machine.
      args: ['--udp-threads', '1'],
    });
  });
});

test('udp with more threads than one, on another port, is the network when no other is named', async () => {
  await using cluster = await pinnedCluster([0, 1], {
    families: [4, 6],
    config: { Backend: undefined },
    args: ['--udp-threads', '3'],
  });
  await cluster.configure({ Backend: { Type: 'udp', Port: 9000 } });
  const [first] = cluster.hosts;
  const pods = await Promise.all(cluster.hosts.map((host) => host.workload()));
  await until('the port to be changed', async () =>
    (await Promise.all(cluster.hosts.map((h) => h.netns.run(['ss', '-Huln'])))).every((text) =>
      text.includes(':9000'),
    ),
  );
  await expectPings(pods, cluster.families);
  for (const family of cluster.families) await expectFullSize(pods[0]!, pods[1]!, family);
  const { forwarder } = await first!.get<{ forwarder: ForwarderJson }>('/v1/status');
  expect(forwarder).toMatchObject({ running: true, threads: 3 });
  expect(forwarder.counters.out_packets).toBeGreaterThan(0);
  expect(forwarder.counters.in_packets).toBeGreaterThan(0);
  const peers = await first!.get<{ outPackets: number; inPackets: number }[]>('/v1/forwarder/peers');
  expect(peers).toMatchObject([{ subnets: ['10.42.2.0/24', 'fd00:42:0:2::/64'] }]);
  expect(peers[0]!.outPackets).toBeGreaterThan(0);
  expect(peers[0]!.inPackets).toBeGreaterThan(0);
});

test('with DirectRouting peers on the link are routed to, others are behind the tunnel', async () => {
  await expectOverlay('vxlan-direct-routing', [0, 0, 1], {
    families: [4, 6],
    backend: { Type: 'vxlan', DirectRouting: true },
  });
});

test('every vxlan option at once', async () => {
  const backend = { Type: 'vxlan', VNI: 42, Port: 4789, MTU: 1400, Learning: true, GBP: true };
  await expectOverlay('vxlan-options', [0, 0], { families: [4, 6], backend });
});

test.each(Object.entries(STACKS))('alloc only leases: %s', async (stack, families) => {
  await using cluster = await pinnedCluster([0], { families, backend: { Type: 'alloc' } });
  await expect(await outcome(cluster, cluster.hosts[0]!)).toMatchFileSnapshot(`golden/alloc-${stack}.txt`);
});

test('a flannel node is a peer like any other', async () => {
  await using cluster = await pinnedCluster([0, 0], { families: [4, 6] });
  const theirs = await FlannelHost.make(cluster, await cluster.addHost(), { n: 3 });
  const [first, second] = cluster.hosts;
  await until('the flannel node to be a peer', async () =>
    (await Promise.all([first!, second!].map((h) => h.get<{ peers: number }>('/v1/status')))).every(
      (s) => s.peers === 2,
    ),
  );
  const pods = await Promise.all(cluster.hosts.map((host) => host.workload()));
  await expectPings(pods, cluster.families);
  for (const family of cluster.families) await expectFullSize(pods[0]!, pods[2]!, family);
  expect(overlayText(await dump(first!.netns))).toContain(
    `fdb ${theirs.mac(4)} dev flannel.1 dst ${theirs.host.at.ipv4} `,
  );
});

test("a node with flannel's udp forwarder is a peer like any other", async () => {
  await using cluster = await pinnedCluster([0, 0], { backend: { Type: 'udp' } });
  const theirs = await OnePacketHost.make(cluster, await cluster.addHost(), { n: 3 });
  await until('the flannel node to be a peer', async () =>
    (await Promise.all(cluster.hosts.slice(0, 2).map((h) => h.get<{ peers: number }>('/v1/status')))).every(
      (s) => s.peers === 2,
    ),
  );
  const pods = await Promise.all(cluster.hosts.map((host) => host.workload()));
  await expectPings(pods, [4]);
  await expectFullSize(pods[0]!, pods[2]!, 4);
  await expectFullSize(pods[2]!, pods[0]!, 4);
  const peers =
    await cluster.hosts[0]!.get<{ subnets: string[]; inPackets: number }[]>('/v1/forwarder/peers');
  expect(peers.find(({ subnets }) => subnets[0] === theirs.subnet)!.inPackets).toBeGreaterThan(0);
  const { problems } = await cluster.hosts[0]!.get<{ problems: string[] }>('/v1/status');
  expect(problems).toEqual([]);
});
