import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { EXIT } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import type { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import { pin, pinnedCluster } from '../support/pinned.ts';
import { CommandError, until } from '../support/proc.ts';

const WHOAMI = fileURLToPath(new URL('../support/whoami.ts', import.meta.url));

/** Whom `to` sees when `from` speaks to it; `lost` when no answer comes back. */
const seen = async (from: Netns, to: string): Promise<string> =>
  (await from.run([process.execPath, WHOAMI, 'ask', to, '5000'])).trim();

const untilSeen = (from: Netns, to: string, as: string) =>
  until(`${from.name} to be seen as ${as}`, async () => (await seen(from, to)) === as);

async function serve(netns: Netns, dir: string, addresses: readonly string[]): Promise<void> {
  const server = await netns.start([process.execPath, WHOAMI, 'serve', ...addresses], {
    log: `${dir}/${netns.name}.log`,
  });
  for (const address of addresses) await server.saying(new RegExp(`serving ${address} 5000`));
}

test('with --ip-masq pods speak to the world as their host, among themselves as themselves', async () => {
  await using cluster = await Cluster.create({ families: [4, 6] });
  const [host, bare] = [await cluster.addHost({ args: ['--ip-masq'] }), await cluster.addHost()];
  await Promise.all([host.start(), bare.start()]);
  const [pod, other] = [await host.workload(), await bare.workload()];
  const world = await cluster.underlay.attach('world');
  await using _ = world.netns;
  await serve(world.netns, host.dir, [world.ipv4, world.ipv6]);
  await serve(other.netns, host.dir, [other.addr(4), other.addr(6)]);
  await untilSeen(pod.netns, world.ipv4, host.at.ipv4);
  await untilSeen(pod.netns, world.ipv6, host.at.ipv6);
  await untilSeen(pod.netns, other.addr(4), pod.addr(4));
  await untilSeen(pod.netns, other.addr(6), pod.addr(6));
  expect(await seen(other.netns, world.ipv4)).toBe('lost');
});

test('pods reach each other and the world where forwarding is refused, as Docker leaves it', async () => {
  await using cluster = await Cluster.create({ families: [4, 6], args: ['--ip-masq'] });
  const [before, after] = [await cluster.addHost(), await cluster.addHost()];
  const tools = ['iptables', 'ip6tables'];
  const drop = async ({ netns }: Host) => {
    for (const tool of tools) await netns.run([tool, '-P', 'FORWARD', 'DROP']);
  };
  await drop(before);
  await Promise.all([before.start(), after.start()]);
  const pods = [await before.workload(), await after.workload()] as const;
  const reaches = async (family: 4 | 6) => (await ping(pods[0].netns, pods[1].addr(family))) !== undefined;
  for (const family of cluster.families) await until(`IPv${family} to pass`, () => reaches(family));
  for (const address of [cluster.etcd.at.ipv4, cluster.etcd.at.ipv6]) {
    await until(`${address} to answer`, async () => (await ping(pods[0].netns, address)) !== undefined);
  }
  await drop(after);
  for (const family of cluster.families) await until(`IPv${family} to pass`, () => reaches(family));
  for (const tool of tools) await before.netns.run([tool, '-F', 'FORWARD']);
  for (const family of cluster.families) await until(`IPv${family} to pass again`, () => reaches(family));
  const { kernel } = await before.get<{ kernel: { repairs: { forward: number } } }>('/v1/status');
  expect(kernel.repairs.forward).toBe(2);

  // It is these rules that let them through.
  await after.stop();
  await after.start({ args: ['--iptables-forward-rules=false'] });
  for (const family of cluster.families) expect(await reaches(family)).toBe(false);
});

/** How a command of Loden's ends that does not end well. */
async function refused(command: Promise<unknown>): Promise<CommandError> {
  const error = await command.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof CommandError)) throw new Error(`it ends well: ${error}`);
  return error;
}

const state = async (host: Host): Promise<string> => {
  const d = await dump(host.netns);
  return overlayText(d) + foreignText(d);
};

const THEIRS = [
  'route add 198.18.0.0/24 via 192.0.2.254 dev eth0 proto static',
  'route add 10.42.77.0/24 via 192.0.2.254 dev eth0',
  'addr add 198.18.9.9/24 dev eth0',
  'link add theirs type vxlan id 9 dev eth0 dstport 9000',
  'link set theirs up',
];

test('cleanup removes what is ours and nothing else, once no daemon runs', async () => {
  await using cluster = await pinnedCluster([0], { families: [4, 6] });
  const host = await cluster.addHost({ args: ['--ip-masq', '--ip-blackhole-route'] });
  pin(host, 2, cluster.families);
  const dirs = ['--run-dir', host.runDir, '--state-dir', host.stateDir];
  const cleanup = (...args: string[]) => host.loden('cleanup', ...dirs, ...args);
  // Forwarding stays on, for others may have come to need it: so it is on from the start.
  await host.netns.sysctl({ 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  await host.netns.ipBatch(THEIRS);
  await host.netns.nft('table inet theirs { chain c { type filter hook forward priority 5; }; }');
  for (const tool of ['iptables', 'ip6tables']) {
    await host.netns.run([tool, '-A', 'FORWARD', '-m', 'comment', '--comment', 'theirs', '-j', 'ACCEPT']);
    await host.netns.run([tool, '-P', 'FORWARD', 'DROP']);
  }
  const fresh = await dump(host.netns);
  await host.start();
  const running = await dump(host.netns);
  expect(overlayText(running)).toContain('10.42.1.0/24 gateway 10.42.1.0 dev flannel.1 ');
  expect(running.nft).toMatch(/chain FORWARD {[^}]*ip saddr 10\.42\.0\.0\/16/);

  const busy = await refused(cleanup());
  expect(busy).toMatchObject({ status: EXIT.busy, stdout: '' });
  expect(busy.stderr).toMatch(
    /a loden daemon answers on .*loden\.sock: stop it before cleaning up behind it/,
  );
  expect(await state(host)).toBe(overlayText(running) + foreignText(running));

  await host.stop();
  const result = JSON.parse(await cleanup('--json')) as {
    removed: Record<string, number>;
    firewall: string[];
  };
  expect(result).toMatchObject({ removed: { link: 2 }, problems: [] });
  expect(result.firewall.toSorted()).toEqual(
    ['ip6tables-nft FORWARD', 'iptables-nft FORWARD', 'table ip loden', 'table ip6 loden'].toSorted(),
  );
  const clean = await dump(host.netns);
  expect(overlayText(clean)).toBe(overlayText(fresh));
  expect(foreignText(clean)).toBe(foreignText(fresh));
  expect(await cleanup()).toBe('there was nothing to remove\n');

  expect(existsSync(host.subnetFile)).toBe(true);
  await host.start();
  expect(overlayText(await dump(host.netns))).toBe(overlayText(running));
});

test('leases are listed by the daemon, by etcd, as a table and as JSON', async () => {
  await using cluster = await pinnedCluster([0, 0], { families: [4, 6] });
  const [host] = cluster.hosts as [Host];
  await cluster.etcd.put('/coreos.com/network/subnets/foo', 'bar');
  const etcd = ['--etcd-endpoints', cluster.etcd.endpoint()];
  const list = (...args: string[]) => host.loden('leases', '--run-dir', host.runDir, ...args);
  const json = async (...args: string[]) => JSON.parse(await list('--json', ...args));
  await until('the nonsense to be seen', async () => (await json()).setAside.length === 1);

  const table = await list();
  const node = (await host.get<{ node: string }>('/v1/status')).node;
  const lines = table.split('\n');
  expect(lines[0]).toMatch(/^ +SUBNET +PUBLIC IP +BACKEND +NODE +KIND$/);
  expect(lines[1]!.split(/ {2,}/)).toEqual([
    '*',
    '10.42.1.0/24, fd00:42:0:1::/64',
    '192.0.2.2, 2001:db8::2',
    'vxlan',
    node.slice(0, 8),
    'lease',
  ]);
  expect(lines[2]).toMatch(/^ +10\.42\.2\.0\/24, /);
  expect(lines[3]).toMatch(/^2 leases at revision \d+, from the daemon$/);
  expect(lines[4]).toMatch(/^set aside: .*foo: /);

  const told = await json();
  expect(told).toMatchObject({ source: 'daemon', leases: [{ self: true }, { self: false }] });
  expect(told).toEqual(await host.get('/v1/leases'));
  const stored = await json('--source', 'etcd', ...etcd);
  expect(stored).toEqual({
    ...told,
    source: 'etcd',
    leases: told.leases.map((lease: object) => ({ ...lease, self: false })),
  });

  await host.stop();
  expect(await list(...etcd)).toMatch(/^2 leases at revision \d+, from etcd$/m);
  const silent = await refused(list('--source', 'daemon'));
  expect(silent).toMatchObject({ status: EXIT.unavailable, stdout: '' });
  expect(silent.stderr).toMatch(/no loden daemon answers on .*loden\.sock .*start one by `loden run`/);
  await cluster.etcd.stop();
  const gone = await refused(list(...etcd));
  expect(gone.status).toBe(EXIT.unavailable);
  expect(gone.stderr).toContain(cluster.etcd.endpoint());
});
