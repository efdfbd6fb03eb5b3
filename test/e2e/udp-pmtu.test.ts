import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/proc.ts';
import { forwarderOf, since, udpCluster } from '../support/udpHost.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';
import type { Workload } from '../support/workload.ts';

/** Two hosts that believe in 1500 bytes, a router between them, behind it what takes fewer. */
let cluster: Cluster;
let hosts: readonly Host[];
let pods: readonly [Workload, Workload];

async function make(families: readonly (4 | 6)[], bytes: number): Promise<void> {
  const made = await udpCluster([0, 1], { families });
  ({ cluster, hosts } = made);
  pods = [made.pods[0]!, made.pods[1]!];
  for (const dev of ['br0', 'br1']) await cluster.underlay.netns.ip(`link set ${dev} mtu ${bytes}`);
}

/** The MTU of the path that a pod's stack has learnt. */
async function learnt(pod: Workload, to: string): Promise<number | undefined> {
  const text = await pod.netns.ip(`route get ${to}`);
  return Number(/ mtu (\d+)/.exec(text)?.[1]) || undefined;
}

/** Who has sent ICMP errors to a pod, and their MTU, while something happens. */
async function told(pod: Workload, during: () => Promise<unknown>): Promise<string[]> {
  await pod.netns.nft(`table inet seen {
    set by { type ipv4_addr; flags dynamic; size 16; }
    set by6 { type ipv6_addr; flags dynamic; size 16; }
    chain in {
      type filter hook input priority 0;
      icmp type destination-unreachable icmp code 4 add @by { ip saddr }
      icmpv6 type packet-too-big add @by6 { ip6 saddr }
    }
  }`);
  try {
    await during();
    const { nftables } = JSON.parse(await pod.netns.run(['nft', '-j', 'list', 'table', 'inet', 'seen'])) as {
      nftables: { set?: { elem?: string[] } }[];
    };
    return nftables.flatMap(({ set }) => set?.elem ?? []);
  } finally {
    await pod.netns.nft('delete table inet seen');
  }
}

/** What a pod has learnt of paths is forgotten: by itself it would be in ten minutes. */
const forget = (pod: Workload) => Promise.all([4, 6].map((v) => pod.netns.ip(`-${v} route flush cache`)));

const tooBig = async (host: Host): Promise<number> => (await forwarderOf(host)).drops.out.too_big ?? 0;

/** One echo of a whole packet of 1472 bytes, not to be fragmented as long as the pod knows of no reason. */
const large = (from: Workload, to: string) => {
  const size = String(1472 - (to.includes(':') ? 48 : 28));
  const argv = ['busybox', 'ping', '-n', '-c', '1', '-W', '1', '-s', size, to];
  return from.netns.run(argv).then(
    () => true,
    () => false,
  );
};

describe('dual-stack, 1400 bytes on the way', () => {
  beforeAll(() => make([4, 6], 1400));
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test.each(['offload', 'wire'] as const)('TCP finds the size that fits and goes on: %s', async (kind) => {
    const [from, to] = pods;
    if (kind === 'wire') for (const { at } of hosts) await cluster.underlay.wire(at);
    for (const family of cluster.families) {
      for (const pod of pods) await forget(pod);
      const said = await told(from, () => expectTransfer({ from, to, family }, 50_000_000, 20_000));
      expect(said).toEqual([family === 4 ? '10.42.1.0' : 'fd00:42:0:1::']);
      expect(await learnt(from, to.addr(family))).toBe(1372);
      expect(await learnt(to, from.addr(family))).toBe(1372);
    }
  });

  test.each([4, 6] as const)('who sends what is too large is told, and what fits: IPv%d', async (family) => {
    const [from, to] = pods;
    await forget(from);
    await forget(to);
    const before = await tooBig(hosts[0]!);
    expect(await large(from, to.addr(family))).toBe(false);
    expect(await learnt(from, to.addr(family))).toBe(1372);
    expect(await tooBig(hosts[0]!)).toBe(before + 1);
    // Its own stack fragments now; so does the other one's, once it has been told.
    await until('an echo', () => large(from, to.addr(family)));
    await until('an echo', () => large(to, from.addr(family)));
    await expectEchoes({ from, to, family }, 500, [1, 1300, 1344, 1345, 1400, 1444, 4000]);
    expect(await tooBig(hosts[0]!)).toBe(before + 1);
  });

  test('what may be fragmented is, in the tunnel', async () => {
    const [from, to] = pods;
    for (const pod of pods) {
      await pod.netns.sysctl({ 'net/ipv4/ip_no_pmtu_disc': 1 });
      await forget(pod);
    }
    const before = await forwarderOf(hosts[0]!);
    expect(await told(from, () => expectEchoes({ from, to }, 1000, [1, 1344, 1345, 1400, 1444]))).toEqual([]);
    const after = await forwarderOf(hosts[0]!);
    expect(since(before.counters, after.counters)).toMatchObject({ out_packets: 1000, in_packets: 1000 });
    expect(after.drops).toEqual(before.drops);
    expect(await learnt(from, to.addr(4))).toBeUndefined();
  });
});

test('a path too narrow for IPv6 carries it all the same', async () => {
  await make([4, 6], 1290);
  try {
    const [from, to] = pods;
    await expectTransfer({ from, to, family: 6 }, 20_000_000, 20_000);
    await expectEchoes({ from, to, family: 6 }, 500, [1, 1232, 1233, 1424, 4000]);
    await expectTransfer({ from, to }, 20_000_000, 20_000);
    expect(await learnt(from, to.addr(4))).toBe(1262);
  } finally {
    await cluster[Symbol.asyncDispose]();
  }
});

test('with IPv6 outside the size that fits is smaller', async () => {
  await make([6], 1400);
  try {
    const [from, to] = pods;
    const said = await told(from, () => expectTransfer({ from, to, family: 6 }, 50_000_000, 20_000));
    expect(said).toEqual(['fd00:42:0:1::']);
    expect(await learnt(from, to.addr(6))).toBe(1352);
    await expectEchoes({ from, to, family: 6 }, 500, [1, 1304, 1305, 4000]);
  } finally {
    await cluster[Symbol.asyncDispose]();
  }
});
