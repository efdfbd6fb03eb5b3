import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { Netns } from '../support/netns.ts';
import { lodenConfig, Plugin, storeOf } from '../support/plugin.ts';

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
});
