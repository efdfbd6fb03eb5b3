import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DEFAULTS } from '../../src/contract.ts';
import type { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { dump, overlayText } from '../support/kernelText.ts';
import { status, untilStatus } from '../support/leases.ts';
import { ping } from '../support/ping.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

const CONFIG = `${DEFAULTS.etcdPrefix}/config`;

let cluster: Cluster;
let hosts: readonly [Host, Host];
let pods: readonly [Workload, Workload];

beforeEach(async () => {
  cluster = await pinnedCluster([0, 0], { families: [4, 6] });
  hosts = [cluster.hosts[0]!, cluster.hosts[1]!];
  pods = [await hosts[0].workload(), await hosts[1].workload()];
});
afterEach(() => cluster?.[Symbol.asyncDispose]());

const overlay = async (host: Host): Promise<string> => overlayText(await dump(host.netns));

/** Wait until a host's overlay is as wanted; on failure the message says how it is. */
async function untilOverlay(host: Host, ...patterns: readonly RegExp[]): Promise<void> {
  let text = '';
  const right = async () => {
    text = await overlay(host);
    return patterns.every((pattern) => pattern.test(text));
  };
  await until(`${host.name} to have ${patterns}`, right, 20_000).catch((error: Error) => {
    throw new Error(`${error.message}; it has\n${text}`);
  });
}

async function untilConnected(): Promise<void> {
  for (const [from, to] of [pods, pods.toReversed()] as [Workload, Workload][]) {
    for (const family of cluster.families) {
      const answers = async () => (await ping(from.netns, to.addr(family))) !== undefined;
      await until(`${from.host.name} to reach ${to.addr(family)}`, answers);
    }
  }
}

/** The lease value of a host. */
async function value(host: Host): Promise<Record<string, unknown>> {
  const { key } = (await status(host)).lease.lease;
  const all = await cluster.etcd.list(`${DEFAULTS.etcdPrefix}/subnets/`);
  return JSON.parse(all.find((kv) => kv.key.endsWith(`/${key}`))!.value);
}

test("the uplink's addresses change: lease, devices and peers follow", async () => {
  const [host, peer] = hosts;
  const before = await value(host);
  await host.netns.ipBatch([
    'addr del 192.0.2.2/24 dev eth0',
    'addr add 192.0.2.102/24 dev eth0',
    'addr del 2001:db8::2/64 dev eth0',
    'addr add 2001:db8::102/64 dev eth0 nodad',
    'route replace default via 192.0.2.254',
    'route replace default via 2001:db8::fe',
  ]);
  await untilOverlay(
    host,
    /^link flannel\.1 .* local 192\.0\.2\.102 /m,
    /^link flannel-v6\.1 .* local6 2001:db8::102 /m,
  );
  await untilOverlay(
    peer,
    /^fdb \S+ dev flannel\.1 dst 192\.0\.2\.102 /m,
    /^fdb \S+ dev flannel-v6\.1 dst 2001:db8::102 /m,
  );
  expect(await overlay(peer)).not.toMatch(/dst (192\.0\.2\.2|2001:db8::2) /);
  expect(await value(host)).toEqual({ ...before, PublicIP: '192.0.2.102', PublicIPv6: '2001:db8::102' });
  await untilConnected();
  await untilStatus(host, 'is in order', (s) => s.ready && s.reason === null && s.problems.length === 0);
});

test("the uplink's MTU changes: devices and subnet.env follow", async () => {
  const [host] = hosts;
  const file = readFileSync(host.subnetFile, 'utf8');
  await cluster.underlay.setMtu(host.at, 1400);
  await untilOverlay(host, /^link flannel\.1 up mtu 1350 /m, /^link flannel-v6\.1 up mtu 1330 /m);
  const says = (text: string) => until('subnet.env', () => readFileSync(host.subnetFile, 'utf8') === text);
  await says(file.replace('1430', '1330'));
  await untilConnected();
  await cluster.underlay.setMtu(host.at, 1500);
  await untilOverlay(host, /^link flannel\.1 up mtu 1450 /m, /^link flannel-v6\.1 up mtu 1430 /m);
  await says(file);
});

const configure = (backend: object) => cluster.configure({ Backend: { Type: 'vxlan', ...backend } });

test('options of the backend change: all follow, without a restart', async () => {
  const [host, peer] = hosts;
  const plain = await overlay(host);

  await configure({ MTU: 1400 });
  await untilOverlay(host, /^link flannel\.1 up mtu 1350 /m, /^link flannel-v6\.1 up mtu 1330 /m);
  await until('subnet.env', () => host.subnetEnv().FLANNEL_MTU === '1330');

  await configure({ Learning: true });
  await untilOverlay(
    host,
    /^link flannel\.1 up mtu 1450 .* learning true /m,
    /^link flannel-v6\.1 .* learning true /m,
  );

  await configure({ DirectRouting: true });
  const direct = [
    /^route unicast 10\.42\.2\.0\/24 gateway 192\.0\.2\.3 dev eth0 /m,
    /^route unicast fd00:42:0:2::\/64 gateway 2001:db8::3 dev eth0 /m,
  ];
  await untilOverlay(host, ...direct, /^link flannel\.1 .* learning false /m);
  expect(await overlay(host)).not.toMatch(/^(neigh|fdb|.*onlink)/m);
  await untilConnected();

  // The kernel changes neither of these: the devices are made anew, and their peers follow.
  await configure({ VNI: 9, Port: 4790 });
  const anew = [/^link flannel\.9 up mtu 1450 .* id 9 .* port 4790 /m, /^link flannel-v6\.9 /m, /onlink/];
  for (const h of [host, peer]) {
    await untilOverlay(h, ...anew);
    await until('the old devices to go', async () => !/flannel(-v6)?\.1 /.test(await overlay(h)));
  }
  await untilConnected();
  expect(await value(host)).toMatchObject({ BackendData: { VNI: 9 }, BackendV6Data: { VNI: 9 } });

  await configure({});
  await until('all to be as it was', async () => (await overlay(host)) === plain, 20_000);
  await untilConnected();
});

test('a network config that cannot be applied is told of, and the one before stays', async () => {
  const [host] = hosts;
  const before = await overlay(host);
  const problem = async (pattern: RegExp) => {
    const only = (problems: readonly string[]) => problems.length === 1 && pattern.test(problems[0]!);
    await untilStatus(host, `has the problem ${pattern}`, (s) => only(s.problems));
    const told = await host.logged(
      `${pattern}`,
      (l) => l.msg === 'network config' && pattern.test(String(l.problem)),
    );
    expect(told.level).toBe('warn');
  };

  await cluster.configure({ Network: '10.99.0.0/16' });
  await problem(/needs a restart of loden to come into force: Network, SubnetLen, SubnetMin or SubnetMax/);
  await cluster.configure({ Backend: { Type: 'host-gw' } });
  await problem(/needs a restart of loden to come into force: Backend\.Type \(vxlan to host-gw\)/);
  await cluster.configure({ EnableIPv6: false });
  await problem(/needs a restart of loden to come into force: EnableIPv6 \(true to false\)/);
  await cluster.configure({ SubnetLen: 99, IPv6SubnetLen: 999 });
  await problem(/is not in force: .*2 problems\n {2}SubnetLen: expected .*\n {2}IPv6SubnetLen: expected /);
  await configure({ MTU: 1300 });
  await problem(
    /is not in force: it cannot run on this host: 1 problem\n {2}Backend\.MTU: expected room for IPv6/,
  );
  await cluster.etcd.delete(CONFIG);
  await problem(/is gone from etcd; the last one stays in force/);
  expect(await overlay(host)).toBe(before);
  expect((await host.request('/readyz')).status).toBe(200);
  await untilConnected();

  await configure({});
  await untilStatus(host, 'has no problem', (s) => s.problems.length === 0);
});
