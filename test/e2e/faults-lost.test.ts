import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { backup, restore, revoke } from '../support/etcdFaults.ts';
import { type Flow, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { HEALED, inStep, keyOf, leases, status, subnetOf, untilStatus } from '../support/leases.ts';
import { pingMatrix } from '../support/ping.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

/** Wait until a subnet hangs on another etcd lease than before; resolves to its key. */
const madeAnew = (cluster: Cluster, subnet: string, before: string) =>
  until(
    `a new lease of ${subnet}`,
    async () => {
      const now = (await leases(cluster.etcd)).get(subnet);
      return now && now.lease !== '0' && now.lease !== before && now;
    },
    HEALED,
  );

/** These hosts, by the subnet and the daemon they have. */
const identities = (hosts: readonly Host[]) =>
  Promise.all(hosts.map(async (host) => [await subnetOf(host), (await status(host)).instance]));

async function expectInOrder(cluster: Cluster, pods: readonly Workload[]): Promise<void> {
  for (const host of cluster.hosts) {
    const held = await untilStatus(host, 'holds its lease', ({ lease }) => lease.state === 'held');
    expect(held).toMatchObject({ ready: true, reason: null, problems: [] });
  }
  for (const { from, to, ms } of await pingMatrix(pods, [4])) {
    expect(ms, `${from.netns.name} to ${to.netns.name}`).toBeDefined();
  }
}

test('a lease whose key is deleted or overwritten, or that is revoked, is taken back: same subnet, same daemon', async () => {
  await using cluster = await Cluster.start(3);
  const { etcd, hosts } = cluster;
  const [host, two, three] = hosts as [Host, Host, Host];
  const [pod, sibling] = [await host.workload(), await host.workload()];
  const [ear, otherEar, mouth] = [await two.workload(), await two.workload(), await three.workload()];
  const [before, env] = [await identities(hosts), host.subnetEnv()];
  const subnet = await subnetOf(host);
  const first = (await leases(etcd)).get(subnet)!;

  // Peers drop a host that has no lease: for a moment what is sent to it does not arrive. What it sends does.
  const flows: Flow[] = [
    [pod, sibling],
    [pod, ear],
    [mouth, otherEar],
  ];
  await lossless(flows, async () => {
    await etcd.ctl('del', keyOf(subnet));
    const second = await madeAnew(cluster, subnet, first.lease);
    await inStep(cluster);
    await revoke(etcd, second.lease);
    const third = await madeAnew(cluster, subnet, second.lease);
    await inStep(cluster);
    // The key is no one's now, and on no etcd lease: it has become a reservation, with nonsense in it.
    await etcd.ctl('put', keyOf(subnet), 'nonsense');
    await until(
      'the value to be right again',
      async () => (await leases(etcd)).get(subnet)!.value === third.value,
    );
    expect(third.value).toBe(first.value);
    await inStep(cluster);
  });
  expect(await identities(hosts)).toEqual(before);
  expect(host.subnetEnv()).toEqual(env);
  await expectInOrder(cluster, [pod, ear, mouth]);
});

test('etcd is restored from a backup that knows nothing of one host, and an old address of another', async () => {
  await using cluster = await Cluster.start(2);
  const { etcd, hosts } = cluster;
  const [one, mover] = hosts as [Host, Host];
  const file = await backup(etcd, 'backup');
  const late = await cluster.addHost();
  await late.start();
  const address = mover.at.ipv4.replace(/\d+$/, (n) => String(Number(n) + 100));
  await mover.netns.ipBatch([
    `addr del ${mover.at.ipv4}/24 dev eth0`,
    `addr add ${address}/24 dev eth0`,
    'route add default via 192.0.2.254',
  ]);
  const subnets = { mover: await subnetOf(mover), late: await subnetOf(late) };
  const addressIs = async () => (await leases(etcd)).get(subnets.mover)?.value.includes(`"${address}"`);
  await until('the new address to be published', addressIs, HEALED);
  await inStep(cluster);
  const pods = [await one.workload(), await mover.workload(), await late.workload()] as const;
  const others = [await one.workload(), await mover.workload(), await late.workload()] as const;
  const [before, known] = [await identities(hosts), await leases(etcd)];

  // Everybody to everybody, each way.
  const flows: Flow[] = pods.flatMap((pod, i): Flow[] => [
    [pod, pods[(i + 1) % 3]!],
    [pod, others[(i + 2) % 3]!],
  ]);
  await lossless(flows, async () => {
    await restore(etcd, file);
    await madeAnew(cluster, subnets.late, known.get(subnets.late)!.lease);
    await until('the new address to be published', addressIs, HEALED);
    await inStep(cluster);
  });
  expect(await identities(hosts)).toEqual(before);
  await expectInOrder(cluster, pods);
});
