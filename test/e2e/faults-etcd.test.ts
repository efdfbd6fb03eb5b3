import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import { inStep, leases, reaches, status, untilStatus } from '../support/leases.ts';

/** All hosts have noticed that etcd is away, and have asked for it again and again. */
async function etcdMissed(cluster: Cluster): Promise<void> {
  await Promise.all(
    cluster.hosts.map(async (host) => {
      const away = await untilStatus(host, 'misses etcd', ({ store }) => !store.connected);
      expect(away.store.error).toContain(`waiting for etcd at ${cluster.etcd.endpoint()}`);
      expect(away.problems).toContain(away.store.error);
      await untilStatus(host, 'asks again', ({ store }) => store.requests >= away.store.requests + 4);
    }),
  );
}

const etcdBack = (cluster: Cluster) =>
  Promise.all(
    cluster.hosts.map((host) =>
      untilStatus(host, 'has etcd back', ({ store, lease }) => store.connected && lease.state === 'held'),
    ),
  );

test('etcd is restarted, crashes, and is away for a while: leases stay, packets flow, later hosts are seen', async () => {
  await using cluster = await Cluster.start(2);
  const { etcd } = cluster;
  const [one, two] = [await cluster.hosts[0]!.workload(), await cluster.hosts[1]!.workload()];
  const before = await leases(etcd);
  const instances = await Promise.all(cluster.hosts.map(async (host) => (await status(host)).instance));

  await lossless(bothWays(one, two), async () => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await etcd.stop(signal);
      await etcdMissed(cluster);
      await etcd.start();
      await etcdBack(cluster);
    }
    expect(await leases(etcd)).toEqual(before);

    const late = await cluster.addHost();
    await late.start();
    await inStep(cluster);
    const three = await late.workload();
    for (const pod of [one, two]) {
      await reaches(three.netns, pod.addr(4));
      await reaches(pod.netns, three.addr(4));
    }
  });
  // The same daemons, not new ones.
  const now = await Promise.all(cluster.hosts.slice(0, 2).map(async (host) => (await status(host)).instance));
  expect(now).toEqual(instances);
});
