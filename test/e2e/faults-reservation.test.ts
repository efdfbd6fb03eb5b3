import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { flannelValue, inStep, keyOf, leases, status, subnetOf, untilStatus } from '../support/leases.ts';

const SUBNET = '10.42.77.0/24';
const args = ['--lease-ttl', '5s'];

/** It is the host's, says what peers must know, and hangs on no etcd lease. */
async function expectReserved(cluster: Cluster, host: Host, subnet: string): Promise<void> {
  const reserved = (await leases(cluster.etcd)).get(subnet)!;
  const { node, instance, lease } = await status(host);
  expect(reserved.lease).toBe('0');
  expect(JSON.parse(reserved.value)).toMatchObject({
    PublicIP: host.at.ipv4,
    BackendType: 'vxlan',
    Loden: { node, instance },
  });
  expect(lease).toMatchObject({
    state: 'held',
    secondsLeft: null,
    lease: { subnets: [subnet], reservation: true },
  });
}

test.concurrent('a reservation made for flannel is used, and is still one after restarts and a crash', async () => {
  await using cluster = await Cluster.create({ args });
  const [host, other] = [await cluster.addHost(), await cluster.addHost()];
  await cluster.etcd.ctl('put', keyOf(SUBNET), flannelValue(host.at.ipv4, '0e:00:00:00:00:77'));
  await Promise.all(cluster.hosts.map((h) => h.start()));
  const pods = [await host.workload(), await other.workload()] as const;
  await expectReserved(cluster, host, SUBNET);

  await lossless(bothWays(...pods), async () => {
    for (const signal of ['SIGTERM', 'SIGTERM', 'SIGTERM', 'SIGKILL'] as const) {
      await host.restart(signal);
      await expectReserved(cluster, host, SUBNET);
    }
    await inStep(cluster);
  });
  // It has never been anything else.
  expect((await leases(cluster.etcd)).size).toBe(2);
});

test.concurrent('a lease that an operator makes a reservation is one, however long etcd is away', async () => {
  await using cluster = await Cluster.start(2, { args });
  const { etcd, underlay } = cluster;
  const [host, other] = cluster.hosts as [Host, Host];
  const pods = [await other.workload(), await host.workload()] as const;
  const subnet = await subnetOf(host);

  // The other's lease runs out, so what is sent to it does not arrive for a moment.
  await lossless([pods], async () => {
    const [key, { value }] = [keyOf(subnet), (await leases(etcd)).get(subnet)!];
    await etcd.ctl('put', key, value);
    await untilStatus(host, 'has a reservation', ({ lease }) => lease.lease.reservation);
    const heals = [await underlay.cut(host.at, etcd.at), await underlay.cut(other.at, etcd.at)];
    await untilStatus(other, 'is fenced', ({ lease }) => lease.state === 'fenced');
    expect((await status(host)).lease.state).toBe('held');
    for (const heal of heals) await heal();
    await untilStatus(other, 'has its lease back', ({ lease }) => lease.state === 'held');
    await inStep(cluster);
    await expectReserved(cluster, host, subnet);
  });
});
