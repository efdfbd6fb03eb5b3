import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/proc.ts';
import { blast, forwarderOf, since, udpCluster } from '../support/udpHost.ts';
import type { Workload } from '../support/workload.ts';

let cluster: Cluster;
let hosts: readonly [Host, Host];
let pods: readonly [Workload, Workload];
beforeAll(async () => {
  const made = await udpCluster([0, 0], { families: [4, 6] });
  ({ cluster } = made);
  hosts = [made.hosts[0]!, made.hosts[1]!];
  pods = [made.pods[0]!, made.pods[1]!];
  // Of what the hosts' own stacks send: it is not what is tested.
  for (const { netns } of hosts)
    await netns.sysctl({ 'net/ipv4/icmp_ratelimit': 0, 'net/ipv6/icmp/ratelimit': 0 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** The n-th subnet's first address is the TUN's, its second the bridge's. */
const ADDRESS = {
  4: (n: number, i: number) => `10.42.${n}.${i}`,
  6: (n: number, i: number) => (i === 0 ? `fd00:42:0:${n}::` : `fd00:42:0:${n}::${i}`),
} as const;

/** Who answers along the way, one after the other: `address`, `address!N`, `*`. */
async function traceroute(from: Workload, to: string, family: 4 | 6, ...more: string[]): Promise<string[]> {
  const out = await from.netns.run(
    [
      'busybox',
      family === 4 ? 'traceroute' : 'traceroute6',
      '-n',
      '-q',
      '1',
      '-w',
      '10',
      '-m',
      '8',
      ...more,
      to,
    ],
    { timeout: 100_000 },
  );
  return Array.from(out.matchAll(/^ *\d+ +(\S+)(?: +[\d.]+ ms)?( ![A-Z])?/gm), (m) => m[1]! + (m[2] ?? ''));
}

describe.each([4, 6] as const)('IPv%d', (family) => {
  const at = ADDRESS[family];

  test('traceroute shows each hop: hosts, and forwarders by the address of their device', async () => {
    for (const [i, from] of pods.entries()) {
      const to = pods[1 - i]!;
      const [own, theirs] = [i + 1, 2 - i];
      const before = await Promise.all(hosts.map(forwarderOf));
      const hops = [at(own, 1), at(own, 0), at(theirs, 0), at(theirs, 0), to.addr(family)];
      expect(await traceroute(from, to.addr(family), family)).toEqual(hops);
      expect(await traceroute(from, to.addr(family), family, '-I')).toEqual(hops);
      const after = await Promise.all(hosts.map(forwarderOf));
      expect(since(before[i]!.drops.out, after[i]!.drops.out)).toEqual({ ttl_exceeded: 2 });
      expect(since(before[1 - i]!.drops.in, after[1 - i]!.drops.in)).toEqual({ ttl_exceeded: 2 });
    }
  });

  test('an address in the network that nobody has is unreachable, says our device', async () => {
    const nobody = family === 4 ? '10.42.99.9' : 'fd00:42:0:99::9';
    const before = await forwarderOf(hosts[0]);
    expect(await traceroute(pods[0], nobody, family)).toEqual([at(1, 1), `${at(1, 0)} !N`]);
    expect(since(before.drops.out, (await forwarderOf(hosts[0])).drops.out)).toEqual({ no_route: 1 });
  });

  test('a flood of what cannot be forwarded is answered at a bounded rate, the rest is counted', async () => {
    const nobody = family === 4 ? '10.42.98.9' : 'fd00:42:0:98::9';
    const count = 5000;
    const before = await forwarderOf(hosts[0]);
    const begin = performance.now();
    await blast(pods[0], nobody, count);
    const after = await until('all to be counted', async () => {
      const now = await forwarderOf(hosts[0]);
      return (since(before.drops.out, now.drops.out).no_route ?? 0) >= count && now;
    });
    const seconds = (performance.now() - begin) / 1000;
    const { icmp_sent: sent = 0, icmp_suppressed: suppressed = 0 } = since(before.counters, after.counters);
    expect(since(before.drops.out, after.drops.out)).toEqual({ no_route: count });
    expect(sent + suppressed).toBe(count);
    // 100 at once and 1000 a second: native/core/answers.cc.
    expect(sent).toBeGreaterThanOrEqual(100);
    expect(sent).toBeLessThanOrEqual(101 + 1000 * seconds);
  });
});
