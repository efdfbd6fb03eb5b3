import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PeersJson, StatusJson } from '../../src/api/shapes.ts';
import { NFT_COUNTERS, VERSION } from '../../src/contract.ts';
import { CATALOGUE } from '../../src/metrics/index.ts';
import { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import type { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';
import { Prometheus } from '../support/prometheus.ts';

/** Three daemons at --metrics-addr, and a Prometheus with the shipped rules that scrapes them. */

const PORT = 9459;

let cluster: Cluster;
let observer: Netns;
let prometheus: Prometheus;
const instance = (host: Host): string => `${host.at.ipv4}:${PORT}`;

beforeAll(async () => {
  cluster = await Cluster.create({ args: ['--ip-masq', '--probe-interval', '500ms'] });
  for (let i = 0; i < 3; i++) await cluster.addHost({ args: ['--metrics-addr', `:${PORT}`] });
  await Promise.all(cluster.hosts.map((host) => host.start()));
  observer = (await cluster.underlay.attach('prometheus')).netns;
  const dir = cluster.owner.tempDir('prometheus');
  prometheus = await Prometheus.start(observer, dir, cluster.hosts.map(instance));
});
afterAll(async () => {
  await observer?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

test('Prometheus sees each daemon and what is true of it', async () => {
  await prometheus.says('up{job="loden"}', ['1', '1', '1']);
  await prometheus.says('loden_ready', ['1', '1', '1']);
  await prometheus.says('loden_peers', ['2', '2', '2']);
  await prometheus.says('sum by (state) (loden_lease_state)', ['0', '0', '3']);
  await prometheus.says('loden_lease_state{state="held"}', ['1', '1', '1']);
  await prometheus.says(`count(loden_build_info{version="${VERSION}",backend="vxlan"})`, ['3']);
  await prometheus.says('loden_kernel_behind_seconds', ['0', '0', '0']);
  await prometheus.says('loden_store_revision - loden_kernel_revision', ['0', '0', '0']);
  await prometheus.says('loden_firewall_in_sync', ['1', '1', '1']);
  await prometheus.says('sum(loden_peers_by_health{health="reachable"})', ['6']);
  await prometheus.says('count(process_cpu_seconds_total > 0)', ['3']);
  const [host] = cluster.hosts as [Host, Host, Host];
  const { kernel } = await host.get<StatusJson>('/v1/status');
  for (const [kind, { inSync }] of Object.entries(kernel.objects))
    await prometheus.says(
      `loden_kernel_objects{kind="${kind}",state="in_sync",instance="${instance(host)}"}`,
      [String(inSync)],
    );
  const seconds = Number(
    (await prometheus.values(`loden_lease_remaining_seconds{instance="${instance(host)}"}`))[0],
  );
  expect(seconds).toBeGreaterThan(80_000);
  expect(seconds).toBeLessThanOrEqual(86_400);
});

test('a real scrape has every metric there is, by TCP and on the node itself, and promtool finds nothing to say', async () => {
  const [host] = cluster.hosts as [Host];
  const far = await observer.run(['busybox', 'wget', '-q', '-O', '-', `http://${instance(host)}/metrics`]);
  const near = (await host.request('/metrics')).body;
  for (const text of [far, near]) {
    const types = Array.from(text.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name, type]) => [name, type]);
    expect(types).toEqual(CATALOGUE.map((m) => [m.name, m.type]));
  }
  expect(await observer.run(['promtool', 'check', 'metrics'], { input: far })).toBe('');
});

test('pods and repairs are counted', async () => {
  const [host] = cluster.hosts as [Host];
  const of = `{instance="${instance(host)}"}`;
  await prometheus.says(`loden_cni_attachments${of}`, ['0']);
  await host.workload();
  await prometheus.says(`loden_cni_attachments${of}`, ['1']);
  await prometheus.says(`loden_cni_duration_seconds_count{command="ADD",instance="${instance(host)}"}`, [
    '1',
  ]);
  await host.netns.ip('link set flannel.1 down');
  await prometheus.says(`sum(loden_repairs_total{instance="${instance(host)}"}) > bool 0`, ['1']);
  await prometheus.says(`sum(loden_events_total{kind="repair",instance="${instance(host)}"}) > bool 0`, [
    '1',
  ]);
});

test('packets to and from each peer are counted from the first question on', async () => {
  const [a, b, c] = cluster.hosts as [Host, Host, Host];
  const pods = [await a.workload(), await b.workload()] as const;
  await until(
    'pods to reach each other',
    async () => (await ping(pods[0].netns, pods[1].addr(4))) !== undefined,
  );
  const tables = () => a.netns.run(['nft', 'list', 'tables']);
  expect(await tables()).not.toContain(NFT_COUNTERS);
  const keyOf = async (host: Host) => (await host.get<StatusJson>('/v1/status')).lease.lease!.key;
  const [keyB, keyC] = [await keyOf(b), await keyOf(c)];
  const traffic = async (key: string) =>
    (await a.get<PeersJson>('/v1/peers')).peers.find((p) => p.key === key)?.traffic ?? null;
  // Whoever reads by TCP sets nothing off without saying so.
  const byTcp = async (query: string) => {
    const url = `http://${instance(a)}/v1/peers${query}`;
    const { peers } = JSON.parse(await observer.run(['curl', '-sS', url])) as PeersJson;
    return peers.find((p) => p.key === keyB)!.traffic;
  };
  expect(await byTcp('')).toBeNull();
  await a.get('/v1/peers?traffic=false');
  expect(await tables()).not.toContain(NFT_COUNTERS);
  expect(await byTcp('?traffic=true')).not.toBeNull();
  expect(await tables()).toContain(`netdev ${NFT_COUNTERS}`);
  expect(await byTcp('')).not.toBeNull();
  expect(await traffic(keyB)).not.toBeNull();
  expect(await tables()).toContain('ip loden');
  const before = await traffic(keyB);
  for (let i = 0; i < 3; i++) await ping(pods[0].netns, pods[1].addr(4));
  // Probes count too: they are packets through the tunnel.
  await until('them to be counted', async () => {
    const now = await traffic(keyB);
    return (
      now !== null &&
      before !== null &&
      now.outPackets >= before.outPackets + 3 &&
      now.inPackets >= before.inPackets + 3 &&
      now.outBytes >= before.outBytes + 3 * 84 &&
      now.inBytes >= before.inBytes + 3 * 84
    );
  });
  expect(await traffic(keyC)).not.toBeNull();

  // The next daemon goes on with them; one that is told not to count has none.
  const counted = await traffic(keyB);
  await a.restart();
  expect((await traffic(keyB))!.outPackets).toBeGreaterThanOrEqual(counted!.outPackets);
  await a.stop();
  expect(await tables()).toContain(NFT_COUNTERS);
  await a.start({ args: ['--peer-counters=false'] });
  expect(await traffic(keyB)).toBeNull();
  await until('the table to be gone', async () => !(await tables()).includes(NFT_COUNTERS));
});

test('a host that dies raises alerts, which name it and what to read', async () => {
  const [, , dead] = cluster.hosts as [Host, Host, Host];
  const expected = ['LodenDown', 'LodenPeersUnreachable'];
  const raised = async () => (await prometheus.alerts()).map((alert) => alert.labels.alertname!);
  await until(
    'nothing to be wrong',
    async () => !(await raised()).some((name) => expected.includes(name)),
    30_000,
  );
  await dead.stop('SIGKILL');
  await dead.netns.ip('link set eth0 down');
  const firing = async (name: string, where: Readonly<Record<string, string>>) =>
    (await prometheus.alerts()).find(
      ({ labels, state }) =>
        state === 'firing' &&
        labels.alertname === name &&
        Object.entries(where).every(([label, value]) => labels[label] === value),
    );
  const down = await until(
    'LodenDown to fire',
    () => firing('LodenDown', { instance: instance(dead) }),
    30_000,
  );
  expect(down.labels.severity).toBe('critical');
  expect(down.annotations).toEqual({
    summary: `No metrics from ${instance(dead)}`,
    description: expect.stringContaining(instance(dead)),
    runbook: 'docs/metrics.md#lodendown',
  });
  // The others notice by themselves that they do not reach it.
  for (const host of cluster.hosts.slice(0, 2))
    await until(
      `${host.name} to find it unreachable`,
      () => firing('LodenPeersUnreachable', { instance: instance(host) }),
      30_000,
    );
  await prometheus.says('up{job="loden"}', ['0', '1', '1']);
  for (const { name, health, lastError } of await prometheus.rules())
    expect(health, `${name}: ${lastError}`).toBe('ok');
});
