import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULTS } from '../../src/contract.ts';
import type { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import { pinnedCluster } from '../support/pinned.ts';
import type { Workload } from '../support/workload.ts';

const SUBNETS = `${DEFAULTS.etcdPrefix}/subnets/`;

const state = async (host: Host): Promise<string> => {
  const d = await dump(host.netns);
  return overlayText(d) + foreignText(d);
};

describe.each(['vxlan', 'udp'])('the %s backend', (Type) => {
  let cluster: Cluster;
  let pods: readonly [Workload, Workload];
  let host: Host;
  beforeAll(async () => {
    cluster = await pinnedCluster([0, 0], { families: [4, 6], backend: { Type } });
    host = cluster.hosts[0]!;
    pods = [await host.workload(), await cluster.hosts[1]!.workload()];
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('loses no packet by 20 takeovers', { timeout: 300_000 }, async () => {
    const before = await state(host);
    const leases = await cluster.etcd.list(SUBNETS);
    const times = Type === 'udp' ? 20 : 2;
    await lossless(bothWays(...pods, cluster.families), async () => {
      for (let i = 0; i < times; i++) await host.takeOver();
    });
    expect(await state(host)).toBe(before);
    const kept = ({ key, lease }: { key: string; lease: string }) => ({ key, lease });
    expect((await cluster.etcd.list(SUBNETS)).map(kept)).toEqual(leases.map(kept));
  });
});
