import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UDP_PORT } from '../../src/contract.ts';
import type { Cluster } from '../support/cluster.ts';
import { type Flow, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { traffic } from '../support/loss.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';
import { blast, forwarderOf, since, udpCluster } from '../support/udpHost.ts';
import type { Workload } from '../support/workload.ts';

let cluster: Cluster;
let hosts: readonly Host[];
let pods: readonly Workload[];
const make = async (count: number): Promise<void> => {
  ({ cluster, hosts, pods } = await udpCluster(Array(count).fill(0), { families: [4, 6] }));
};
const dispose = () => cluster?.[Symbol.asyncDispose]();

/** Seconds of CPU time that a process has had, all its threads together, in ticks of 10 ms (proc(5), fields 14 and 15). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** How much of one CPU a host's daemon takes for a second and a half. */
async function load(host: Host): Promise<number> {
  const [cpu, begin] = [cpuSeconds(host.daemon.pid), performance.now()];
  await sleep(1500);
  return (cpuSeconds(host.daemon.pid) - cpu) / ((performance.now() - begin) / 1000);
}

const reach = async (from: Workload, to: Workload, family: 4 | 6 = 4): Promise<boolean> =>
  (await ping(from.netns, to.addr(family))) !== undefined;

describe('the device under load', () => {
  beforeAll(() => make(2));
  afterAll(dispose);

  /** Datagrams both ways by both families, 1000 a second each. */
  const begin = async () => {
    for (const family of cluster.families) {
      await traffic(pods[0]!.netns, pods[1]!.addr(family), hosts[0]!.dir);
      await traffic(pods[1]!.netns, pods[0]!.addr(family), hosts[0]!.dir);
    }
  };

  test.each([
    ['deleted', 'link del flannel0', 'link'],
    ['taken down', 'link set flannel0 down', 'link'],
  ])('%s: it is put back, packets flow again, and no CPU is burnt', async (_, command, kind) => {
    const [host] = hosts as [Host];
    if (command.includes('del')) await begin();
    const kernel = async () =>
      (await host.get<{ kernel: { repairs: Record<string, number> } }>('/v1/status')).kernel;
    const before = (await kernel()).repairs[kind]!;
    await host.netns.ip(command);
    expect(await load(host)).toBeLessThan(0.5);
    await until('the repair to be counted', async () => (await kernel()).repairs[kind]! > before);
    for (const family of cluster.families) {
      await until(`IPv${family} to flow`, () => reach(pods[0]!, pods[1]!, family));
      await until(`IPv${family} to flow back`, () => reach(pods[1]!, pods[0]!, family));
    }
    await until('all to be well', async () => {
      const { ready, problems } = await host.get<{ ready: boolean; problems: string[] }>('/v1/status');
      return ready && problems.length === 0;
    });
    expect(await forwarderOf(host)).toMatchObject({ running: true });
  });
});

describe('the underlay', () => {
  let host: Host;
  let well: Workload;
  let ill: Workload;
  beforeAll(async () => {
    await make(3);
    host = hosts[0]!;
    [, well, ill] = pods as [Workload, Workload, Workload];
  });
  afterAll(dispose);

  /** Datagrams to the ill one, while those to the well one are not disturbed: each is dropped for this reason. */
  async function expectDropped(reason: string, count = 100): Promise<void> {
    const before = await forwarderOf(host);
    const dropped = async () => since(before.drops.out, (await forwarderOf(host)).drops.out);
    await lossless(meanwhile(), async () => {
      await blast(pods[0]!, ill.addr(4), count);
      await until('all to be counted', async () => ((await dropped())[reason] ?? 0) >= count);
    });
    expect(await dropped()).toEqual({ [reason]: count });
  }

  /** The same, but for all the host knows they are on their way. */
  async function expectSent(count = 100): Promise<void> {
    const before = await forwarderOf(host);
    await lossless(meanwhile(), () => blast(pods[0]!, ill.addr(4), count));
    expect((await forwarderOf(host)).drops.out).toEqual(before.drops.out);
  }

  const meanwhile = (): Flow[] => [
    [pods[0]!, well],
    [well, pods[0]!],
  ];

  test.each(['drop', 'reject'])('a firewall on this host that does %s is named', async (verdict) => {
    await host.netns.nft(`table inet deny {
      chain out { type filter hook output priority 0; udp dport ${UDP_PORT} ip daddr ${ill.host.at.ipv4} ${verdict}; }
    }`);
    await expectDropped('send_denied').finally(() => host.netns.nft('delete table inet deny'));
    expect(await reach(pods[0]!, ill)).toBe(true);
  });

  test.each([
    ['unreachable', 'send_unreachable'],
    ['prohibit', 'send_error'],
    ['blackhole', 'send_error'],
  ])('a peer to which there is a route of type %s', async (type, reason) => {
    await host.netns.ip(`route add ${type} ${ill.host.at.ipv4}/32`);
    await expectDropped(reason).finally(() => host.netns.ip(`route del ${type} ${ill.host.at.ipv4}/32`));
    expect(await reach(pods[0]!, ill)).toBe(true);
  });

  test('a peer that does not listen disturbs nobody', async () => {
    await ill.host.stop('SIGKILL');
    const text = async () => await host.netns.run(['cat', '/proc/net/snmp']);
    const refusals = async () => {
      const [names, values] = Array.from((await text()).matchAll(/^Icmp: (.*)$/gm), (m) => m[1]!.split(' '));
      return Number(values![names!.indexOf('InDestUnreachs')]);
    };
    const before = await refusals();
    // From a socket that is not connected nobody is told of such an answer: as far as the host knows it was sent.
    await expectSent();
    expect(await refusals()).toBeGreaterThan(before);
    await ill.host.start();
    await until('it to be reached', () => reach(pods[0]!, ill));
  });

  test('a peer that is not there disturbs nobody', async () => {
    await cluster.underlay.plug(ill.host.at, 'out');
    await host.netns.ip('neigh flush dev eth0');
    await expectSent();
    await cluster.underlay.plug(ill.host.at, 'in');
    await until('it to be reached', () => reach(pods[0]!, ill));
  });
});
