import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { measureLoss } from '../support/loss.ts';
import { startTime, thisProcess } from '../support/owner.ts';
import { ping } from '../support/ping.ts';
import { CommandError, Proc, run, until } from '../support/proc.ts';
import { Underlay } from '../support/underlay.ts';

const SUPPORT = fileURLToPath(new URL('../support/', import.meta.url));

/** A program that makes an underlay and a process in it, then ends as `how` says, without disposing of anything. */
const leaver = (how: string) => `
  import { readFileSync } from 'node:fs';
  import { thisProcess } from ${JSON.stringify(`${SUPPORT}owner.ts`)};
  import { Underlay } from ${JSON.stringify(`${SUPPORT}underlay.ts`)};
  const owner = thisProcess();
  const underlay = await Underlay.create(owner);
  const dir = owner.tempDir('left');
  const proc = await underlay.netns.start(['sleep', '600'], { log: dir + '/log' });
  const comm = () => readFileSync('/proc/' + proc.pid + '/comm', 'utf8').trim();
  while (comm() !== 'sleep') await new Promise((resolve) => setTimeout(resolve, 5));
  console.log(owner.id, proc.pid);
  ${how}
`;

/** Run it; resolves to whose remains to look for. */
async function leave(how: string): Promise<{ id: string; pid: number }> {
  const argv = [process.execPath, '--input-type=module-typescript', '--eval', leaver(how)];
  const stdout = await run(argv).catch((error: unknown) => {
    if (error instanceof CommandError && error.stdout !== '') return error.stdout;
    throw error;
  });
  const [id, pid] = stdout.trim().split(' ');
  return { id: id!, pid: Number(pid) };
}

const remains = (id: string) =>
  ['/run/netns', '/tmp'].flatMap((dir) => readdirSync(dir).filter((name) => name.startsWith(`ld-${id}-`)));

test.each([
  'process.exit(1)',
  'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000)',
  'throw new Error("crashed")',
])('what is made is removed when its maker ends by %s', async (how) => {
  const { id, pid } = await leave(how);
  expect(remains(id)).toEqual([]);
  await until('its process to end', () => startTime(pid) === undefined);
});

test('what a killed maker left is removed by the next one', async () => {
  const { id, pid } = await leave('process.kill(process.pid, "SIGKILL")');
  await until('its process to end with it', () => startTime(pid) === undefined);
  // Another owner may have swept it up already: any other process that makes hosts does.
  await leave('process.exit(0)');
  expect(remains(id)).toEqual([]);
});

test('the underlay routes between segments, and can be cut', async () => {
  await using underlay = await Underlay.create(thisProcess(), { segments: 2 });
  const [a, b, c] = [
    await underlay.attach('a'),
    await underlay.attach('b'),
    await underlay.attach('c', { segment: 1 }),
  ];
  await using _a = a.netns;
  await using _b = b.netns;
  await using _c = c.netns;
  const reach = async (from: typeof a, to: string) => (await ping(from.netns, to)) !== undefined;
  expect(await reach(a, b.ipv4)).toBe(true);
  expect(await reach(a, b.ipv6)).toBe(true);
  expect(await reach(a, c.ipv4)).toBe(true);
  expect(await reach(c, b.ipv6)).toBe(true);

  const healCut = await underlay.cut(a, b);
  expect(await reach(a, b.ipv4)).toBe(false);
  expect(await reach(b, a.ipv6)).toBe(false);
  expect(await reach(a, c.ipv4)).toBe(true);
  await healCut();
  expect(await reach(a, b.ipv4)).toBe(true);

  const heal = await underlay.isolate(a);
  expect(await reach(a, b.ipv4)).toBe(false);
  expect(await reach(c, a.ipv4)).toBe(false);
  expect(await reach(b, c.ipv4)).toBe(true);
  await heal();
  expect(await reach(c, a.ipv4)).toBe(true);
});

test('etcd keeps its data over a crash, is restored from a backup, and is reached by hosts and by the test', async () => {
  await using cluster = await Cluster.create({ families: [4, 6] });
  const { etcd } = cluster;
  const host = await cluster.addHost();
  await etcd.putMany(Array.from({ length: 300 }, (_, i) => [`/many/${i}`, `${i}`] as const));
  await etcd.stop('SIGKILL');
  await etcd.start();
  expect(await etcd.list('/many/')).toHaveLength(300);
  expect(await etcd.ctl('get', '--print-value-only', '/many/7')).toBe('7\n');
  const [config] = await etcd.list('/coreos.com/network/config');
  expect(JSON.parse(config!.value)).toMatchObject({ EnableIPv6: true, Backend: { Type: 'vxlan' } });
  await etcd.compact();
  const backup = await etcd.backup();
  await etcd.delete('/many/7');
  expect(await etcd.list('/many/7')).toHaveLength(10);
  await etcd.restore(backup);
  expect(await etcd.list('/many/7')).toHaveLength(11);
  for (const family of [4, 6] as const) {
    const health = [
      'etcdctl',
      `--endpoints=${etcd.endpoint(family)}`,
      'get',
      '/many/8',
      '--print-value-only',
    ];
    expect(await host.netns.run(health, { env: { ETCDCTL_API: '3' } })).toBe('8\n');
  }
});

test('a process ends with the log at hand', async () => {
  const dir = thisProcess().tempDir('proc');
  await using proc = await Proc.start(['sh', '-c', 'echo one; echo two >&2; exit 3'], { log: `${dir}/log` });
  expect(await proc.exited).toBe('status 3');
  expect(proc.tail(1)).toBe('two');
  await expect(proc.saying(/three/)).rejects.toThrow(/ended \(status 3\)[\s\S]*two/);
  expect(existsSync(`${dir}/log`)).toBe(true);
});

test('the loss meter counts what a cut swallows, and nothing else', async () => {
  await using underlay = await Underlay.create(thisProcess());
  const [a, b] = [await underlay.attach('a'), await underlay.attach('b')];
  await using _a = a.netns;
  await using _b = b.netns;
  const dir = thisProcess().tempDir('loss');
  const whole = await measureLoss(a.netns, b.netns, b.ipv4, { dir, during: () => sleep(300) });
  expect(whole).toMatchObject({ lost: 0, doubled: 0, reordered: 0, ended: true, errors: {} });
  expect(whole.received).toBeGreaterThan(100);
  const cut = await measureLoss(a.netns, b.netns, b.ipv6, {
    dir,
    during: async () => {
      await sleep(100);
      const heal = await underlay.cut(a, b);
      await sleep(200);
      await heal();
      await sleep(100);
    },
  });
  expect(cut.lost).toBeGreaterThanOrEqual(50);
  expect(cut.longestLossRun).toBe(cut.lost);
  expect(cut.longestGapMs).toBeGreaterThanOrEqual(cut.lost - 2);
  expect(cut.ended).toBe(true);
});
