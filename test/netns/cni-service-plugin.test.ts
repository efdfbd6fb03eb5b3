import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { Netns } from '../support/netns.ts';
import { lodenConfig, Plugin, type PluginError, storeOf } from '../support/plugin.ts';
import { until } from '../support/proc.ts';

let cluster: Cluster;
let host: Host;
beforeAll(async () => {
  cluster = await Cluster.start(1);
  host = cluster.hosts[0]!;
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
});

describe('plugin, daemon and kernel', () => {
  test.each(['bridge', 'ptp'])('attach and detach a pod in mode %s', async (mode) => {
    await using pod = await Netns.create(cluster.owner, 'pod');
    const plugin = new Plugin(host.netns, lodenConfig(host, { mode }));
    const container = { id: `c-${mode}`, netns: pod.path };
    const result = await plugin.add(container);
    const [address] = result.ips[0]!.address.split('/');
    expect(await pod.ip('-4 addr show dev eth0')).toContain(address);
    expect(readdirSync(join(storeOf(host), 'pods'))).toContain(address);
    expect(await host.get('/v1/attachments')).toMatchObject([{ containerId: container.id, mode }]);
    await plugin.check(container, result);
    await plugin.del(container);
    await plugin.del(container);
    expect(existsSync(join(storeOf(host), 'pods', address!))).toBe(false);
    expect(await host.get('/v1/status')).toMatchObject({ cni: { attachments: 0, queued: 0 } });
  });

  test('a hundred pods at once, half of them deleted while no daemon runs', async () => {
    const pods = await Promise.all(
      Array.from({ length: 100 }, (_, i) => Netns.create(cluster.owner, `p${i}`)),
    );
    await using stack = new AsyncDisposableStack();
    for (const p of pods) stack.use(p);
    const plugin = new Plugin(host.netns, lodenConfig(host));
    const all = pods.map((p, i) => ({ id: `many-${i}`, netns: p.path }));
    const results = await Promise.all(all.map((c) => plugin.add(c)));
    expect(new Set(results.map((r) => r.ips[0]!.address)).size).toBe(100);
    await host.stop();
    await Promise.all(all.slice(0, 50).map((c) => plugin.del(c)));
    await host.start();
    await until('the queue to be drained', async () => (await attachments()).length === 50);
    expect(await host.get('/v1/status')).toMatchObject({ cni: { attachments: 50, queued: 0 } });
    // Those that live have lost nothing by the restart.
    for (const [i, c] of all.slice(50).entries()) await plugin.check(c, results[50 + i]!);
    await Promise.all(all.map((c) => plugin.del(c)));
    expect(await attachments()).toEqual([]);
    expect(readdirSync(join(storeOf(host), 'pods')).filter((n) => n.startsWith('10.'))).toEqual([]);
  });

  test('a daemon that has to wait for etcd says so, and its pods can be deleted', async () => {
    const lonely = await cluster.addHost({ name: 'lonely', endpoints: ['http://192.0.2.77:2379'] });
    await lonely.start({ wait: false });
    await until('the socket', () => existsSync(join(lonely.runDir, 'loden.sock')));
    await using pod = await Netns.create(cluster.owner, 'pod');
    const plugin = new Plugin(lonely.netns, lodenConfig(lonely, { cniVersion: '1.1.0' }));
    const refused = await plugin.add({ id: 'x', netns: pod.path }).catch((e: PluginError) => e);
    expect(refused).toMatchObject({ code: 11, msg: expect.stringMatching(/no subnet yet: \S+/) });
    await expect(plugin.call('STATUS')).rejects.toMatchObject({ code: 50 });
    await plugin.del({ id: 'x', netns: pod.path });
    await lonely.stop();
  });
});

const attachments = () => host.get<unknown[]>('/v1/attachments');
