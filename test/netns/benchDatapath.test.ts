import { expect, test } from 'vitest';
import { type TestName, UNDERLAYS, VARIANTS } from '../../bench/datapathFigures.ts';
import { makePair, type Pair } from '../../bench/datapathPairs.ts';
import { RUN } from '../../bench/datapathTests.ts';

/** Long enough to see anything at all: how much is not asked here. */
const TIMES = { seconds: 0.2, warm: 0.05 };
const ALL = Object.keys(RUN) as TestName[];

async function runAll(pair: Pair): Promise<void> {
  for (const test of ALL) {
    const figures = await RUN[test](pair, TIMES);
    const what = `${test} ${pair.variant}: ${JSON.stringify(figures)}`;
    for (const value of Object.values(figures)) expect(value, what).toBeGreaterThanOrEqual(0);
    const main = figures.gbps ?? figures.kpps ?? figures.p50;
    expect(main, what).toBeGreaterThan(0);
    if (figures.gbps !== undefined) expect(figures.cpuPerGB, what).toBeGreaterThan(0);
    if (figures.p99 !== undefined) expect(figures.p99, what).toBeGreaterThanOrEqual(figures.p50!);
    if (figures.loss !== undefined) expect(figures.loss, what).toBeLessThan(100);
  }
}

test.for(VARIANTS.flatMap((variant, i) => [[variant, UNDERLAYS[i % 2]!] as const]))(
  '%s on %s carries every kind of load of the benchmark',
  async ([variant, underlay]) => {
    const pair = await makePair(variant, underlay);
    await using _ = pair.cluster;
    await runAll(pair);
  },
);

test('what is lost, held back or merged on the way shows in the figures', async () => {
  const pair = await makePair('host-gw', 'wire');
  await using cluster = pair.cluster;
  const [from, to] = [cluster.hosts[0]!.netns, cluster.hosts[1]!.netns];

  // Every second datagram, and no more.
  await to.nft(`table ip half {
    chain in { type filter hook prerouting priority 0; udp dport 5200 numgen inc mod 2 0 drop; }
  }`);
  const half = await RUN.udp1400(pair, TIMES);
  expect(half.loss).toBeGreaterThan(49);
  expect(half.loss).toBeLessThan(51 + half.overflowed!);
  await to.nft('delete table ip half');

  // A NIC without offloads for sending, which merges what it receives as any can.
  const features = await to.run(['ethtool', '-k', 'cable0']);
  expect(features).toMatch(/^tcp-segmentation-offload: off/m);
  expect(features).toMatch(/^tx-udp_tnl-segmentation: off/m);
  expect(features).toMatch(/^generic-receive-offload: on/m);

  // 100 Mbit/s, which any machine reaches: bits, not bytes, and what arrived, not what was written to a buffer.
  await from.run('tc qdisc add dev cable0 root tbf rate 100mbit burst 64kb latency 20ms'.split(' '));
  const slow = await RUN.tcp1(pair, { seconds: 0.5, warm: 0.3 });
  expect(slow.gbps).toBeGreaterThan(0);
  expect(slow.gbps).toBeLessThan(0.12);
});
