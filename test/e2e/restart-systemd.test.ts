import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { Systemd } from '../support/systemd.ts';
import type { Workload } from '../support/workload.ts';

let cluster: Cluster;
let host: Host;
let systemd: Systemd;
let pods: readonly [Workload, Workload];

/** Two queues: with IPv4 and IPv6 sockets, and those to send from. */
const THREADS = 2;
const DESCRIPTORS = String(THREADS * 5);

beforeAll(async () => {
  cluster = await pinnedCluster([0, 0], {
    families: [4, 6],
    backend: { Type: 'udp' },
    args: ['--udp-threads', String(THREADS)],
  });
  host = cluster.hosts[0]!;
  pods = [await host.workload(), await cluster.hosts[1]!.workload()];
  await host.stop();
  systemd = await Systemd.boot(host);
  await systemd.start();
});
afterAll(async () => {
  await systemd?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const got = () => host.logs().filter(({ msg }) => msg === 'got the descriptors of the last run').length;

test('20 restarts by systemctl lose no packet', { timeout: 300_000 }, async () => {
  expect(await systemd.property('NFileDescriptorStore')).toBe(DESCRIPTORS);
  // One flow each way: the queue of the device then holds what comes in 8 s, however slow this machine is.
  await lossless(bothWays(...pods), async () => {
    for (let i = 0; i < 20; i++) await systemd.restart();
  });
  expect(got()).toBe(20);
  expect(await systemd.property('NFileDescriptorStore')).toBe(DESCRIPTORS);
  expect(host.logs().filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
});

test('5 crashes lose no packet, of either family', { timeout: 180_000 }, async () => {
  const before = got();
  await lossless(bothWays(...pods, cluster.families), async () => {
    for (let i = 0; i < 5; i++) await systemd.crash();
  });
  expect(got()).toBe(before + 5);
  expect(await systemd.property('NFileDescriptorStore')).toBe(DESCRIPTORS);
});

test('a backend without a forwarder leaves nothing in the store', async () => {
  await cluster.configure({ Backend: { Type: 'vxlan' } });
  await systemd.restart();
  await expect.poll(() => systemd.property('NFileDescriptorStore'), { timeout: 10_000 }).toBe('0');
  const before = got();
  await systemd.restart();
  expect(got()).toBe(before);
});
