import { closeSync, openSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { addr } from '../../src/net/addr.ts';
import { checksumSize } from '../../src/probe/datagrams.ts';
import { Prober } from '../../src/probe/prober.ts';
import { type PathReport, pathKey, type Target } from '../../src/probe/types.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';
import { breakChecksums, brokenPackets } from '../support/checksums.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';
import { TUNNEL_OVERHEAD, Tunnel, type TunnelEnd, targetOf } from '../support/tunnel.ts';

/** Probing a real tunnel between two namespaces. */

/** A prober at one end, with its targets. */
function proberAt(end: TunnelEnd, targets: readonly Target[], interval = 200): Prober & AsyncDisposable {
  const fd = openSync(end.netns.path, 'r');
  const prober = new Prober({ interval, netnsFd: fd });
  closeSync(fd);
  prober.setTargets(targets);
  return Object.assign(prober, { [Symbol.asyncDispose]: () => prober.stop() });
}

const report = (prober: Prober, target: Target): PathReport => prober.paths.get(pathKey(target))!;

/** Wait for a report like that. */
const says = (prober: Prober, target: Target, like: Partial<PathReport>, timeout = 15_000) =>
  until(
    `${JSON.stringify(like)}`,
    () => {
      const now = report(prober, target);
      for (const [name, value] of Object.entries(like)) {
        if (now[name as keyof PathReport] !== value) throw new Error(JSON.stringify({ ...now, target: 0 }));
      }
      return now;
    },
    timeout,
  );

describe.concurrent.each([4, 6] as const)('IPv%d', (family) => {
  test.concurrent('a whole path, a peer that goes away and comes back', async () => {
    await using t = await Tunnel.create(thisProcess());
    const target = targetOf(t.b, family);
    await using prober = proberAt(t.a, [target]);
    expect(report(prober, target)).toMatchObject({ health: 'unprobed', sent: 0, rtt: undefined });
    const whole = { health: 'reachable', fullSize: 'passes', pathMtu: 1450, checksum: 'good' } as const;
    const up = await says(prober, target, whole);
    expect(up.rtt).toBeGreaterThan(0);
    expect(up.rtt).toBeLessThan(1_000);
    expect(up.leastRtt).toBeLessThanOrEqual(up.rtt!);

    await t.b.netns.ip('link set vx0 down');
    const down = await says(prober, target, { health: 'unreachable' });
    expect(down.lost).toBeGreaterThanOrEqual(4);
    await t.b.netns.ipBatch([
      'link set vx0 up',
      `addr replace ${t.b.inner[6]}/128 dev vx0`,
      `route replace ${t.a.inner[4]}/24 via ${t.a.inner[4]} dev vx0 onlink`,
      `route replace ${t.a.inner[6]}/48 via ${t.a.inner[6]} dev vx0 onlink`,
      `neigh replace ${t.a.inner[6]} lladdr ${t.a.mac} dev vx0 nud permanent`,
      `neigh replace ${t.a.inner[4]} lladdr ${t.a.mac} dev vx0 nud permanent`,
    ]);
    await says(prober, target, { ...whole, lost: 0 });
  });

  test.concurrent('a hole for large packets, of which nobody tells, and its end', async () => {
    await using t = await Tunnel.create(thisProcess());
    await t.hole(1400);
    const target = targetOf(t.b, family);
    await using prober = proberAt(t.a, [target]);
    const found = await says(prober, target, { fullSize: 'lost' });
    expect(found).toMatchObject({ health: 'reachable', pathMtu: 1400 - TUNNEL_OVERHEAD });
    // It becomes larger, yet not whole; then smaller; then it is gone.
    await t.noHole();
    await t.hole(1433);
    await says(prober, target, { pathMtu: 1433 - TUNNEL_OVERHEAD, fullSize: 'lost' });
    await t.noHole();
    await t.hole(1380);
    await says(prober, target, { pathMtu: 1380 - TUNNEL_OVERHEAD, fullSize: 'lost' });
    await t.noHole();
    await says(prober, target, { pathMtu: 1450, fullSize: 'passes' });
  });

  test.concurrent('a device that corrupts checksums which are left to it', async () => {
    await using t = await Tunnel.create(thisProcess());
    const header = family === 4 ? 20 : 40;
    const datagrams = [
      { from: t.a.inner[family], to: t.b.inner[family], lengths: [checksumSize(family) - header] },
    ];
    const mend = await breakChecksums(t.a.netns, datagrams, { netns: t.a.netns, dev: 'eth0' });
    const target = targetOf(t.b, family);
    await using prober = proberAt(t.a, [target]);
    await says(prober, target, { checksum: 'corrupted', health: 'reachable', fullSize: 'passes' });
    expect(await brokenPackets(t.a.netns)).toBeGreaterThanOrEqual(3);
    // Not left to it, they arrive.
    await t.a.netns.run(['ethtool', '-K', 'vx0', 'tx', 'off']);
    await says(prober, target, { checksum: 'good' });
    await t.a.netns.run(['ethtool', '-K', 'vx0', 'tx', 'on']);
    await says(prober, target, { checksum: 'corrupted' }, 30_000);
    await mend();
    await says(prober, target, { checksum: 'good' });
  });
});

test.concurrent('loss, of which no verdict comes at once, and its end', async () => {
  await using t = await Tunnel.create(thisProcess());
  const target = targetOf(t.b, 4);
  await using prober = proberAt(t.a, [target], 100);
  await says(prober, target, { health: 'reachable', fullSize: 'passes' });
  await t.b.netns.nft(
    'table ip lossy { chain c { type filter hook input priority 0; iifname vx0 numgen inc mod 3 == 0 drop\n }\n }',
  );
  const lossy = await says(prober, target, { health: 'lossy' });
  expect(lossy.lost).toBeGreaterThanOrEqual(2);
  await t.b.netns.nft('delete table ip lossy');
  await says(prober, target, { health: 'reachable', fullSize: 'passes' });
});

test.concurrent('datagrams that nobody answers prove nothing', async () => {
  await using t = await Tunnel.create(thisProcess());
  await t.b.netns.nft(
    'table inet no { chain c { type filter hook input priority 0; iifname vx0 meta l4proto udp drop\n }\n }',
  );
  const targets = [targetOf(t.b, 4), targetOf(t.b, 6)] as const;
  await using prober = proberAt(t.a, targets);
  for (const target of targets) {
    const now = await prober.probeNow(pathKey(target));
    expect(now).toMatchObject({ health: 'reachable', fullSize: 'passes', checksum: 'unknown' });
  }
  await t.b.netns.nft('delete table inet no');
  for (const target of targets) {
    expect(await prober.probeNow(pathKey(target))).toMatchObject({ checksum: 'good' });
  }
});

test.concurrent('asked at once it answers within seconds, whatever is wrong', async () => {
  await using t = await Tunnel.create(thisProcess());
  await t.hole(1400);
  const target = targetOf(t.b, 4);
  await using prober = proberAt(t.a, [target], 60_000);
  // On a machine that is very busy the visit takes longer than somebody waits for it, and goes on.
  await prober.probeNow(pathKey(target));
  await says(prober, target, { health: 'reachable', fullSize: 'lost', pathMtu: 1350, checksum: 'good' });
  await t.b.netns.ip('link set eth0 down');
  await prober.probeNow(pathKey(target));
  await says(prober, target, { health: 'unreachable' });
  expect(await prober.probeNow('nobody 4')).toBeUndefined();
});

test.concurrent('what the kernel says is reported, and what a router says is tried', async () => {
  await using t = await Tunnel.create(thisProcess());
  await t.b.netns.sysctl({ 'net/ipv4/ip_forward': 1 });
  await using c = await Netns.create(thisProcess(), 'behind');
  await t.b.netns.ip(`link add behind mtu 1333 type veth peer name eth0 mtu 1333 netns ${c.name}`);
  await t.b.netns.ipBatch(['addr add 10.99.0.1/24 dev behind', 'link set behind up']);
  await c.ipBatch(['addr add 10.99.0.7/24 dev eth0', 'link set eth0 up', 'route add default via 10.99.0.1']);
  await t.a.netns.ip(`route add 10.99.0.0/24 via ${t.b.inner[4]} dev vx0 onlink`);
  const narrow = targetOf(t.b, 4, { key: 'narrow' as SubnetKey, addr: addr('10.99.0.7'), offloads: false });
  const nowhere = targetOf(t.b, 4, { key: 'nowhere' as SubnetKey, addr: addr('203.0.113.1') });
  await using prober = proberAt(t.a, [narrow, nowhere], 60_000);
  await prober.probeNow('narrow 4');
  await says(prober, narrow, { fullSize: 'lost', pathMtu: 1333, checksum: 'unknown' });
  // 3 small, 3 full-size with small ones between, the MTU that was named and one more, and that once more; without the name it were twice as many.
  expect(prober.counters.sent).toBeLessThanOrEqual(18);
  await prober.probeNow('nowhere 4');
  await says(prober, nowhere, { health: 'unreachable', error: 'ENETUNREACH: network is unreachable' });
});
