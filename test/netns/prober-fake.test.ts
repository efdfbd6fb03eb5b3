import { closeSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { addon } from '../../src/native/addon.ts';
import {
  decodeResults,
  encodeProbes,
  type Probe,
  type ProbeResult,
  type ProberAddon,
} from '../../src/native/prober.ts';
import { addr, addrBytes } from '../../src/net/addr.ts';
import { checksumSize } from '../../src/probe/datagrams.ts';
import { type FakePath, FakeProbers } from '../fake/proberAddon.ts';
import { breakChecksums } from '../support/checksums.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';
import { Tunnel } from '../support/tunnel.ts';

/** The pretended network of the engine's tests, held to real ones: the same packets, the same fates. */

type Question = Pick<Probe, 'kind' | 'size'> & { readonly to: string };

/** What became of each; undefined: nothing, until something sent after it was answered. */
async function ask(
  from: Pick<ProberAddon, 'prober'>,
  netnsFd: number,
  questions: readonly Question[],
  witness: string,
): Promise<(Omit<ProbeResult, 'token' | 'rtt'> | undefined)[]> {
  const results = new Map<number, Omit<ProbeResult, 'token' | 'rtt'>>();
  const prober = from.prober(netnsFd, (values) => {
    for (const { token, ...result } of decodeResults(values)) {
      const { rtt, ...rest } = { rtt: 1, ...result };
      expect(rtt).toBeGreaterThan(0);
      results.set(token, rest);
    }
  });
  try {
    const last = questions.length;
    const all = [...questions, { to: witness, kind: 'echo' as const, size: 84 }];
    for (const [token, { to, kind, size }] of all.entries()) {
      const port = kind === 'echo' ? 0 : 61_000 + token;
      prober.send(encodeProbes([{ token, address: addrBytes(addr(to)), kind, size, port }]));
    }
    await until('the last to be answered', () => results.has(last));
    return questions.map((_, token) => results.get(token));
  } finally {
    prober.close();
  }
}

test.concurrent.each([4, 6] as const)('IPv%d: the same packets have the same fates', async (family) => {
  await using t = await Tunnel.create(thisProcess());
  const [peer, other] = [t.b.inner[family], t.b.inner[family === 4 ? 6 : 4]];
  const nowhere = family === 4 ? '203.0.113.1' : '2001:db8::1';
  const size = checksumSize(family);
  const questions: Question[] = [
    ...[84, 576, 1279, 1350, 1351, 1450, 1451].map((bytes) => ({
      to: peer,
      kind: 'echo' as const,
      size: bytes,
    })),
    { to: peer, kind: 'udp', size },
    { to: peer, kind: 'raw-udp', size },
    { to: peer, kind: 'raw-udp', size: 1451 },
    { to: nowhere, kind: 'echo', size: 104 },
    { to: nowhere, kind: 'raw-udp', size },
  ];
  const fd = openSync(t.a.netns.path, 'r');
  const compare = async (path: FakePath): Promise<void> => {
    const fake = new FakeProbers();
    fake.paths.set(other, {});
    fake.paths.set(peer, path);
    fake.paths.set(nowhere, { errno: 101 });
    expect(await ask(addon(), fd, questions, other)).toEqual(await ask(fake, -1, questions, other));
  };
  try {
    await compare({});
    await t.hole(1400);
    await compare({ pathMtu: 1350 });
    await t.noHole();
    const lengths = [size - (family === 4 ? 20 : 40)];
    const mend = await breakChecksums(t.a.netns, [{ from: t.a.inner[family], to: peer, lengths }], {
      netns: t.a.netns,
      dev: 'eth0',
    });
    await compare({ datagrams: 'broken' });
    await mend();
    await t.b.netns.nft(
      'table inet no { chain c { type filter hook input priority 0; iifname vx0 meta l4proto udp drop\n }\n }',
    );
    await compare({ datagrams: 'silent' });
    await t.b.netns.nft('delete table inet no');
    await t.b.netns.nft(
      `table inet no { chain c { type filter hook input priority 0; iifname vx0 ${family === 4 ? 'ip' : 'ip6'} daddr ${peer} drop\n }\n }`,
    );
    await compare({ loses: () => true });
  } finally {
    closeSync(fd);
  }
});
