import { cpSync, rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { inStep, leases, loggedError, status, subnetOf, untilStatus } from '../support/leases.ts';
import { pingMatrix } from '../support/ping.ts';
import { until } from '../support/proc.ts';

/** Give `to` the state directory that the running `from` has, as an image of a virtual machine would. */
function clone(from: Host, to: Host): void {
  rmSync(to.stateDir, { recursive: true });
  cpSync(from.stateDir, to.stateDir, { recursive: true, preserveTimestamps: true });
}

/** Every pod of every host reaches every other. */
async function expectConnected(hosts: readonly Host[]): Promise<void> {
  const pods = await Promise.all(hosts.map((host) => host.workload()));
  for (const { from, to, ms } of await pingMatrix(pods, [4])) {
    expect(ms, `${from.netns.name} to ${to.netns.name}`).toBeDefined();
  }
}

test('the copy of a state directory becomes another node; the original keeps its subnet and its packets', async () => {
  await using cluster = await Cluster.start(2);
  const [original, other] = cluster.hosts as [Host, Host];
  const copy = await cluster.addHost();
  clone(original, copy);
  const [pod, far] = [await original.workload(), await other.workload()];
  const before = await status(original);
  const keys = await leases(cluster.etcd);

  await lossless(bothWays(pod, far), async () => {
    await copy.start();
    await inStep(cluster);
  });
  for (const host of [original, copy]) await loggedError(host, 'cloned');
  const [first, second] = [await status(original), await status(copy)];
  expect(first).toMatchObject({ node: before.node, ready: true, lease: { lease: before.lease.lease } });
  expect(second.node).not.toBe(first.node);
  const now = await leases(cluster.etcd);
  for (const [subnet, key] of keys) expect(now.get(subnet)).toEqual(key);
  expect(now.size).toBe(3);
  await expectConnected(cluster.hosts);

  // It stays another node.
  await copy.restart();
  expect(await status(copy)).toMatchObject({
    node: second.node,
    lease: { lease: { subnets: second.lease.lease.subnets } },
  });
  expect(copy.logs().filter((line) => line.event === 'cloned')).toHaveLength(1);
});

test('a copy that is started while the original is cut off takes its lease; the original becomes another node', async () => {
  await using cluster = await Cluster.start(2);
  const { etcd, underlay } = cluster;
  const [original, other] = cluster.hosts as [Host, Host];
  const copy = await cluster.addHost();
  clone(original, copy);
  const [pod, sibling, far] = [await original.workload(), await original.workload(), await other.workload()];
  const [subnet, { node, instance }] = [await subnetOf(original), await status(original)];

  // Its subnet is the copy's now, so what is sent to its pods cannot arrive; what they send does.
  await lossless(
    [
      [pod, far],
      [pod, sibling],
    ],
    async () => {
      const heal = await underlay.cut(original.at, etcd.at);
      await copy.start();
      expect(await subnetOf(copy)).toBe(subnet);
      const theirs = (await leases(etcd)).get(subnet);
      await heal();
      await loggedError(original, 'cloned', 30_000);
      const moved = await untilStatus(
        original,
        'has another subnet',
        (s) => s.lease.state === 'held' && s.lease.lease.subnets[0] !== subnet,
      );
      expect(moved).toMatchObject({ instance, ready: true });
      expect(moved.node).not.toBe(node);
      await inStep(cluster, [other, copy]);
      expect((await leases(etcd)).get(subnet)).toEqual(theirs);
    },
  );
  // What its running pods have for an address stays theirs on their own host.
  expect(await original.netns.ip(`-4 route get ${pod.addr(4)}`)).toContain('dev cni0');
  const { problems } = await status(original);
  expect(problems).toContainEqual(expect.stringMatching(`route ${subnet} .*in conflict with .* on cni0`));
  const gateway = (await subnetOf(original)).replace('.0/24', '.1/24');
  await until('cni0 to have the new gateway beside the old one', async () =>
    (await original.netns.ip('addr show dev cni0')).includes(` ${gateway} `),
  );
  await expectConnected([original, other]);
  await expectConnected([copy, other]);
});
