import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { compact } from '../support/etcdFaults.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import {
  BESIDE_GHOSTS,
  ghost,
  inStep,
  leases,
  peersInKernel,
  reaches,
  untilStatus,
} from '../support/leases.ts';

const put = (cluster: Cluster, { key, value }: { key: string; value: string }) =>
  cluster.etcd.put(key, value);

/** Peers whose lease changes in every way it can: another MAC, gone, gone and back as another, new. */
async function changePeers(cluster: Cluster): Promise<void> {
  const { etcd } = cluster;
  await put(cluster, ghost(1, '0e:00:00:00:01:01'));
  await etcd.delete(ghost(2).key);
  await etcd.delete(ghost(3).key);
  await put(cluster, ghost(3, '0e:00:00:00:01:03'));
  await put(cluster, { ...ghost(4), value: ghost(5).value });
}

/** Two hosts in step with etcd, where there are three more peers. */
async function start(): Promise<Cluster> {
  const cluster = await Cluster.start(2, { config: BESIDE_GHOSTS });
  for (const n of [1, 2, 3]) await put(cluster, ghost(n));
  await inStep(cluster);
  return cluster;
}

test.concurrent('a host that etcd is cut off from for a moment misses nothing', async () => {
  await using cluster = await start();
  const { etcd, underlay } = cluster;
  const [cutOff, other] = cluster.hosts as [Host, Host];
  const pods = [await cutOff.workload(), await other.workload()] as const;
  await lossless(bothWays(...pods), async () => {
    const heal = await underlay.cut(cutOff.at, etcd.at);
    await changePeers(cluster);
    await compact(etcd);
    await inStep(cluster, [other]);
    await heal();
    await inStep(cluster);
  });
});

test.concurrent('a host in a black hole keeps what it has, and has the present state once it can reach etcd again', async () => {
  await using cluster = await start();
  const { etcd, underlay } = cluster;
  const [cutOff, other] = cluster.hosts as [Host, Host];
  const pods = [await cutOff.workload(), await other.workload()] as const;
  const [kernel, before] = [await peersInKernel(cutOff), await leases(etcd)];

  await lossless(bothWays(...pods), async () => {
    const heal = await underlay.cut(cutOff.at, etcd.at);
    await changePeers(cluster);
    await compact(etcd);
    // Packets are dropped without a word: it takes the keep-alive of the connection to find out.
    const away = await untilStatus(cutOff, 'misses etcd', ({ store }) => !store.connected);
    expect(away).toMatchObject({ ready: true, reason: null, lease: { state: 'held' } });
    const late = await cluster.addHost();
    await late.start();
    await compact(etcd);
    await inStep(cluster, [other, late]);
    expect(await peersInKernel(cutOff)).toEqual(kernel);

    await heal();
    await inStep(cluster);
    const newcomer = await late.workload();
    await reaches(newcomer.netns, pods[0].addr(4));
    await reaches(pods[0].netns, newcomer.addr(4));
  });
  const after = await leases(etcd);
  for (const subnet of before.keys()) {
    const ours = before.get(subnet)!.value.includes('Loden');
    if (ours) expect(after.get(subnet)).toEqual(before.get(subnet));
  }
});
