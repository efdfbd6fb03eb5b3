import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FILES } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import { hostEnds, NO_TRACES, storedAddresses, traces } from '../support/cniTraces.ts';
import { DEBIANS, pluginDir } from '../support/containerd.ts';
import type { Host } from '../support/host.ts';
import { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import {
  type Container,
  lodenConfig,
  Plugin,
  type PluginError,
  type PluginResult,
  storeOf,
} from '../support/plugin.ts';
import { until } from '../support/proc.ts';

let cluster: Cluster;
let host: Host;
let path: string;
let pod: Netns;
beforeAll(async () => {
  cluster = await Cluster.start(1, { families: [4, 6], args: ['--ip-masq'] });
  host = cluster.hosts[0]!;
  path = pluginDir(host.dir);
});
beforeEach(async () => {
  pod = await Netns.create(cluster.owner, 'pod');
});
afterEach(async ({ task }) => {
  // What a test that failed has left must not fail the others.
  if (task.result?.state === 'fail') {
    if (host.daemon.ended !== undefined) await host.start();
    const ours = ['cbr0', 'other'].map((name) => new Plugin(host.netns, lodenConfig(host, { name }), path));
    for (const id of ['a', 'b', 'c', 'before', 'after', 'g0', 'g1', 'g2']) {
      for (const plugin of [flannel(), ...ours]) await plugin.del({ id, netns: pod.path }).catch(() => {});
    }
    rmSync(kept(), { recursive: true, force: true });
    rmSync(storeOf(host), { recursive: true, force: true });
  }
  await pod[Symbol.asyncDispose]();
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** Configurations that delegates have been given. */
const kept = (): string => join(host.dir, 'flannel-data');
const keptFiles = (): string[] => (existsSync(kept()) ? readdirSync(kept()) : []);

/** A network of type flannel, called by the name flannel's plugin has. */
const flannel = (more: Readonly<Record<string, unknown>> = {}, dirs = path) =>
  new Plugin(
    host.netns,
    {
      ...{ cniVersion: '1.0.0', name: 'cbr0', type: 'flannel' },
      socket: join(host.runDir, FILES.controlSocket),
      subnetFile: host.subnetFile,
      dataDir: kept(),
      ipam: { dataDir: storeOf(host) },
      ...more,
    },
    dirs,
  );

/** One of Debian's plugins with host-local, as flannel's plugin calls it on this node. */
function direct(type: string, cniVersion: string | undefined, more: object, dataDir: string): Plugin {
  const env = host.subnetEnv();
  const subnets = [
    env.FLANNEL_SUBNET!.replace('.1/', '.0/'),
    env.FLANNEL_IPV6_SUBNET!.replace('::1/', '::/'),
  ];
  const networks = [env.FLANNEL_NETWORK, env.FLANNEL_IPV6_NETWORK];
  const config = {
    ...(cniVersion === undefined ? {} : { cniVersion }),
    name: 'cbr0',
    type,
    mtu: Number(env.FLANNEL_MTU),
    ipMasq: env.FLANNEL_IPMASQ === 'false',
    ...(type === 'bridge' ? { isGateway: true } : {}),
    ...more,
    ipam: {
      type: 'host-local',
      dataDir,
      ranges: subnets.map((subnet) => [{ subnet }]),
      routes: networks.map((dst) => ({ dst })),
    },
  };
  return new Plugin(host.netns, config, DEBIANS);
}

/** What has no fixed value, by what it stands for. */
const anonymous = (text: string): string =>
  text
    .replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}(?!:)/g, '<mac>')
    .replace(/veth[0-9a-f]{8}/g, '<veth>')
    .replace(/fe80::[0-9a-f:]+/g, '<link-local>')
    .replace(/\d+: eth0@\S+/g, 'eth0')
    .replace(/link-netns\S* \S+/g, '')
    .replace(/valid_lft.*/g, '');

/** The result, the pod, and what of the host has to do with it. */
async function view(result: unknown): Promise<Record<string, unknown>> {
  const ports = await host.netns.ipJson<{ ifname: string; mtu: number }[]>('link show master cni0');
  return {
    result: JSON.parse(anonymous(JSON.stringify(result))),
    addresses: anonymous(await pod.ip('addr show eth0')),
    routes: (await pod.ip('-4 route show')).split('\n').toSorted(),
    routes6: (await pod.ip('-6 route show dev eth0'))
      .split('\n')
      .filter((line) => !/fe80|multicast/.test(line))
      .toSorted(),
    ports: ports.map((p) => p.mtu),
    masquerading: (await host.netns.run(['iptables', '-t', 'nat', '-S']))
      .split('\n')
      .filter((line) => line.includes('CNI-')).length,
    hostRoutes: (await host.netns.ip('-4 route show')).split('\n').filter((l) => l.includes('veth')).length,
  };
}

/** What CHECK says of an attachment, and once more when its addresses are gone; nothing when all is well. */
async function checks(plugin: Plugin, container: Container, result: PluginResult): Promise<string[]> {
  const check = () =>
    plugin.check(container, result).then(
      () => '',
      (error: PluginError) => error.msg,
    );
  const before = await check();
  await pod.ip('addr flush dev eth0');
  return [before, await check()];
}

describe.each([
  ['bridge', undefined, undefined],
  ['bridge', '0.3.1', { type: 'bridge', hairpinMode: true, isDefaultGateway: true }],
  ['bridge', '1.0.0', { mtu: 1300, ipMasq: true, type: 'bridge' }],
  ['ptp', '0.4.0', { type: 'ptp' }],
  ['macvlan', '1.0.0', { type: 'macvlan', master: 'eth0', mode: 'bridge' }],
] as const)('delegate %s, version %s, %j', (type, cniVersion, delegate) => {
  test('does what the same chain does without us', async () => {
    rmSync(join(host.dir, 'alone'), { recursive: true, force: true });
    const container = { id: 'c', netns: pod.path };
    const { type: _, ...more } = { ...delegate, type: undefined };
    const alone = direct(type, cniVersion, more, join(host.dir, 'alone'));
    const ours = flannel({ cniVersion, ...(delegate ? { delegate } : {}) });

    const made = await alone.add(container);
    const expected = await view(made);
    const checked = await checks(alone, container, made);
    await alone.del(container);
    // Their stores go on where they were: both begin with an empty one.
    rmSync(storeOf(host), { recursive: true, force: true });
    const result = await ours.add(container);
    expect(await view(result)).toEqual(expected);
    expect(storedAddresses(storeOf(host), 'cbr0')).toHaveLength(2);
    expect(keptFiles()).toHaveLength(1);

    if (cniVersion === '0.4.0' || cniVersion === '1.0.0') {
      const words = checked.map((said) => said.replace(/^(?=.)/, `failed to delegate check: ${type}: `));
      expect(await checks(ours, container, result)).toEqual(words);
      expect(words.at(-1)).not.toBe('');
    }
    // Of what the configuration says by now nothing counts, but what was made.
    const changed = flannel({ cniVersion, delegate: { type: 'ptp', mtu: 1280 } });
    for (let i = 0; i < 2; i++) await changed.del(container, result);
    expect(storedAddresses(storeOf(host), 'cbr0')).toEqual([]);
    expect(keptFiles()).toEqual([]);
    expect(await hostEnds(host.netns)).toEqual([]);
    await expect(pod.ip('link show eth0')).rejects.toThrow();
  });
});

/** Nothing is left of an ADD that failed. */
async function expectNothing(): Promise<void> {
  expect(storedAddresses(storeOf(host), 'cbr0')).toEqual([]);
  expect(keptFiles()).toEqual([]);
  expect(await hostEnds(host.netns)).toEqual([]);
}

test.each([
  [{ delegate: { bridge: 'x' } }, 'bridge'],
  [{ delegate: { type: 7 } }, "'delegate' dictionary, if present, must have (string) 'type' field"],
  [
    { delegate: { type: 'bridge', name: 'x' } },
    "'delegate' dictionary must not have 'name' field, it'll be set by flannel",
  ],
  [
    { delegate: { type: 'bridge', ipam: {} } },
    "'delegate' dictionary must not have 'ipam' field, it'll be set by flannel",
  ],
  [{ delegate: { type: '../bridge' } }, 'is no plugin'],
  [{ delegate: { type: 'missing' } }, 'missing'],
  [{ subnetFile: '/nowhere/subnet.env' }, '/nowhere/subnet.env'],
])('%j', async (more, told) => {
  const adding = flannel(more).add({ id: 'c', netns: pod.path });
  if (told === 'bridge') {
    // No type is a bridge.
    await adding;
    await flannel(more).del({ id: 'c', netns: pod.path });
    await host.netns.ip('link del x');
  } else await expect(adding).rejects.toMatchObject({ msg: expect.stringContaining(told) });
  await expectNothing();
});

test('a subnet file of somebody else is read as flannel reads it', async () => {
  const file = join(host.dir, 'other.env');
  writeFileSync(file, 'FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_MTU=1400\n');
  const other = flannel({ subnetFile: file, delegate: { bridge: 'other' } });
  await expect(other.add({ id: 'c', netns: pod.path })).rejects.toMatchObject({
    msg: expect.stringMatching(/other\.env is missing FLANNEL_SUBNET.*FLANNEL_IPMASQ/),
  });
  await expectNothing();
  writeFileSync(
    file,
    'FLANNEL_NETWORK=10.9.0.0/16\nFLANNEL_SUBNET=10.9.8.1/24\nFLANNEL_MTU=1400\nFLANNEL_IPMASQ=true\n',
  );
  const result = await other.add({ id: 'c', netns: pod.path });
  expect(result.ips.map((ip) => ip.address)).toEqual([expect.stringMatching(/^10\.9\.8\.\d+\/24$/)]);
  expect(await pod.ip('link show eth0')).toContain('mtu 1400');
  await other.del({ id: 'c', netns: pod.path });
  await expectNothing();
  await host.netns.ip('link del other');
});

test('a delegate that fails is undone: its words, and nothing is left', async () => {
  await pod.ip('link add eth0 type bridge');
  const adding = flannel().add({ id: 'c', netns: pod.path });
  await expect(adding).rejects.toMatchObject({
    msg: expect.stringMatching(/failed to delegate add: bridge: .*eth0/),
  });
  await expectNothing();
});

test('GC runs the DEL of each that is not valid any more', async () => {
  const latest = { cniVersion: '1.1.0' };
  const others = [await Netns.create(cluster.owner, 'a'), await Netns.create(cluster.owner, 'b')];
  // Debian's plugins know no 1.1.0 yet.
  for (const [i, netns] of [pod, ...others].entries())
    await flannel().add({ id: `g${i}`, netns: netns.path });
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'g1', ifname: 'eth0' }] };
  await flannel({ ...latest, ...valid }).call('GC');
  expect(keptFiles()).toHaveLength(1);
  expect(storedAddresses(storeOf(host), 'cbr0')).toHaveLength(2);
  // In the namespaces that live on, too: their addresses may be others' in a moment.
  for (const netns of [pod, others[1]!]) await expect(netns.ip('link show eth0')).rejects.toThrow();
  await others[0]!.ip('link show eth0');
  await flannel().del({ id: 'g1', netns: others[0]!.path });
  for (const netns of others) await netns[Symbol.asyncDispose]();
  await expectNothing();
});

test('the daemon is killed while a delegate runs: the ADD is undone, and the DEL that follows finds nothing amiss', async () => {
  const [dir, [began, go]] = [join(host.dir, 'slow'), ['began', 'go'].map((name) => join(host.dir, name))];
  mkdirSync(dir);
  // Debian's bridge, which waits at the end of an ADD.
  const script = `#!/bin/sh
${DEBIANS}/bridge || exit
[ "$CNI_COMMAND" = ADD ] || exit 0
: >${began}
while [ ! -e ${go} ]; do sleep 0.02; done
`;
  writeFileSync(join(dir, 'slowbridge'), script);
  chmodSync(join(dir, 'slowbridge'), 0o755);
  for (const name of ['host-local', 'flannel']) symlinkSync(join(path, name), join(dir, name));
  const slow = flannel({ delegate: { type: 'slowbridge', isGateway: true } }, dir);
  const adding = slow.add({ id: 'c', netns: pod.path });
  adding.catch(() => {});
  await until('the delegate to be at work', () => existsSync(began!));
  expect(storedAddresses(storeOf(host), 'cbr0')).toHaveLength(2);
  await host.stop('SIGKILL');
  writeFileSync(go!, '');
  await expect(adding).rejects.toMatchObject({ code: 11 });
  expect(storedAddresses(storeOf(host), 'cbr0')).toEqual([]);
  expect(await hostEnds(host.netns)).toEqual([]);
  await host.start();
  await slow.del({ id: 'c', netns: pod.path });
  await expectNothing();
});

describe('flannel’s chain and ours on one node, in one store', () => {
  const ours = () => new Plugin(host.netns, lodenConfig(host, { name: 'cbr0' }), path);
  const chain = () => direct('bridge', '1.0.0', {}, storeOf(host));
  const addresses = ({ ips }: PluginResult) => ips.map((ip) => ip.address.replace(/\/.*/, ''));
  const stored = () => storedAddresses(storeOf(host), 'cbr0').toSorted();
  let second: Netns;
  let third: Netns;
  beforeEach(async () => {
    second = await Netns.create(cluster.owner, 'second');
    third = await Netns.create(cluster.owner, 'third');
  });
  afterEach(async () => {
    await second[Symbol.asyncDispose]();
    await third[Symbol.asyncDispose]();
  });
  const at = (id: string, netns: Netns): Container => ({ id, netns: netns.path });

  test('no address twice, pods of both reach each other, and either releases what the other has given', async () => {
    const [a, b, c] = [at('a', pod), at('b', second), at('c', third)];
    const [ra, rb, rc] = [await chain().add(a), await ours().add(b), await chain().add(c)];
    const all = [ra, rb, rc].flatMap(addresses);
    expect(new Set(all).size).toBe(6);
    expect(stored()).toEqual(all.toSorted());
    for (const ip of [...addresses(ra), ...addresses(rc)]) expect(await ping(second, ip, 5)).toBeDefined();

    // What either has is refused to the other, by name.
    const wanted = addresses(ra)[0]!;
    const extra = await Netns.create(cluster.owner, 'extra');
    await expect(ours().add({ ...at('d', extra), args: `IP=${wanted}` })).rejects.toThrow(wanted);
    await extra[Symbol.asyncDispose]();

    await ours().del(a);
    expect(stored()).toEqual([rb, rc].flatMap(addresses).toSorted());
    // Its address may be another's in a moment.
    await expect(pod.ip('link show eth0')).rejects.toThrow();
    await chain().del(b);
    expect(stored()).toEqual(addresses(rc).toSorted());
    await expect(second.ip('link show eth0')).rejects.toThrow();
    await ours().del(c);
    await ours().del(b);
    expect(await traces(host, 'cbr0')).toEqual(NO_TRACES);
  });

  test('an address that went from one to the other stays with it, whoever had it before', async () => {
    const [before, after] = [at('before', pod), at('after', second)];
    const [ip] = addresses(await ours().add(before));
    await chain().del(before);
    const taken = await chain().add({ ...after, args: `IgnoreUnknown=1;IP=${ip}` });
    expect(addresses(taken)).toContain(ip);
    // Our daemon learns of it by a start at the latest; neither that nor a late DEL takes it away.
    await ours().del(before);
    await host.restart('SIGKILL');
    await until('the start’s cleaning', async () => (await traces(host, 'cbr0')).records.length === 0);
    await ours().del(before);
    expect(readFileSync(join(storeOf(host), 'cbr0', ip!), 'utf8')).toMatch(/^after\r\neth0/);
    expect(await ping(second, host.subnetEnv().FLANNEL_SUBNET!.replace(/\/.*/, ''), 5)).toBeDefined();
    await ours().del(after);
    expect(await traces(host, 'cbr0')).toEqual(NO_TRACES);
  });

  test('other networks’ addresses are not given either: all come from the node’s one subnet', async () => {
    const [a, b] = [at('a', pod), at('b', second)];
    const theirs = addresses(await chain().add(a));
    const other = new Plugin(host.netns, lodenConfig(host, { name: 'other' }), path);
    const own = addresses(await other.add(b));
    expect(own.filter((ip) => theirs.includes(ip))).toEqual([]);
    await other.del(b);
    await chain().del(a);
  });
});
