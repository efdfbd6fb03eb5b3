import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FILES } from '../../src/contract.ts';
import type { ForwarderJson } from '../../src/forwarder/stats.ts';
import type { Host } from '../support/host.ts';
import { dump, overlayText } from '../support/kernelText.ts';
import { ping } from '../support/ping.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

const UDP = { families: [4, 6], backend: { Type: 'udp' } } as const;

interface Status {
  readonly ready: boolean;
  readonly reason: string | null;
  readonly problems: readonly string[];
  readonly forwarder: ForwarderJson | null;
}
const statusOf = (host: Host) => host.get<Status>('/v1/status');

const answers = async (from: Workload, to: Workload, family: 4 | 6 = 4): Promise<boolean> =>
  (await ping(from.netns, to.addr(family))) !== undefined;

const tableFile = (host: Host): string => join(host.runDir, FILES.forwarderTable);

test('a daemon that was killed forwards again before etcd answers, and its counters go on', async () => {
  await using cluster = await pinnedCluster([0, 0], UDP);
  const [host, other] = cluster.hosts as [Host, Host];
  const [near, far] = [await host.workload(), await other.workload()];
  await until('the pods to reach each other', () => answers(near, far));
  expect((await statusOf(host)).problems).toEqual([]);
  expect(statSync(tableFile(host)).mode & 0o777).toBe(0o600);
  const before = (await statusOf(host)).forwarder!;

  await cluster.etcd.stop('SIGKILL');
  await host.stop('SIGKILL');
  expect(await answers(near, far)).toBe(false);
  await host.start({ wait: false });
  for (const family of cluster.families) {
    await until(`IPv${family} to flow`, () => answers(near, far, family));
    await until(`IPv${family} to flow back`, () => answers(far, near, family));
  }
  const after = await statusOf(host);
  expect(after.ready).toBe(false);
  expect(after.forwarder).toMatchObject({ running: true });
  expect(after.forwarder!.counters.out_packets).toBeGreaterThan(before.counters.out_packets!);

  await cluster.etcd.start();
  await host.ready();
  expect(await answers(near, far)).toBe(true);
  expect((await statusOf(host)).problems).toEqual([]);
});

test('what is saved and means nothing is not used', async () => {
  await using cluster = await pinnedCluster([0, 0], UDP);
  const [host, other] = cluster.hosts as [Host, Host];
  const [near, far] = [await host.workload(), await other.workload()];
  await host.stop();
  await host.netns.run(['dd', 'if=/dev/zero', `of=${tableFile(host)}`, 'bs=100', 'count=1', 'status=none']);
  await host.start();
  await until('the pods to reach each other', () => answers(near, far));
  await host.logged('why', (line) => JSON.stringify(line).includes('it does not begin like one'));
});

test('a port that somebody else has is told, and taken when it is free', async () => {
  await using cluster = await pinnedCluster([0], UDP);
  const other = await cluster.addHost();
  const code = `require('dgram').createSocket('udp4').bind(8285, '${other.at.ipv4}')`;
  const squatter = await other.netns.start([process.execPath, '--eval', code], {
    log: join(other.dir, 'squatter.log'),
  });
  await until('the port to be taken', async () => (await other.netns.run(['ss', '-Huln'])).includes(':8285'));
  await other.start({ wait: false });
  await until('the reason', async () => {
    const { ready, reason } = await statusOf(other).catch(() => ({ ready: true, reason: null }));
    return !ready && reason?.includes(`cannot listen on UDP ${other.at.ipv4}:8285: EADDRINUSE`);
  });
  await squatter.stop('SIGKILL');
  await other.ready();
  expect((await statusOf(other)).problems).toEqual([]);
});

test('with another backend nothing of it is left', async () => {
  await using cluster = await pinnedCluster([0, 0], UDP);
  const [host] = cluster.hosts as [Host, Host];
  await cluster.configure({ Backend: { Type: 'vxlan' } });
  for (const h of cluster.hosts) await h.restart();
  const pods = [await host.workload(), await cluster.hosts[1]!.workload()] as const;
  await until('the pods to reach each other', () => answers(...pods));
  expect(overlayText(await dump(host.netns))).not.toContain('flannel0');
  expect(await host.netns.run(['ss', '-Huln'])).not.toContain(':8285');
  expect(existsSync(tableFile(host))).toBe(false);
});

test('cleanup removes the device, and what is saved of who is where', async () => {
  await using cluster = await pinnedCluster([0], UDP);
  const [host] = cluster.hosts as [Host];
  await host.stop();
  expect(overlayText(await dump(host.netns))).toContain('link flannel0 up');
  expect(existsSync(tableFile(host))).toBe(true);
  await host.loden('cleanup', '--run-dir', host.runDir, '--state-dir', host.stateDir);
  expect(overlayText(await dump(host.netns))).not.toContain('flannel0');
  expect(existsSync(tableFile(host))).toBe(false);
});

test('a peer that comes and one that goes are forwarded to at once, and nobody else is disturbed', async () => {
  await using cluster = await pinnedCluster([0, 0], UDP);
  const [host, other] = cluster.hosts as [Host, Host];
  const [near, far] = [await host.workload(), await other.workload()];
  await until('the pods to reach each other', () => answers(near, far));
  const third = await cluster.addHost();
  await third.start();
  const late = await third.workload();
  await until('the newcomer to be reached', () => answers(near, late));
  // The host itself has an address of the overlay: the device's.
  for (const family of cluster.families) expect(await ping(host.netns, late.addr(family))).toBeDefined();
  const peers = () => host.get<{ subnets: string[] }[]>('/v1/forwarder/peers');
  expect(await peers()).toHaveLength(2);
  const { lease } = await third.get<{ lease: { lease: { key: string } } }>('/v1/status');
  await third.stop('SIGKILL');
  expect((await statusOf(host)).forwarder!.drops.in).toEqual({});
  await cluster.etcd.delete(`/coreos.com/network/subnets/${lease.lease.key}`);
  await until('it to be forgotten', async () => (await peers()).length === 1);
  expect(await answers(near, far)).toBe(true);
  expect(await host.netns.run(['cat', '/proc/sys/net/ipv4/conf/flannel0/accept_local'])).toBe('1\n');
});
