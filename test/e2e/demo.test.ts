import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { thisProcess } from '../support/owner.ts';
import { Proc, run } from '../support/proc.ts';

const NODE = fileURLToPath(new URL('../../scripts/node.sh', import.meta.url));
const demo = (...args: string[]) => ['sh', NODE, 'demo/main.ts', ...args];

/** What a demo of this process id has left. */
const remains = (pid: number) =>
  ['/run/netns', '/tmp'].flatMap((dir) => readdirSync(dir).filter((name) => name.startsWith(`ld-${pid}t`)));

interface Result {
  readonly leases: readonly { readonly subnets: readonly string[] }[];
  readonly pings: readonly { readonly family: number; readonly ms: number | null }[];
  readonly throughput: { readonly bitsPerSecond: number };
}

test.each([
  ['vxlan', '--ipv6', [4, 6]],
  ['udp', '--ipv6', [4, 6]],
  ['host-gw', undefined, [4]],
] as const)('the demo of %s %s connects everything with everything', async (backend, flag, families) => {
  const flags = ['--json', '--hosts', '2', '--backend', backend, ...(flag ? [flag] : [])];
  const result = JSON.parse(await run(demo(...flags), { timeout: 90_000 })) as Result;
  expect(result.leases.map((lease) => lease.subnets.length)).toEqual([families.length, families.length]);
  expect(result.pings).toHaveLength(2 * families.length);
  for (const { ms } of result.pings) expect(ms).not.toBeNull();
  expect(result.throughput.bitsPerSecond).toBeGreaterThan(0);
});

test.each([/daemon on each/, /pings every other/])('interrupted at %s it leaves nothing', async (when) => {
  const log = `${thisProcess().tempDir('demo')}/log`;
  await using proc = await Proc.start(demo('--hosts', '2'), { log });
  await proc.saying(when, 60_000);
  expect(remains(proc.pid)).not.toEqual([]);
  proc.kill('SIGINT');
  expect(await proc.exited).toBe('status 130');
  expect(remains(proc.pid)).toEqual([]);
});

test('says what is wrong with its options', async () => {
  await expect(run(demo('--hosts', '1'))).rejects.toThrow(/--hosts: expected a number from 2 to 20, got "1"/);
  await expect(run(demo('--backend', 'udp2raw'))).rejects.toThrow(
    /--backend: expected vxlan, udp or host-gw/,
  );
  await expect(run(demo('--nonsense'))).rejects.toThrow(/nonsense/);
  expect(await run(demo('--help'))).toContain('--keep');
});
