import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UDP_PORT } from '../../src/contract.ts';
import type { Cluster, ClusterOptions } from '../support/cluster.ts';
import { forwarderOf, udpCluster } from '../support/udpHost.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';
import type { Offload } from '../support/underlay.ts';
import type { Workload } from '../support/workload.ts';

const MB = 1_000_000;
/** UDP payloads: none, tiny, whole packets of each family (1472 less 28 and 48), one more byte, three fragments. */
const SIZES = [0, 1, 18, 300, 1424, 1425, 1444, 1445, 4000];

let cluster: Cluster;
let pods: readonly [Workload, Workload];
async function make(kind: Offload, options: ClusterOptions): Promise<void> {
  const made = await udpCluster([0, 0], options);
  cluster = made.cluster;
  pods = [made.pods[0]!, made.pods[1]!];
  if (kind === 'wire') for (const { at } of cluster.hosts) await cluster.underlay.wire(at);
}

/** Of what the forwarders send each other, one message of a hundred is lost, each way, while something happens. */
async function lossy(during: () => Promise<void>): Promise<void> {
  const { netns } = cluster.underlay;
  const drop = `udp dport ${UDP_PORT} numgen random mod 100 == 0 counter drop`;
  await netns.nft(`table bridge loss {
    chain forward {
      type filter hook forward priority 1;
      ${cluster.hosts.map(({ at }) => `oifname ${at.port} ${drop}`).join('\n')}
    }
  }`);
  try {
    await during();
    const { nftables } = JSON.parse(await netns.run(['nft', '-j', 'list', 'table', 'bridge', 'loss'])) as {
      nftables: { rule?: { expr: { counter?: { packets: number } }[] } }[];
    };
    const lost = nftables.flatMap(
      ({ rule }) => rule?.expr.flatMap(({ counter }) => counter?.packets ?? []) ?? [],
    );
    expect(lost).toHaveLength(2);
    expect(Math.min(...lost)).toBeGreaterThan(0);
  } finally {
    await netns.nft('delete table bridge loss');
  }
}

/** Nothing that came from a peer was dropped. */
async function expectNoDrops(): Promise<void> {
  const all = await Promise.all(cluster.hosts.map(forwarderOf));
  expect(all.map(({ drops }) => drops.in)).toEqual(all.map(() => ({})));
}

describe.each(['offload', 'wire'] as const)('%s, dual-stack', (kind) => {
  beforeAll(() => make(kind, { families: [4, 6] }));
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('400 MB both ways at once arrive as they were sent', async () => {
    const [from, to] = pods;
    await expectTransfer({ from, to }, 400 * MB);
    await expectNoDrops();
    // It is the fast path that has been tested.
    for (const host of cluster.hosts) {
      const { packetsPerTrain, packetsPerDatagram, packetsPerSuper } = (await forwarderOf(host)).ratios;
      expect(Math.min(packetsPerTrain!, packetsPerDatagram!, packetsPerSuper!)).toBeGreaterThan(2);
    }
  });

  test('both families at once', async () => {
    const [from, to] = pods;
    const v6 = { from: to, to: from, family: 6 } as const;
    await Promise.all([expectTransfer({ from, to }, 200 * MB), expectTransfer(v6, 200 * MB)]);
    await expectNoDrops();
  });

  test('400 MB when one of a hundred is lost', async () => {
    const [from, to] = pods;
    await lossy(() => expectTransfer({ from, to }, 400 * MB));
    await lossy(() => expectTransfer({ from, to, family: 6 }, 60 * MB));
  });

  test.each([4, 6] as const)(
    'datagrams of any size are neither lost, changed nor out of order: IPv%d',
    async (family) => {
      const [from, to] = pods;
      await expectEchoes({ from, to, family }, 3000, SIZES);
    },
  );
});

describe.each(['offload', 'wire'] as const)('%s, a network without IPv4, inside and outside', (kind) => {
  beforeAll(() => make(kind, { families: [6] }));
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('400 MB both ways at once arrive as they were sent', async () => {
    const [from, to] = pods;
    expect(from.host.subnetEnv().FLANNEL_MTU).toBe('1452');
    await expectTransfer({ from, to, family: 6 }, 400 * MB);
    await expectNoDrops();
  });

  test('datagrams of any size, and some of what is lost', async () => {
    const [from, to] = pods;
    await expectEchoes({ from, to, family: 6 }, 3000, [...SIZES, 1404, 1405]);
    await lossy(() => expectTransfer({ from, to, family: 6 }, 60 * MB));
  });
});
