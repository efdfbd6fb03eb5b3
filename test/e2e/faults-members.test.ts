import { expect, test } from 'vitest';
import { DEFAULTS, KEYS } from '../../src/contract.ts';
import { Cluster, NETWORK } from '../support/cluster.ts';
import { EtcdMembers } from '../support/etcdMembers.ts';
import { bothWays, lossless } from '../support/flow.ts';
import { BESIDE_GHOSTS, ghost, HEALED, peersInKernel, status, untilStatus } from '../support/leases.ts';
import { until } from '../support/proc.ts';

test('each member of an etcd cluster is killed in turn, the leader first, then two at once: daemons go on with the rest', async () => {
  await using cluster = await Cluster.create();
  const etcd = await EtcdMembers.start(cluster.etcd);
  const config = JSON.stringify({ Network: NETWORK[4], ...BESIDE_GHOSTS, Backend: { Type: 'vxlan' } });
  await etcd.ctl('put', `${DEFAULTS.etcdPrefix}/${KEYS.config}`, config);
  // The second one prefers another member.
  const { endpoints } = etcd;
  await cluster.addHost({ endpoints });
  await cluster.addHost({ endpoints: endpoints.toReversed() });
  await Promise.all(cluster.hosts.map((host) => host.start()));
  const pods = [await cluster.hosts[0]!.workload(), await cluster.hosts[1]!.workload()] as const;
  const before = await Promise.all(cluster.hosts.map(async (host) => (await status(host)).lease.lease));

  /** All hosts learn of a new peer. */
  const expectNews = async (n: number) => {
    const { key, value, subnet } = ghost(n);
    await etcd.ctl('put', key, value);
    for (const host of cluster.hosts) {
      const isKnown = async () => subnet in (await peersInKernel(host));
      await until(`${host.name} to know ghost ${n}`, isKnown, HEALED);
      await untilStatus(
        host,
        'is in order',
        ({ store, problems }) => store.connected && problems.length === 0,
      );
    }
  };

  await lossless(bothWays(...pods), async () => {
    const first = await etcd.leader();
    for (const i of [0, 1, 2]) {
      const victim = (first + i) % 3;
      await etcd.kill(victim);
      await until('another leader', async () => (await etcd.leader()) !== victim);
      await expectNews(i + 1);
      await etcd.start(victim);
      await until('all three to agree', async () => (await etcd.leader()) !== undefined);
    }

    // One alone answers, but nothing it says can be relied on.
    await etcd.kill(first);
    await etcd.kill((first + 1) % 3);
    for (const host of cluster.hosts) {
      await untilStatus(host, 'misses etcd', ({ store }) => !store.connected);
      expect(await status(host)).toMatchObject({ ready: true, lease: { state: 'held' } });
    }
    await etcd.start(first);
    await until('two to agree', async () => (await etcd.leader()) !== undefined);
    await expectNews(4);
    const late = await cluster.addHost({ endpoints });
    await late.start();
    await expectNews(5);
  });
  const now = await Promise.all(
    cluster.hosts.slice(0, 2).map(async (host) => (await status(host)).lease.lease),
  );
  expect(now).toEqual(before);
});
