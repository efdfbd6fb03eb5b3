import { describe, expect, it } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { lossless } from '../support/flow.ts';
import { ONE_PACKET_DEVICE, OnePacketHost } from '../support/onePacket.ts';
import { ping } from '../support/ping.ts';
import { CommandError } from '../support/proc.ts';

describe('the one-packet forwarder, flannel as tests know it', () => {
  it('carries packets between two hosts, taking peers as they come, one hop on each side', async () => {
    await using cluster = await Cluster.create();
    const a = await OnePacketHost.make(cluster, await cluster.addHost(), { n: 1 });
    // The second knows the first by its lease; the first has yet to look.
    const b = await OnePacketHost.make(cluster, await cluster.addHost(), { n: 2 });
    expect(await cluster.etcd.list(a.key)).toMatchObject([
      {
        key: '/coreos.com/network/subnets/10.42.1.0-24',
        value: '{"PublicIP":"192.0.2.2","PublicIPv6":null}',
      },
    ]);
    const [one, two] = [await a.host.workload(), await b.host.workload()];
    expect(await ping(one.netns, two.addr(4))).toBeUndefined();
    expect(await a.host.netns.run(['ip', '-s', 'link', 'show', ONE_PACKET_DEVICE])).toContain('mtu 1472');
    await a.sync();
    expect(await ping(one.netns, two.addr(4))).toBeGreaterThan(0);
    await lossless(
      [
        [one, two],
        [two, one],
      ],
      () => new Promise((resolve) => setTimeout(resolve, 200)),
    );

    // 1472 bytes whole and unfragmented, no more; the TTL goes down by one at each host and at each forwarder.
    const sized = (bytes: number, ...more: string[]) =>
      one.netns.run([
        'busybox',
        'ping',
        '-n',
        '-c',
        '1',
        '-W',
        '1',
        '-s',
        String(bytes - 28),
        ...more,
        two.addr(4),
      ]);
    await sized(1472);
    await sized(100, '-t', '5');
    // It runs out in the first forwarder, in the second, in the second host: nobody takes 0 for more.
    for (const ttl of ['2', '3', '4']) await expect(sized(100, '-t', ttl)).rejects.toThrow(CommandError);
    const out = await sized(100);
    expect(out).toContain('ttl=60 ');
  });

  it('answers what has no route with net unreachable from the address of its device', async () => {
    await using cluster = await Cluster.create();
    const a = await OnePacketHost.make(cluster, await cluster.addHost(), { n: 1 });
    const pod = await a.host.workload();
    const out = await pod.netns.run(
      ['busybox', 'traceroute', '-n', '-q', '1', '-w', '2', '-m', '3', '10.42.9.9'],
      { timeout: 20_000 },
    );
    expect(out).toMatch(/^ *1 +10\.42\.1\.1 .*\n *2 +10\.42\.1\.0 .*!N/m);
  });
});
