import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import type { KeyValue } from '../support/etcdHost.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import {
  flannelValue,
  HEALED,
  inStep,
  keyOf,
  leases,
  loggedError,
  reaches,
  status,
  subnetOf,
  untilStatus,
} from '../support/leases.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

/** Shorter than the partitions here, in seconds. */
const TTL = 10;
const args = ['--lease-ttl', `${TTL}s`];
/** Milliseconds until etcd has dropped a lease of that TTL: it looks every half second. */
const EXPIRED = (TTL + 5) * 1000;

/** Wait until etcd has dropped the leases of hosts it is cut off from, and these know. */
async function expired(cluster: Cluster, hosts: readonly Host[], subnets: readonly string[]): Promise<void> {
  for (const subnet of subnets) {
    const gone = async () => !(await leases(cluster.etcd)).has(subnet);
    await until(`the lease of ${subnet} to run out`, gone, EXPIRED);
  }
  for (const host of hosts) {
    const { lease } = await untilStatus(host, 'is fenced', (s) => s.lease.state === 'fenced');
    expect(lease.reason).toContain('ran out by this host’s clock');
    await loggedError(host, 'fenced');
  }
}

/** The pod keeps its address, and its host knows the way to it. */
async function expectKept(host: Host, pod: Workload, neighbour: Workload): Promise<void> {
  expect(await host.netns.ip(`-4 route get ${pod.addr(4)}`)).toContain('dev cni0');
  await reaches(neighbour.netns, pod.addr(4));
  await reaches(host.netns, pod.addr(4));
}

test.concurrent('a lease that ran out during a partition is taken back, the same subnet, by the same daemon', async () => {
  await using cluster = await Cluster.start(3, { args });
  const { etcd, underlay } = cluster;
  const [cutOff, two, three] = cluster.hosts as [Host, Host, Host];
  const [pod, sibling] = [await cutOff.workload(), await cutOff.workload()];
  const [far, farther] = [await two.workload(), await three.workload()];
  const further = await two.workload();
  const [subnet, env] = [await subnetOf(cutOff), cutOff.subnetEnv()];
  const { instance } = await status(cutOff);
  const [key] = [(await leases(etcd)).get(subnet)!];

  // Peers drop a host whose lease has run out, so what is sent to it does not arrive; what it sends does.
  const flows = [[pod, sibling], [pod, far], ...bothWays(further, farther)] as const;
  await lossless(flows, async () => {
    const heal = await underlay.cut(cutOff.at, etcd.at);
    await expired(cluster, [cutOff], [subnet]);
    await inStep(cluster, [two, three]);
    await heal();
    const back = await untilStatus(cutOff, 'has a lease', (s) => s.lease.state === 'held');
    expect(back).toMatchObject({
      ready: true,
      reason: null,
      instance,
      lease: { lease: { subnets: [subnet] } },
    });
    await inStep(cluster);
  });
  await reaches(farther.netns, pod.addr(4));
  expect(cutOff.subnetEnv()).toEqual(env);
  const now = (await leases(etcd)).get(subnet)!;
  expect(now.value).toBe(key.value);
  // Another etcd lease than the one that ran out, and not none.
  expect(new Set([now.lease, key.lease, '0']).size).toBe(3);
});

/**
 * A network of four subnets and three hosts. Two of them, the loser and the other, are cut off until their leases
 * have run out; then somebody else has the loser's subnet and the one that was free.
 */
interface Contest {
  readonly cluster: Cluster;
  readonly loser: Host;
  readonly other: Host;
  readonly subnets: { readonly loser: string; readonly other: string; readonly free: string };
  /** Keys that no host may ever write, as they were put. */
  readonly foreign: readonly KeyValue[];
  readonly pods: { readonly loser: Workload; readonly other: Workload };
  readonly siblings: { readonly loser: Workload; readonly other: Workload };
  readonly healLoser: () => Promise<void>;
  readonly healOther: () => Promise<void>;
}

async function contest(play: (contest: Contest) => Promise<void>): Promise<void> {
  const config = { SubnetMin: '10.42.1.0', SubnetMax: '10.42.4.0' };
  await using cluster = await Cluster.start(3, { args, config });
  const { etcd, underlay, hosts } = cluster;
  const [loser, other, witness] = hosts as [Host, Host, Host];
  const taken = [await subnetOf(loser), await subnetOf(other), await subnetOf(witness)];
  const free = [1, 2, 3, 4].map((n) => `10.42.${n}.0/24`).find((s) => !taken.includes(s))!;
  const subnets = { loser: taken[0]!, other: taken[1]!, free };
  const pods = { loser: await loser.workload(), other: await other.workload() };
  const siblings = { loser: await loser.workload(), other: await other.workload() };
  const [earA, earB] = [await witness.workload(), await witness.workload()];
  const flows = [
    [pods.loser, siblings.loser],
    [pods.other, siblings.other],
    [pods.loser, earA],
    [pods.other, earB],
  ] as const;

  await lossless(flows, async () => {
    const heals = [await underlay.cut(loser.at, etcd.at), await underlay.cut(other.at, etcd.at)];
    await expired(cluster, [loser, other], [subnets.loser, subnets.other]);
    const theirs = [
      [subnets.loser, '192.0.2.101', '0e:00:00:00:00:01'],
      [free, '192.0.2.102', '0e:00:00:00:00:02'],
    ] as const;
    for (const [subnet, ip, mac] of theirs) {
      await etcd.put(keyOf(subnet), flannelValue(ip, mac), await etcd.grant(3600));
    }
    const now = await leases(etcd);
    const foreign = theirs.map(([subnet]) => now.get(subnet)!);
    await play({
      cluster,
      loser,
      other,
      subnets,
      foreign,
      pods,
      siblings,
      healLoser: heals[0]!,
      healOther: heals[1]!,
    });
    await expectKept(loser, pods.loser, siblings.loser);
    await expectKept(other, pods.other, siblings.other);
  });
}

const holds = (host: Host, subnet: string) =>
  untilStatus(
    host,
    `holds ${subnet}`,
    ({ lease }) => lease.state === 'held' && lease.lease.subnets[0] === subnet,
  );

/** It finds no subnet, says so, writes nothing and goes on as it was. */
async function expectExhausted(host: Host, subnet: string): Promise<void> {
  const env = host.subnetEnv();
  await loggedError(host, 'exhausted', HEALED);
  const { lease, ready } = await status(host);
  expect(lease).toMatchObject({ state: 'fenced', lease: { subnets: [subnet] } });
  expect(lease.reason).toContain('no free IPv4 subnet');
  expect(ready).toBe(true);
  expect(host.subnetEnv()).toEqual(env);
}

/** It has moved, said so at error level, and new pods get their addresses from the new subnet. */
async function expectMoved(host: Host, from: string, to: string): Promise<void> {
  const moved = await loggedError(host, 'moved');
  expect(moved.msg).toContain(`moved from ${from} to ${to}`);
  const gateway = to.replace('.0/24', '.1/24');
  await until('subnet.env to name the new subnet', () => host.subnetEnv().FLANNEL_SUBNET === gateway);
  const [device] = await host.netns.ipJson<{ addr_info: { local: string }[] }[]>(
    '-4 addr show dev flannel.1',
  );
  expect(device!.addr_info.map((a) => a.local)).toEqual([to.replace('/24', '')]);
  await until('cni0 to have the new gateway beside the old one', async () =>
    (await host.netns.ip('addr show dev cni0')).includes(` ${gateway} `),
  );
}

test.concurrent('two hosts cut off, the one whose subnet another node took meanwhile heals first: it moves', async () => {
  await contest(async ({ cluster, loser, other, subnets, foreign, pods, healLoser, healOther }) => {
    const { etcd } = cluster;
    const witness = cluster.hosts[2]!;
    // The only one that is free now is the one that the host still cut off had.
    await healLoser();
    await holds(loser, subnets.other);
    await expectMoved(loser, subnets.loser, subnets.other);
    await inStep(cluster, [witness]);
    const fresh = await loser.workload();
    await reaches(fresh.netns, (await witness.workload()).addr(4));

    const settled = await leases(etcd);
    await healOther();
    await expectExhausted(other, subnets.other);
    expect(await leases(etcd)).toEqual(settled);

    await etcd.delete(foreign[1]!.key);
    await holds(other, subnets.free);
    await expectMoved(other, subnets.other, subnets.free);
    const now = await leases(etcd);
    expect(now.get(subnets.loser)).toEqual(foreign[0]);
    expect(now.get(subnets.other)).toEqual(settled.get(subnets.other));
    await inStep(cluster, [witness]);
    expect(pods.loser.addr(4)).toContain(subnets.loser.replace('0/24', ''));
  });
});

test.concurrent('two hosts cut off, the one whose subnet another node took meanwhile heals second: it waits for one', async () => {
  await contest(async ({ cluster, loser, other, subnets, foreign, healLoser, healOther }) => {
    const { etcd } = cluster;
    await healOther();
    await holds(other, subnets.other);
    const settled = await leases(etcd);
    await healLoser();
    await expectExhausted(loser, subnets.loser);
    expect(await leases(etcd)).toEqual(settled);

    // What it had is given back to it, not the other one that comes free.
    await etcd.ctl('del', foreign[1]!.key);
    await holds(loser, subnets.free);
    await expectMoved(loser, subnets.loser, subnets.free);
    expect((await leases(etcd)).get(subnets.loser)).toEqual(foreign[0]);
    await inStep(cluster, [cluster.hosts[2]!, other]);
  });
});
