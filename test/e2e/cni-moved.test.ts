import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { NO_TRACES, traces } from '../support/cniTraces.ts';
import type { Host } from '../support/host.ts';
import {
  flannelValue,
  keyOf,
  leases,
  loggedError,
  reaches,
  status,
  subnetOf,
  untilStatus,
} from '../support/leases.ts';
import { measureLoss } from '../support/loss.ts';
import { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import { lodenConfig, Plugin, type PluginError, type PluginResult } from '../support/plugin.ts';
import { until } from '../support/proc.ts';

/** A pod attached by the plugin. */
interface Attached {
  readonly id: string;
  readonly netns: Netns;
  readonly ip: string;
  readonly mode: 'bridge' | 'ptp';
  readonly result: PluginResult;
}

const stack = new AsyncDisposableStack();
let cluster: Cluster;
let host: Host;
let far: Attached;
beforeAll(async () => {
  // Short, for it must run out; the first host's daemon is stopped meanwhile.
  cluster = stack.use(await Cluster.start(2, { args: ['--lease-ttl', '5s'] }));
  host = cluster.hosts[0]!;
  far = await attach(cluster.hosts[1]!, 'far');
});
afterAll(() => stack.disposeAsync());

const plugin = (on: Host, mode: Attached['mode'] = 'bridge', more = {}) =>
  new Plugin(on.netns, lodenConfig(on, { cniVersion: '1.1.0', mode, ...more }));

async function attach(on: Host, id: string, mode: Attached['mode'] = 'bridge'): Promise<Attached> {
  const netns = stack.use(await Netns.create(cluster.owner, id));
  const result = await plugin(on, mode).add({ id, netns: netns.path });
  return { id, netns, mode, result, ip: result.ips[0]!.address.replace(/\/.*/, '') };
}

const detach = ({ id, netns, mode }: Attached) => plugin(host, mode).del({ id, netns: netns.path });

/** The addresses of a device on the host. */
const addressesOf = async (dev: string): Promise<string[]> => {
  const [link] = await host.netns.ipJson<{ addr_info: { local: string; prefixlen: number }[] }[]>(
    `-4 addr show dev ${dev}`,
  );
  return link!.addr_info.map((a) => `${a.local}/${a.prefixlen}`).toSorted();
};

const gatewayOf = (subnet: string): string => subnet.replace('.0/24', '.1/24');

test('a bridge with an address nobody knows: made right when it is empty, else what is in the way is named', async () => {
  const wrong = '10.42.254.1/24';
  const right = gatewayOf(await subnetOf(host));
  await detach(await attach(host, 'once'));
  // What happens to a bridge is looked at a moment later, once for all that happens.
  await host.netns.ip(`addr add ${wrong} dev cni0`);
  await until('the address to be gone', async () => !(await addressesOf('cni0')).includes(wrong));
  const pod = await attach(host, 'empty');
  expect(await addressesOf('cni0')).toEqual([right]);

  // A former gateway's, but no pod has an address of its subnet: that is known as long as all ports are pods of ours.
  await host.netns.ip(`addr add ${wrong} dev cni0`);
  await until('the address to be gone', async () => !(await addressesOf('cni0')).includes(wrong));

  await host.netns.ipBatch(['link add stranger type veth peer name other', 'link set stranger master cni0']);
  await host.netns.ip(`addr add ${wrong} dev cni0`);
  const refused = await until('an ADD to be refused', async () => {
    await using netns = await Netns.create(cluster.owner, 'blocked');
    const container = { id: 'blocked', netns: netns.path };
    const failure = await plugin(host)
      .add(container)
      .then(
        () => undefined,
        (error: PluginError) => error,
      );
    if (!failure) await plugin(host).del(container);
    return failure;
  });
  expect(refused.code).toBe(101);
  expect(refused.msg).toContain(wrong);
  expect(refused.msg).toContain('stranger');
  expect((await traces(host)).addresses).toEqual([pod.ip]);
  expect(await addressesOf('cni0')).toEqual([right, wrong].toSorted());

  // As the message says.
  await host.netns.ip('link del stranger');
  await detach(await attach(host, 'again'));
  expect(await addressesOf('cni0')).toEqual([right]);
  await detach(pod);
  expect(await traces(host)).toEqual(NO_TRACES);
});

test('another node has the subnet now: pods keep what they have on the host, are named, and new ones get the new subnet', async () => {
  const bridged = [await attach(host, 'one'), await attach(host, 'two')] as const;
  const routed = [await attach(host, 'first', 'ptp'), await attach(host, 'second', 'ptp')] as const;
  const [one, two] = bridged;
  const old = [...bridged, ...routed];
  const subnet = await subnetOf(host);

  const loss = await measureLoss(routed[0].netns, routed[1].netns, routed[1].ip, {
    dir: host.dir,
    during: async () => {
      const back = await measureLoss(two.netns, one.netns, one.ip, {
        dir: host.dir,
        port: 5301,
        during: async () => {
          host.daemon.kill('SIGSTOP');
          await until('the lease to run out', async () => !(await leases(cluster.etcd)).has(subnet), 20_000);
          const theirs = flannelValue('192.0.2.101', '0e:00:00:00:00:01');
          await cluster.etcd.put(keyOf(subnet), theirs, await cluster.etcd.grant(3600));
          host.daemon.kill('SIGCONT');
          await loggedError(host, 'moved', 30_000);
          await untilStatus(host, 'holds another subnet', ({ lease }) => lease.state === 'held');
        },
      });
      expect(back).toMatchObject({ lost: 0, doubled: 0, errors: {}, ended: true });
    },
  });
  expect(loss).toMatchObject({ lost: 0, doubled: 0, errors: {}, ended: true });
  const now = await subnetOf(host);
  expect(now).not.toBe(subnet);

  // Whoever asks is told which pods to recreate.
  const names = old.map(({ id, ip }) => `${id}/eth0 (${ip}/24)`);
  const { problems } = await status(host);
  const [problem] = problems.filter((p) => names.some((name) => p.includes(name)));
  expect(names.filter((name) => !problem?.includes(name))).toEqual([]);
  await host.logged('which pods to recreate', ({ msg }) => names.every((name) => msg?.includes(name)));
  const asked = await plugin(host).call('STATUS');
  expect(asked.stdout).toBe('');
  expect(names.filter((name) => !asked.stderr.includes(name))).toEqual([]);

  // The route to whoever has the subnet now does not stand in their way.
  await untilStatus(host, 'has taken the foreign lease in', (s) =>
    s.problems.some((p) => p.includes(subnet)),
  );
  expect(await host.netns.ip(`-4 route get ${one.ip}`)).toContain('dev cni0');
  for (const { ip, result } of routed) {
    const [veth] = result.interfaces!;
    expect(await host.netns.ip(`-4 route get ${ip}`)).toContain(`dev ${veth!.name}`);
  }
  for (const group of [bridged, routed]) {
    for (const from of [...group.map((p) => p.netns), host.netns]) {
      for (const { ip } of group) expect(await ping(from, ip, 5), `${ip} from ${from.name}`).toBeDefined();
    }
  }
  await plugin(host).check({ id: 'one', netns: one.netns.path }, one.result);

  // New ones get the new subnet, in either mode, and reach everybody.
  const both = [gatewayOf(subnet), gatewayOf(now)].toSorted().join();
  await until('the new gateway beside the old', async () => (await addressesOf('cni0')).join() === both);
  const fresh = [await attach(host, 'fresh'), await attach(host, 'freshRouted', 'ptp')];
  expect(await addressesOf('cni0')).toEqual([gatewayOf(subnet), gatewayOf(now)].toSorted());
  for (const { ip, netns } of fresh) {
    expect(ip.split('.').slice(0, 3)).toEqual(now.split('.').slice(0, 3));
    await reaches(netns, far.ip);
    await reaches(far.netns, ip);
    for (const each of old) expect(await ping(netns, each.ip, 5)).toBeDefined();
  }

  // A restart changes none of that.
  await host.restart();
  expect((await plugin(host).call('STATUS')).stderr).toContain(names[0]);
  expect(await addressesOf('cni0')).toEqual([gatewayOf(subnet), gatewayOf(now)].toSorted());
  for (const { ip } of old) expect(await ping(host.netns, ip, 5)).toBeDefined();

  // With the last of them the old address goes, at the next ADD at the latest, and the way to its new owner is free.
  for (const each of old) await detach(each);
  expect((await plugin(host).call('STATUS')).stderr).toBe('');
  const next = await attach(host, 'next');
  expect(await addressesOf('cni0')).toEqual([gatewayOf(now)]);
  await until(
    'the route to the new owner',
    async () => (await host.netns.ip(`-4 route show ${subnet}`)).includes('dev flannel.1'),
    30_000,
  );
  for (const each of [next, ...fresh]) await detach(each);
  expect(await traces(host)).toEqual(NO_TRACES);
});
