import { expect, test } from 'vitest';
import type { MatrixJson } from '../../src/api/matrix.ts';
import type { EventsJson, PeersJson } from '../../src/api/shapes.ts';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { flannelValue, inStep, keyOf, leases, status, subnetOf, untilStatus } from '../support/leases.ts';
import { until } from '../support/proc.ts';

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

test.concurrent('what is reserved for a node yet to come troubles nobody, and is served when the node has come', async () => {
  await using cluster = await Cluster.create({ args: [...args, '--probe-interval', '500ms'] });
  const [host, other, late] = [await cluster.addHost(), await cluster.addHost(), await cluster.addHost()];
  await Promise.all([host, other].map((h) => h.start()));
  await host.loden('leases', 'reserve', SUBNET, '--node', late.at.ipv4!, '--run-dir', host.runDir);
  const peerOf = async (subnet: string) =>
    (await host.get<PeersJson>('/v1/peers')).peers.find(({ subnets }) => subnets.includes(subnet));
  await until('the reservation to be seen', async () => (await peerOf(SUBNET)) !== undefined);
  const theirs = await subnetOf(other);
  await until('the other to be probed', async () => (await peerOf(theirs))?.paths[0]?.health === 'reachable');
  expect(await peerOf(SUBNET)).toMatchObject({
    publicIP: late.at.ipv4,
    reservation: true,
    unclaimed: true,
    problem: null,
    paths: [],
  });
  expect(await host.get('/v1/status')).toMatchObject({
    problems: [],
    peers: 1,
    paths: { reachable: 1, unprobed: 0, unreachable: 0 },
  });
  const events = async () => (await host.get<EventsJson>('/v1/events')).events;
  expect((await events()).filter(({ level }) => level !== 'info')).toEqual([]);
  const { nodes } = await host.get<MatrixJson>('/v1/matrix');
  expect(nodes).toHaveLength(2);

  await late.start();
  await expectReserved(cluster, late, SUBNET);
  await until('it to be reachable', async () => (await peerOf(SUBNET))?.paths[0]?.health === 'reachable');
  expect(await peerOf(SUBNET)).toMatchObject({ reservation: true, unclaimed: false, problem: null });
  expect(await host.get('/v1/status')).toMatchObject({ problems: [], peers: 2 });
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
