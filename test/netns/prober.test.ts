import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { Prober } from '../../src/probe/prober.ts';
import { type PathReport, pathKey, type Target } from '../../src/probe/types.ts';
import { checksumSize } from '../../src/probe/visit.ts';
import { breakChecksums, brokenPackets } from '../support/checksums.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';
import { TUNNEL_OVERHEAD, Tunnel, targetOf } from '../support/tunnel.ts';

/** Probing a real tunnel between two namespaces. */

const cleanup: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const clean of cleanup.splice(0).reverse()) await clean();
});

async function tunnel(): Promise<Tunnel> {
  const made = await Tunnel.create(thisProcess());
  cleanup.push(() => made[Symbol.asyncDispose]());
  return made;
}

/** A prober at one end, with its targets. */
function proberAt(end: Tunnel['a'], targets: readonly Target[], interval = 200): Prober {
  const fd = openSync(end.netns.path, 'r');
  const prober = new Prober({ interval, netnsFd: fd });
  closeSync(fd);
  prober.setTargets(targets);
  cleanup.push(() => prober.stop());
  return prober;
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

describe.each([4, 6] as const)('IPv%d', (family) => {
  test('a whole path, a peer that goes away and comes back', async () => {
    const t = await tunnel();
    const target = targetOf(t.b, family);
    const prober = proberAt(t.a, [target]);
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

  test('a hole for large packets, of which nobody tells, and its end', async () => {
    const t = await tunnel();
    await t.hole(1400);
    const target = targetOf(t.b, family);
    const prober = proberAt(t.a, [target]);
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

  test('a device that corrupts checksums which are left to it', async () => {
    const t = await tunnel();
    const header = family === 4 ? 20 : 40;
    const datagrams = [
      { from: t.a.inner[family], to: t.b.inner[family], lengths: [checksumSize(family) - header] },
    ];
    const mend = await breakChecksums(t.a.netns, datagrams, { netns: t.a.netns, dev: 'eth0' });
    const target = targetOf(t.b, family);
    const prober = proberAt(t.a, [target]);
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
