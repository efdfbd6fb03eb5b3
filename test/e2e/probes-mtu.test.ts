import { afterEach, expect, test } from 'vitest';
import type { EventsJson, ProbesJson } from '../../src/api/shapes.ts';
import type { Cluster, ClusterOptions } from '../support/cluster.ts';
import { FlannelHost } from '../support/flannel.ts';
import { type Flow, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { Monitor } from '../support/monitor.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { CommandError, until } from '../support/proc.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';
import type { Workload } from '../support/workload.ts';

/** Hosts that believe in 1500 bytes, and a path between two of them that takes 1400 and says so to nobody. */
const NARROW = 1400;
/** Probes come in rounds of this; what is done about paths is counted in rounds. */
const INTERVAL = '200ms';

let cluster: Cluster | undefined;
let hosts: readonly Host[] = [];
let pods: readonly Workload[] = [];

afterEach(async () => {
  await cluster?.[Symbol.asyncDispose]();
  cluster = undefined;
});

/** How often is probed; 0: not at all. */
const probing = (interval: string) => ({ FLANNELD_PROBE_INTERVAL: interval });

/** Daemons that probe take the place of those that did not. */
const probe = (which: readonly Host[]) =>
  Promise.all(
    which.map(async (host) => {
      await host.stop();
      await host.start({ env: probing(INTERVAL) });
    }),
  );

/** Hosts in segments, the n-th with the n-th subnets, and a pod on each. */
async function start(segments: readonly number[], options: ClusterOptions): Promise<Cluster> {
  cluster = await pinnedCluster(segments, { ...options, env: probing('0') });
  hosts = cluster.hosts;
  await Promise.all(hosts.map(({ at }) => cluster!.underlay.wire(at)));
  pods = await Promise.all(hosts.map((host) => host.workload()));
  return cluster;
}

/** Bytes that routes of a host are lowered to, by `<lease key> <family>`. */
async function routeMtus(host: Host): Promise<Record<string, number>> {
  const { paths } = await host.get<ProbesJson>('/v1/probes');
  return Object.fromEntries(
    paths.filter(({ routeMtu }) => routeMtu !== null).map((p) => [`${p.key} ${p.family}`, p.routeMtu!]),
  );
}

/** The same as the kernel has it. */
async function kernelMtus(host: Host): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const family of cluster!.families) {
    const routes = await host.netns.ipJson<{ dst: string; metrics?: { mtu?: number }[] }[]>(
      `-${family} route show proto 76`,
    );
    for (const { dst, metrics } of routes) {
      const mtu = metrics?.find((m) => m.mtu !== undefined)?.mtu;
      if (mtu !== undefined) found[dst] = mtu;
    }
  }
  return found;
}

/** A transfer that the hole swallows. */
const expectStall = (from: Workload, to: Workload, family: 4 | 6) =>
  expect(expectTransfer({ from, to, family }, 1_000_000, 1_500)).rejects.toThrow(CommandError);

/** Each pod to the next, and the last to the first: every one receives one flow of a family. */
const around = (of: readonly Workload[], families: readonly (4 | 6)[]): readonly Flow[] =>
  families.flatMap((family) => of.map((pod, i): Flow => [pod, of[(i + 1) % of.length]!, family]));

const lowered = (host: Host, mtus: readonly number[]) =>
  until(
    `${host.name} to have lowered routes to ${mtus}`,
    async () =>
      Object.values(await kernelMtus(host))
        .sort()
        .join() === mtus.join(),
    20_000,
  );

/** Transfers and datagrams of all sizes, once around; those that may be fragmented too. */
async function expectThrough(from: Workload, to: Workload): Promise<void> {
  for (const family of cluster!.families) {
    await expectTransfer({ from, to, family }, 5_000_000, 20_000);
    // The first large datagram is lost, by which its sender learns what passes: TCP need not have taught both.
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      const argv = ['busybox', 'ping', '-n', '-c', '1', '-W', '1', '-s', '1380', other.addr(family)];
      const passes = () =>
        one.netns.run(argv).then(
          () => true,
          () => false,
        );
      await until('a large echo', passes);
    }
    await expectEchoes({ from, to, family }, 100, [1, 1200, 1300, 1302, 1400, 4000]);
  }
  for (const { netns } of [from, to]) {
    await netns.sysctl({ 'net/ipv4/ip_no_pmtu_disc': 1 });
    await netns.ip('-4 route flush cache');
  }
  await expectEchoes({ from, to }, 100, [1, 1300, 1322, 1323, 1350, 4000]);
}

test('vxlan: a path that swallows large packets is used with smaller ones, until they pass again', async () => {
  const { underlay, families } = await start([0, 0], { families: [4, 6] });
  // A flannel node answers as others do.
  const theirs = await FlannelHost.make(cluster!, await cluster!.addHost(), { n: 3 });
  const flannel = theirs.host;
  await underlay.wire(flannel.at);
  const [a, b] = hosts as [Host, Host];
  const [podA, podB] = pods as [Workload, Workload];
  const podC = await flannel.workload();
  const ring = around([podA, podB, podC], families);

  const mend = await underlay.narrow(a.at, b.at, NARROW);
  const mendTheirs = await underlay.narrow(a.at, flannel.at, NARROW);
  await expectStall(podA, podB, 6);
  // Nothing is lost while routes change.
  await lossless(ring, async () => {
    await probe([a, b]);
    await Promise.all([lowered(a, [1330, 1330, 1350, 1350]), lowered(b, [1330, 1350])]);
  });
  expect(await routeMtus(a)).toEqual({
    '10.42.2.0-24&fd00:42:0:2::-64 4': 1350,
    '10.42.2.0-24&fd00:42:0:2::-64 6': 1330,
    '10.42.3.0-24&fd00:42:0:3::-64 4': 1350,
    '10.42.3.0-24&fd00:42:0:3::-64 6': 1330,
  });
  await expectThrough(podA, podB);
  const { problems } = await a.get<{ problems: string[] }>('/v1/status');
  expect(problems).toEqual([
    expect.stringMatching(/^large packets are lost on the way to peers; .* and 3 more$/),
  ]);

  // Who starts anew leaves them as they are, until somebody knows better.
  await using monitor = await Monitor.start(a);
  await probe([a]);
  expect(monitor.lines((line) => /proto 76/.test(line))).toEqual([]);
  expect(Object.keys(await kernelMtus(a))).toHaveLength(4);

  await mend();
  await lossless(ring, () => Promise.all([lowered(a, [1330, 1350]), lowered(b, [])]));
  expect(Object.keys(await routeMtus(a)).sort()).toEqual([
    '10.42.3.0-24&fd00:42:0:3::-64 4',
    '10.42.3.0-24&fd00:42:0:3::-64 6',
  ]);
  await mendTheirs();
  await lowered(a, []);
  const { events } = await a.get<EventsJson>('/v1/events?kind=mtu');
  expect(
    events.map(({ level, subject, fields }) => `${level} ${subject} ${fields.from} ${fields.to}`).sort(),
  ).toEqual([
    'info 10.42.2.0-24&fd00:42:0:2::-64 1330 1430',
    'info 10.42.2.0-24&fd00:42:0:2::-64 1350 1450',
    'info 10.42.3.0-24&fd00:42:0:3::-64 1330 1430',
    'info 10.42.3.0-24&fd00:42:0:3::-64 1350 1450',
  ]);
});

test('udp: the peer gets a route of its own, until large packets pass again', async () => {
  const { underlay, families } = await start([0, 0], { families: [4, 6], backend: { Type: 'udp' } });
  const [a, b] = hosts as [Host, Host];
  const [podA, podB] = pods as [Workload, Workload];
  const mend = await underlay.narrow(a.at, b.at, NARROW);
  await expectStall(podA, podB, 4);
  await probe([a, b]);
  await lossless(around(pods, families), async () => {
    await Promise.all([lowered(a, [1372, 1372]), lowered(b, [1372, 1372])]);
  });
  expect(Object.keys(await kernelMtus(a)).sort()).toEqual(['10.42.2.0/24', 'fd00:42:0:2::/64']);
  await expectThrough(podA, podB);
  await mend();
  await lossless(around(pods, families), () => Promise.all([lowered(a, []), lowered(b, [])]));
  expect(await a.netns.ip('route show 10.42.2.0/24')).toBe('');
});
