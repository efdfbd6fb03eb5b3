import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { traces } from '../support/cniTraces.ts';
import type { Containerd } from '../support/containerd.ts';
import { CriCluster, lossesBetween } from '../support/criCluster.ts';
import type { Pod } from '../support/criPod.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';

/** Something to serve, and to ask for: busybox's httpd, asked by its nc. */
const SERVE = ['sh', '-c', 'hostname >/www/name; exec httpd -f -p 80 -h /www'];
const ask = (address: string, port = 80): string[] => [
  'sh',
  '-c',
  `printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} ${port}`,
];

/** Start a server in the pod's own container, and wait until it listens. */
async function serve(pod: Pod): Promise<string> {
  const container = await pod.container(SERVE);
  await until('httpd to listen', async () =>
    (await pod.run(['ss', '-Hltn', 'sport = :80'])).includes('LISTEN'),
  );
  return container;
}

describe.each([
  { backend: { Type: 'vxlan' }, families: [4, 6] },
  { backend: { Type: 'udp' }, families: [4] },
] as const)('pods of containerd on two hosts, $backend.Type', ({ backend, families }) => {
  let kubelets: CriCluster;
  let nodes: readonly [Containerd, Containerd];
  let pods: Pod[];
  beforeAll(async () => {
    // Masqueraded, as is usual: with udp, answers of a mapped port would come from outside of the peer's subnet else.
    kubelets = await CriCluster.start(2, { backend, families, args: ['--ip-masq'] });
    nodes = kubelets.nodes as unknown as typeof nodes;
    // All at once, as after a node's start.
    pods = await Promise.all([0, 1, 0, 1, 0, 1].map((n) => nodes[n]!.runPod()));
  });
  afterAll(() => kubelets?.[Symbol.asyncDispose]());

  test('each has an address of its node for each family, and reaches all others', async () => {
    expect(new Set(pods.flatMap((pod) => pod.ips)).size).toBe(6 * families.length);
    for (const pod of pods) {
      const { FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU } = pod.node.host.subnetEnv();
      expect(pod.ip).toMatch(new RegExp(`^${FLANNEL_SUBNET!.replace(/1\/24$/, '')}`));
      expect(pod.ips).toHaveLength(families.length);
      if (pod.ips[1])
        expect(pod.ips[1]).toMatch(new RegExp(`^${FLANNEL_IPV6_SUBNET!.replace(/1\/64$/, '')}`));
      const [eth0] = await (await pod.netns()).ipJson<{ mtu: number }[]>('link show eth0');
      expect(String(eth0!.mtu)).toBe(FLANNEL_MTU);
    }
    const unreached: string[] = [];
    for (const from of pods) {
      const netns = await from.netns();
      const others = pods.filter((pod) => pod !== from).flatMap((pod) => pod.ips);
      const answers = await Promise.all(others.map((ip) => ping(netns, ip, 5)));
      unreached.push(
        ...others.filter((_, i) => answers[i] === undefined).map((ip) => `${ip} from ${from.ip}`),
      );
      expect(await ping(netns, from.ip)).toBeDefined();
    }
    expect(unreached).toEqual([]);
  });

  test('they serve each other across hosts and on one host, from container to container', async () => {
    const [here, there, beside] = pods as [Pod, Pod, Pod];
    const client = await here.container(['sleep', '3600']);
    await serve(there);
    await serve(beside);
    expect(await here.exec(client, ask(there.ip))).toMatch(/200 OK[\s\S]*\npod1\n$/);
    expect(await here.exec(client, ask(beside.ip))).toMatch(/200 OK[\s\S]*\npod2\n$/);
  });

  test('a mapped port is reached from the other host, from a pod there, and from a pod beside', async () => {
    const [a, b] = nodes;
    const pod = await a.runPod({ ports: [{ container_port: 80, host_port: 8080 }] });
    await serve(pod);
    const at = a.host.at.ipv4;
    const busybox = (command: string[]) => ['busybox', ...command];
    expect(await b.host.netns.run(busybox(ask(at, 8080)))).toContain('200 OK');
    expect(await pods[1]!.run(busybox(ask(at, 8080)))).toContain('200 OK');
    expect(await pods[0]!.run(busybox(ask(at, 8080)))).toContain('200 OK');
    await pod.remove();
    await expect(b.host.netns.run(busybox(ask(at, 8080)))).rejects.toThrow();
  });

  test('a removed pod leaves nothing, and the others what they have', async () => {
    const [node] = nodes;
    const before = await traces(node.host);
    const own = pods.filter((pod) => pod.node === node);
    expect(before.addresses).toEqual(own.flatMap((pod) => pod.ips).toSorted());
    expect(before.veths).toHaveLength(own.length);
    expect(before.records).toHaveLength(own.length);
    expect(before.queued).toEqual([]);

    const pod = await node.runPod();
    const with1 = await traces(node.host);
    expect(with1.addresses).toHaveLength(before.addresses.length + families.length);
    expect(with1.veths).toHaveLength(before.veths.length + 1);
    await pod.remove();
    expect(await traces(node.host)).toEqual(before);
    expect(await ping(await pods[1]!.netns(), pod.ip)).toBeUndefined();
  });

  test('containerd is killed: its pods go on, and one can be removed by the next containerd', async () => {
    const [node] = nodes;
    const [here, there] = pods as [Pod, Pod];
    const victim = await node.runPod();
    const losses = await lossesBetween([here, there], async () => {
      await node.kill();
      await node.start();
      await node.networkReady();
      await victim.remove();
    });
    expect(losses).toEqual([]);
    const { addresses } = await traces(node.host);
    expect(addresses).not.toContain(victim.ip);
    expect(addresses).toContain(here.ip);
    expect(await node.podIds()).not.toContain(victim.id);
  });
});
