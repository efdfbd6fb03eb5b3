import { afterEach, describe, expect, test } from 'vitest';
import type { EventsJson, ProbesJson } from '../../src/api/shapes.ts';
import { Cluster, type ClusterOptions } from '../support/cluster.ts';
import { type Flow, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { CommandError, until } from '../support/proc.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';
import type { Workload } from '../support/workload.ts';

/** Hosts that believe in 1500 bytes, and a path between two of them that takes 1400 and says so to nobody. */
const NARROW = 1400;
/** Probes come in rounds of this; what is done about paths is counted in rounds. */
const INTERVAL = '250ms';

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

async function start(count: number, options: ClusterOptions): Promise<Cluster> {
  cluster = await Cluster.start(count, { ...options, env: probing('0') });
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

describe('vxlan, both families', () => {
  test('a path that swallows large packets is used with smaller ones, until they pass again', async () => {
    const { underlay, families } = await start(3, { families: [4, 6] });
    const [a, b, c] = hosts as [Host, Host, Host];
    const [podA, podB] = pods as [Workload, Workload, Workload];
    const mend = await underlay.narrow(a.at, b.at, NARROW);
    for (const family of families) await expectStall(podA, podB, family);
    // The other peers' packets, and small ones of this one, go on while routes change.
    await lossless(around(pods, families), async () => {
      await probe(hosts);
      await Promise.all([lowered(a, [1330, 1350]), lowered(b, [1330, 1350])]);
    });
    expect(await kernelMtus(c)).toEqual({});
    for (const family of families) {
      await expectTransfer({ from: podA, to: podB, family }, 5_000_000, 20_000);
      await expectEchoes({ from: podA, to: podB, family }, 200, [1, 1200, 1300, 1302, 1400, 4000]);
    }
    console.log(JSON.stringify(await a.get('/v1/status')), await routeMtus(a));
    await mend();
    await lossless(around(pods, families), () => Promise.all([lowered(a, []), lowered(b, [])]));
    const { events } = await a.get<EventsJson>('/v1/events?kind=mtu');
    console.log(events);
  });
});
