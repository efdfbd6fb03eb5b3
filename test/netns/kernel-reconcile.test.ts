import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { KernelObject } from '../../src/kernel/types.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { AtWork, scenarios, until, type World } from '../fake/scenarios.ts';
import { carryOut, OTHERS, portrait, START } from '../fake/sequence.ts';
import { overlay, peer, tunnel, tunOverlay } from '../fake/wishes.ts';
import { kernelIn } from '../support/kernelIn.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

interface RealWorld extends World {
  readonly netns: Netns;
}

/** A namespace with `u0` and `cni0`, which are devices that are up without a cable. */
async function host(): Promise<RealWorld> {
  const netns = await Netns.create(thisProcess(), 'reconcile');
  await netns.ipBatch(
    OTHERS.flatMap((name, i) => [
      `link add ${name} mtu 1500 type vxlan id ${100 + i} dstport 4789`,
      `link set ${name} up`,
    ]),
  );
  const kernel = kernelIn(netns);
  const others = kernelIn(netns);
  for (const what of START.slice(0, 2)) expect(await carryOut(others, what)).toBe('ok');
  return {
    netns,
    kernel,
    others,
    async [Symbol.asyncDispose]() {
      kernel.close();
      others.close();
      await netns[Symbol.asyncDispose]();
    },
  };
}

/** Our TUN in the words of iproute2. */
const OUR_TUN = {
  ifname: 'flannel0',
  ifalias: 'loden',
  mtu: 1472,
  txqlen: 8192,
  qdisc: 'noqueue',
  flags: expect.arrayContaining(['UP']),
  linkinfo: {
    info_kind: 'tun',
    info_data: { type: 'tun', pi: false, vnet_hdr: true, persist: true, multi_queue: true },
  },
};

/** Everything, with the sysctls of the TUN device. */
async function tunPortrait({ others, netns }: RealWorld): Promise<string> {
  const lines = await portrait(others);
  const paths = ['net/ipv6/conf/flannel0/accept_ra', 'net/ipv4/conf/flannel0/accept_local'];
  const values = await netns.run(['sh', '-c', `cd /proc/sys; cat ${paths.join(' ')} || true`]);
  return `${lines.join('\n')}\n${values}`;
}

describe('on the real kernel', () => {
  scenarios(host);
});

/** What flanneld's vxlan backend leaves behind, by iproute2, with one peer of its host-gw kind. */
const FLANNELD = [
  'link add flannel.1 address c6:d2:32:6f:8f:44 mtu 1450 type vxlan id 1 local 192.0.2.1 dev u0 dstport 8472 nolearning',
  'addr add 10.42.1.0/32 dev flannel.1',
  'link set flannel.1 up',
  ...[2, 3].flatMap((n) => [
    `neigh add 10.42.${n}.0 lladdr ${peer(4, n).mac} dev flannel.1 nud permanent`,
    `route add 10.42.${n}.0/24 via 10.42.${n}.0 dev flannel.1 onlink proto boot`,
  ]),
  'route add 10.42.50.0/24 via 192.0.2.9 dev u0 proto boot',
];
const flanneldFdb = (n: number): string[] =>
  `bridge fdb add ${peer(4, n).mac} dev flannel.1 dst 192.0.2.${n} self permanent`.split(' ');

const WANTED: readonly KernelObject[] = [
  ...[...overlay(2)].map((o) =>
    o.kind === 'link' ? tunnel(4, { mac: mac('c6:d2:32:6f:8f:44'), mtu: 1450 }) : o,
  ),
  {
    kind: 'route',
    type: 'unicast',
    dst: { addr: addr('10.42.50.0'), len: 24 },
    via: addr('192.0.2.9'),
    dev: 'u0',
    onlink: false,
    protocol: 76,
  },
];

test('takes over from flanneld: the kernel tells of nothing deleted or replaced', async () => {
  await using world = await host();
  await world.netns.ipBatch(FLANNELD);
  for (const n of [2, 3]) await world.netns.run(flanneldFdb(n));
  const log = join(thisProcess().tempDir('monitor'), 'monitor.log');
  const monitor = await world.netns.start(['ip', '-o', 'monitor', 'label', 'all'], { log });
  await new Promise((resolve) => setTimeout(resolve, 300));

  const before = await portrait(world.others);
  await using work = await AtWork.on(world.kernel);
  await work.want(WANTED);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await portrait(world.others)).toEqual(
    before
      .map((line) => (line.startsWith('link flannel.1') ? line.replace('alias ', 'alias loden') : line))
      .sort(),
  );
  await monitor.stop('SIGTERM');
  const told = monitor
    .output()
    .split('\n')
    .filter((line) => line.length > 0);
  expect(told.filter((line) => /ROUTE|NEIGH|ADDR|[Dd]eleted/.test(line))).toEqual([]);
  expect(told.filter((line) => line.includes('LINK')).length).toBeGreaterThan(0);
});

test('what it writes reads as flanneld would have written it', async () => {
  await using world = await host();
  await using work = await AtWork.on(world.kernel);
  await work.want(overlay(1, [4, 6]));
  const [link] = await world.netns.ipJson('link show dev flannel.1');
  expect(link).toMatchObject({
    ifname: 'flannel.1',
    ifalias: 'loden',
    mtu: 1400,
    address: '02:00:00:00:00:01',
    linkinfo: {
      info_kind: 'vxlan',
      info_data: { id: 1, local: '192.0.2.1', link: 'u0', port: 8472, learning: false },
    },
  });
  const [v6] = await world.netns.ipJson<{ addr_info: unknown[] }[]>(
    '-6 addr show dev flannel-v6.1 scope global',
  );
  const own = { local: 'fd00:42:1::', prefixlen: 128, scope: 'global', nodad: true };
  expect(v6!.addr_info[0]).toMatchObject(own);
  expect(await world.netns.ipJson('neigh show dev flannel.1 nud permanent')).toMatchObject([
    { dst: '10.42.2.0', lladdr: peer(4, 2).mac, state: ['PERMANENT'] },
  ]);
  expect(await world.netns.bridgeJson('fdb show dev flannel.1')).toMatchObject([
    { mac: peer(4, 2).mac, dst: '192.0.2.2', flags: ['self'], state: 'permanent' },
  ]);
  const onlink = { gateway: '10.42.2.0', dev: 'flannel.1', protocol: '76', flags: ['onlink'] };
  expect(await world.netns.ipJson('route show 10.42.2.0/24')).toMatchObject([onlink]);
  expect(await world.netns.ipJson('-6 route show fd00:42:2::/64')).toMatchObject([
    { gateway: 'fd00:42:2::', dev: 'flannel-v6.1', protocol: '76', metric: 1024, flags: ['onlink'] },
  ]);
  expect(await world.netns.run(['cat', '/proc/sys/net/ipv6/conf/flannel.1/accept_ra'])).toBe('0\n');
});

test('drift made by iproute2 is put right', async () => {
  await using world = await host();
  await using work = await AtWork.on(world.kernel);
  await work.want(overlay(3, [4, 6]));
  const before = await portrait(world.others);
  for (const drift of [
    'link del flannel.1',
    'link set flannel-v6.1 address 02:00:00:00:00:66',
    'route flush proto 76',
    '-6 route flush proto 76',
    'neigh flush dev flannel.1 nud permanent',
    'addr flush dev flannel.1',
    'link set flannel-v6.1 down',
    'link set flannel.1 mtu 1300',
    'link set flannel.1 type vxlan id 1 local 192.0.2.99',
    'link set flannel.1 name renamed.1',
  ]) {
    const passes = work.reports.length;
    await world.netns.ip(drift);
    await until(`${drift}: noticed`, () => work.reports.length > passes);
    await until(`${drift}: put right`, async () => {
      const now = await portrait(world.others);
      return now.length === before.length && now.every((line, i) => line === before[i]);
    });
  }
  expect(work.errors).toEqual([]);
});

test('a TUN is what it should be, and drift of it made by iproute2 is put right', async () => {
  await using world = await host();
  await using work = await AtWork.on(world.kernel);
  await work.want(tunOverlay());
  const [link] = await world.netns.ipJson('link show dev flannel0');
  expect(link).toMatchObject(OUR_TUN);
  expect(await world.netns.ipJson('route show 10.42.0.0/16')).toMatchObject([
    { dev: 'flannel0', protocol: '76', scope: 'link' },
  ]);
  const before = await tunPortrait(world);
  expect(before).toContain('0\n1\n');
  for (const drift of [
    'link set flannel0 mtu 1300',
    // Below IPv6's least MTU: the device loses its IPv6 addresses, routes and sysctls.
    'link set flannel0 mtu 1200',
    'link set flannel0 txqueuelen 10',
    'link set flannel0 down',
    'link del flannel0',
    'addr flush dev flannel0',
    'route flush proto 76',
    '-6 route flush proto 76',
    'link set flannel0 name renamed0',
  ]) {
    const passes = work.reports.length;
    await world.netns.ip(drift);
    await until(`${drift}: noticed`, () => work.reports.length > passes);
    await until(`${drift}: put right`, async () => (await tunPortrait(world)) === before);
  }
  expect(work.errors).toEqual([]);
});

test.each([
  ['a TUN with one queue', 'tuntap add flannel0 mode tun vnet_hdr'],
  ['a TUN without offload headers', 'tuntap add flannel0 mode tun multi_queue'],
  ['a TUN with packet information', 'tuntap add flannel0 mode tun multi_queue vnet_hdr pi'],
  ['a TAP', 'tuntap add flannel0 mode tap multi_queue vnet_hdr'],
  ['a bridge', 'link add flannel0 type bridge'],
])('%s in the place of ours is exchanged', async (_, command) => {
  await using world = await host();
  await world.netns.ip(command);
  await using work = await AtWork.on(world.kernel);
  await work.want(tunOverlay());
  const [link] = await world.netns.ipJson('link show dev flannel0');
  expect(link).toMatchObject(OUR_TUN);
});

test('a TUN that would go with the process that holds it is exchanged', async () => {
  await using world = await host();
  await world.netns.ip('tuntap add flannel0 mode tun multi_queue vnet_hdr');
  const code = `
    const { addon } = await import(${JSON.stringify(new URL('../../src/native/addon.ts', import.meta.url).href)});
    addon().tunAttach('flannel0', 1);
    console.log('holding');
    setInterval(() => {}, 1000);
  `;
  const log = join(thisProcess().tempDir('holder'), 'holder.log');
  await using holder = await world.netns.start(
    [process.execPath, '--input-type=module-typescript', '--eval', code],
    { log },
  );
  await holder.saying(/holding/);
  await world.netns.ip('tuntap del flannel0 mode tun multi_queue vnet_hdr');
  expect((await world.others.links()).some((o) => o.name === 'flannel0')).toBe(true);
  await using work = await AtWork.on(world.kernel);
  await work.want(tunOverlay());
  const [link] = await world.netns.ipJson('link show dev flannel0');
  expect(link).toMatchObject(OUR_TUN);
});

test('a TUN that is there already, with routes and addresses, is kept', async () => {
  await using world = await host();
  {
    await using work = await AtWork.on(world.kernel);
    await work.want(tunOverlay());
  }
  const [before] = await world.netns.ipJson<{ ifindex: number }[]>('link show dev flannel0');
  await using work = await AtWork.on(world.kernel);
  await work.want(tunOverlay());
  expect(work.reports).toEqual([]);
  const [after] = await world.netns.ipJson<{ ifindex: number }[]>('link show dev flannel0');
  expect(after!.ifindex).toBe(before!.ifindex);
});

test('an underlay that is deleted takes the device along; with the next one it is made again', async () => {
  await using world = await host();
  await using work = await AtWork.on(world.kernel);
  await work.want(overlay(2));
  const before = await portrait(world.others);
  await world.netns.ip('link del u0');
  await until('it waits for it', () => work.reconciler.status().failing.some((f) => f.object === 'link u0'));
  await world.netns.ipBatch([
    'link add u0 mtu 1500 type vxlan id 100 dstport 4789',
    'link set u0 up',
    'addr add 192.0.2.1/24 dev u0',
    'addr add fd99::1/64 dev u0',
  ]);
  await until('all is as before', async () => {
    const now = await portrait(world.others);
    return now.length === before.length && now.every((line, i) => line === before[i]);
  });
});

test('5,000 peers', async () => {
  await using world = await host();
  await world.netns.ip('addr add 192.0.2.1/16 dev u0');
  await using work = await AtWork.on(world.kernel);
  await work.want(overlay(5000));
  const { objects } = work.reconciler.status();
  for (const kind of ['neigh', 'fdb', 'route'] as const) {
    expect(objects[kind]).toEqual({ desired: 5000, inSync: 5000, failing: 0 });
  }
  const count = async (command: string) => (await world.netns.ip(command)).split('\n').length - 1;
  expect(await count('route show proto 76')).toBe(5000);
  expect(await count('neigh show dev flannel.1 nud permanent')).toBe(5000);
  expect(work.errors).toEqual([]);
  // And away with them, one by one.
  await work.want(overlay(4990));
  expect(await count('route show proto 76')).toBe(4990);
});
