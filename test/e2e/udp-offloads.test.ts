import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { ClusterOptions } from '../support/cluster.ts';
import { measureLoss } from '../support/loss.ts';
import { thisProcess } from '../support/owner.ts';
import { run } from '../support/proc.ts';
import { forwarderOf, since, udpCluster } from '../support/udpHost.ts';
import { expectEchoes, expectTransfer } from '../support/udpTransfer.ts';

const NO_GSO = fileURLToPath(new URL('../support/udpNoGso.cc', import.meta.url));
const TRAINS = fileURLToPath(new URL('../support/udpTrains.cc', import.meta.url));
const BYTES = 30_000_000;
const SIZES = [0, 1, 300, 1424, 1444, 4000];

/** A tool of one source; the file it is in. */
async function build(source: string, name: string, ...options: string[]): Promise<string> {
  const out = join(thisProcess().tempDir('tool'), name);
  await run(['g++', '-std=c++20', '-O1', ...options, '-o', out, source, '-ldl']);
  return out;
}

type Since = Record<string, number>;

/** What each forwarder has counted in a cluster of two in which data go both ways as they should, by both families. */
async function expectWhole(
  options: ClusterOptions,
  prepare: (made: Awaited<ReturnType<typeof udpCluster>>) => Promise<unknown>,
  look: (made: Awaited<ReturnType<typeof udpCluster>>) => Promise<unknown> = async () => {},
): Promise<Since[]> {
  const made = await udpCluster([0, 0], { families: [4, 6], ...options });
  await using _ = made.cluster;
  await prepare(made);
  const before = await Promise.all(made.hosts.map(forwarderOf));
  const [from, to] = made.pods as [(typeof made.pods)[0], (typeof made.pods)[0]];
  for (const family of made.cluster.families) {
    await expectTransfer({ from, to, family }, BYTES);
    await expectEchoes({ from, to, family }, 500, SIZES);
  }
  await look(made);
  const after = await Promise.all(made.hosts.map(forwarderOf));
  return after.map(({ counters, drops }, i) => {
    expect(since(before[i]!.drops.out, drops.out)).toEqual({});
    expect(since(before[i]!.drops.in, drops.in)).toEqual({});
    return since(before[i]!.counters, counters);
  });
}

test('without UDP_SEGMENT, from the midst of its work on, packets leave one by one', async () => {
  const library = await build(NO_GSO, 'nogso.so', '-shared', '-fPIC');
  const counted = await expectWhole(
    { env: { LD_PRELOAD: library, NO_GSO_AFTER: '100' } },
    async () => {},
    async ({ hosts }) => {
      for (const host of hosts) {
        expect((await forwarderOf(host)).refused).toEqual(['UDP_SEGMENT']);
        const said = host.logs().filter(({ msg }) => msg === 'the kernel leaves some work to us');
        expect(said.map(({ refused }) => refused)).toEqual([['UDP_SEGMENT']]);
      }
    },
  );
  for (const { send_retries, out_packets, out_trains } of counted) {
    // The trains of one batch are taken apart; there are no others after them.
    expect(send_retries).toBeGreaterThan(0);
    expect(send_retries).toBeLessThanOrEqual(64);
    // Trains were on their way for a moment, then each packet was a message.
    expect(out_packets! - out_trains!).toBeGreaterThan(100);
    expect(out_packets! - out_trains!).toBeLessThan(100 * 64);
  }
});

test('with an uplink that computes no checksums', async () => {
  await expectWhole({}, async ({ cluster, hosts }) => {
    for (const { netns, at } of hosts) {
      await netns.run(['ethtool', '-K', 'eth0', 'tx', 'off', 'gso', 'off', 'tso', 'off']);
      await cluster.underlay.netns.run(['ethtool', '-K', at.port, 'tx', 'off']);
    }
  });
});

test('with an uplink that merges nothing', async () => {
  const counted = await expectWhole({}, async ({ cluster, hosts }) => {
    for (const { netns, at } of hosts) {
      await cluster.underlay.wire(at);
      await netns.run(['ethtool', '-K', 'eth0', 'gro', 'off']);
      await cluster.underlay.netns.run(['ethtool', '-K', at.port, 'gro', 'off']);
    }
  });
  for (const { in_packets, in_datagrams } of counted) expect(in_datagrams).toBe(in_packets);
});

test('datagrams that an application gives by the dozen arrive one by one, in order', async () => {
  const tool = await build(TRAINS, 'trains');
  const made = await udpCluster([0, 0], { families: [4, 6] });
  await using cluster = made.cluster;
  const [from, to] = made.pods as [(typeof made.pods)[0], (typeof made.pods)[0]];
  for (const kind of ['offload', 'wire'] as const) {
    if (kind === 'wire') for (const { at } of made.hosts) await cluster.underlay.wire(at);
    for (const family of cluster.families) {
      const before = await forwarderOf(made.hosts[0]!);
      const end = [to.addr(family), '5400'];
      await using receiver = await to.netns.start([tool, 'receive', ...end], {
        log: join(to.host.dir, `trains-${kind}-${family}.log`),
      });
      await receiver.saying(/listening/);
      await from.netns.run([tool, 'send', ...end, '500']);
      const [, result] = await receiver.saying(/^(\{.*\})$/m);
      const { sent, ...rest } = JSON.parse(result!) as Record<string, number>;
      expect(rest).toEqual({ whole: sent, wrong: 0, late: 0 });
      const { out_supers, out_packets } = since(
        before.counters,
        (await forwarderOf(made.hosts[0]!)).counters,
      );
      // They came from the device uncut, where its kernel does that.
      if (before.refused.length === 0) expect(out_packets! / out_supers!).toBeGreaterThan(5);
    }
  }
});

test('with two threads, flows stay whole and in order', async () => {
  const made = await udpCluster([0, 0], { families: [4, 6], args: ['--udp-threads', '2'] });
  await using cluster = made.cluster;
  const [from, to] = made.pods as [(typeof made.pods)[0], (typeof made.pods)[0]];
  const before = await Promise.all(made.hosts.map(forwarderOf));
  expect(before).toMatchObject([{ threads: 2 }, { threads: 2 }]);
  const streams = async () => {
    const one = (port: number, family: 4 | 6) =>
      measureLoss(from.netns, to.netns, to.addr(family), {
        dir: from.host.dir,
        port,
        rate: 2000,
        size: 1200,
        during: () => sleep(1000),
      });
    const all = await Promise.all([5300, 5301, 5302, 5303].flatMap((port) => [one(port, 4), one(port, 6)]));
    for (const loss of all)
      expect(loss).toMatchObject({ lost: 0, doubled: 0, reordered: 0, errors: {}, ended: true });
    return all;
  };
  await Promise.all([
    streams(),
    ...cluster.families.flatMap((family) => [
      expectTransfer({ from, to, family }, BYTES),
      expectTransfer({ from: to, to: from, family }, BYTES),
      expectEchoes({ from, to, family }, 1000, [0, 1, 300, 1424]),
    ]),
  ]);
  for (const [i, host] of made.hosts.entries()) {
    const after = await forwarderOf(host);
    expect(since(before[i]!.drops.in, after.drops.in)).toEqual({});
    expect(since(before[i]!.drops.out, after.drops.out)).toEqual({});
  }
});
