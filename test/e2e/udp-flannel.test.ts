import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import { lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { OnePacketHost } from '../support/onePacket.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';
import { forwarderOf, udpCluster } from '../support/udpHost.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';
import type { Workload } from '../support/workload.ts';

/** A dual-stack cluster in which one node is flanneld's, which knows of IPv4 alone. */
let cluster: Cluster;
let host: Host;
let theirs: OnePacketHost;
let pods: readonly [ours: Workload, theirs: Workload];
beforeAll(async () => {
  const made = await udpCluster([0], { families: [4, 6] });
  ({ cluster } = made);
  host = made.hosts[0]!;
  theirs = await OnePacketHost.make(cluster, await cluster.addHost(), { n: 2 });
  pods = [made.pods[0]!, await theirs.host.workload()];
  await until('it to be reached', async () => (await ping(pods[0].netns, pods[1].addr(4))) !== undefined);
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

test('its lease, in which there is no backend and no node, makes it a peer by IPv4', async () => {
  expect(await cluster.etcd.list(theirs.key)).toMatchObject([
    {
      key: '/coreos.com/network/subnets/10.42.2.0-24',
      value: `{"PublicIP":"${theirs.endpoint}","PublicIPv6":null}`,
    },
  ]);
  expect(await host.get('/v1/forwarder/peers')).toMatchObject([{ subnets: ['10.42.2.0/24'] }]);
  expect((await host.get<{ problems: unknown[] }>('/v1/status')).problems).toEqual([]);
});

test('packets go both ways, as many hops as between any two', async () => {
  const [ours, other] = pods;
  for (const [from, to] of [
    [ours, other],
    [other, ours],
  ] as const) {
    const argv = ['busybox', 'ping', '-n', '-c', '3', '-i', '0.05', '-W', '2', '-s', '1444', to.addr(4)];
    expect(await from.netns.run(argv)).toMatch(/ttl=60 (.|\n)* 3 packets received, 0% packet loss/);
  }
  await lossless(
    [
      [ours, other],
      [other, ours],
    ],
    () => new Promise((resolve) => setTimeout(resolve, 300)),
  );
  await expectEchoes({ from: ours, to: other }, 1000, [0, 1, 300, 1444, 1445, 4000]);
  await expectEchoes({ from: other, to: ours }, 1000, [0, 1, 300, 1444, 1445, 4000]);
});

test('TCP both ways at once arrives as it was sent, whoever begins', async () => {
  const [ours, other] = pods;
  await expectTransfer({ from: ours, to: other }, 20_000_000);
  await expectTransfer({ from: other, to: ours }, 20_000_000);
  expect((await forwarderOf(host)).drops.in).toEqual({});
});

test('what ends at either one, or goes nowhere, is answered by it', async () => {
  const [ours, other] = pods;
  const trace = async (from: Workload, to: string) => {
    const argv = ['busybox', 'traceroute', '-n', '-q', '1', '-w', '2', '-m', '6', to];
    const out = await from.netns.run(argv, { timeout: 20_000 });
    return Array.from(out.matchAll(/^ *\d+ +(\S+)(?: +[\d.]+ ms)?( ![A-Z])?/gm), (m) => m[1]! + (m[2] ?? ''));
  };
  // flannel's forwarder says nothing of packets whose TTL ends at it.
  expect(await trace(ours, other.addr(4))).toEqual(['10.42.1.1', '10.42.1.0', '*', '10.42.2.0', '10.42.2.2']);
  expect(await trace(other, ours.addr(4))).toEqual(['10.42.2.1', '*', '10.42.1.0', '10.42.1.0', '10.42.1.2']);
  expect(await trace(ours, '10.42.99.9')).toEqual(['10.42.1.1', '10.42.1.0 !N']);
  expect(await trace(other, '10.42.99.9')).toEqual(['10.42.2.1', '10.42.2.0 !N']);
});
