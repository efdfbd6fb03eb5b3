import { expect, test } from 'vitest';
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

/** Hosts on one link that do not probe yet, the n-th with the n-th subnets, and a pod on each. */
class Stage implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly hosts: readonly Host[];
  readonly pods: readonly Workload[];

  private constructor(cluster: Cluster, pods: readonly Workload[]) {
    this.cluster = cluster;
    this.hosts = cluster.hosts.slice(0, pods.length);
    this.pods = pods;
  }

  static async start(options: ClusterOptions): Promise<Stage> {
    const cluster = await pinnedCluster([0, 0], { ...options, env: probing('0') });
    try {
      await Promise.all(cluster.hosts.map(({ at }) => cluster.underlay.wire(at)));
      return new Stage(cluster, await Promise.all(cluster.hosts.map((host) => host.workload())));
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
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
  for (const family of [4, 6]) {
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
async function expectThrough(families: readonly (4 | 6)[], from: Workload, to: Workload): Promise<void> {
  for (const family of families) {
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

test.concurrent('vxlan: a path that swallows large packets is used with smaller ones, until they pass again', async () => {
  await using stage = await Stage.start({ families: [4, 6] });
  const { cluster, hosts, pods } = stage;
  const { underlay, families } = cluster;
  // A flannel node answers as others do.
  const theirs = await FlannelHost.make(cluster, await cluster.addHost(), { n: 3 });
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
  await expectThrough(families, podA, podB);
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

test.concurrent('udp: the peer gets a route of its own, until large packets pass again', async () => {
  await using stage = await Stage.start({ families: [4, 6], backend: { Type: 'udp' } });
  const { hosts, pods } = stage;
  const { underlay, families } = stage.cluster;
  const [a, b] = hosts as [Host, Host];
  const [podA, podB] = pods as [Workload, Workload];
  const mend = await underlay.narrow(a.at, b.at, NARROW);
  await expectStall(podA, podB, 4);
  await probe([a, b]);
  await lossless(around(pods, families), async () => {
    await Promise.all([lowered(a, [1372, 1372]), lowered(b, [1372, 1372])]);
  });
  expect(Object.keys(await kernelMtus(a)).sort()).toEqual(['10.42.2.0/24', 'fd00:42:0:2::/64']);
  await expectThrough(families, podA, podB);
  await mend();
  await lossless(around(pods, families), () => Promise.all([lowered(a, []), lowered(b, [])]));
  expect(await a.netns.ip('route show 10.42.2.0/24')).toBe('');
});

test.concurrent('host-gw: a route that flanneld has left is lowered, further, raised, and lowered again', async () => {
  await using stage = await Stage.start({ backend: { Type: 'host-gw' } });
  const { hosts, pods } = stage;
  const { underlay, families } = stage.cluster;
  const [a, b] = hosts as [Host, Host];
  // As flanneld leaves it.
  await a.stop();
  await a.netns.ip('route del 10.42.2.0/24');
  await a.netns.ip(`route add 10.42.2.0/24 via ${b.at.ipv4} dev eth0 proto boot`);
  await a.start({ env: probing('0') });
  expect(await a.netns.ip('-details route show 10.42.2.0/24')).toContain('proto boot');
  let mend = await underlay.narrow(a.at, b.at, NARROW);
  await lossless(around(pods, families), async () => {
    await probe([a]);
    await lowered(a, [1400]);
    const narrower = await underlay.narrow(b.at, a.at, 1300);
    await lowered(a, [1300]);
    await narrower();
    await mend();
    await lowered(a, []);
    mend = await underlay.narrow(a.at, b.at, NARROW);
    await lowered(a, [1400]);
  });
  expect(await a.get('/v1/status')).toMatchObject({
    problems: [expect.stringMatching(/^large packets are lost on the way to peers/)],
    kernel: { conflicts: [] },
  });
  await mend();
});
