import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CNI, FILES, POD_ROUTE_PROTOCOL } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import { NO_TRACES, traces } from '../support/cniTraces.ts';
import type { Host } from '../support/host.ts';
import { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import {
  lodenConfig,
  PLUGIN_DIR,
  Plugin,
  type PluginResult,
  type PluginRun,
  storeOf,
} from '../support/plugin.ts';
import { until } from '../support/proc.ts';

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
type Version = (typeof VERSIONS)[number];
const since = (version: Version, floor: Version) => VERSIONS.indexOf(version) >= VERSIONS.indexOf(floor);

let cluster: Cluster;
let host: Host;
let pod: Netns;
beforeAll(async () => {
  cluster = await Cluster.start(1, { families: [4, 6] });
  host = cluster.hosts[0]!;
  pod = await Netns.create(cluster.owner, 'pod');
});
afterAll(async () => {
  await pod?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const plugin = (more: Readonly<Record<string, unknown>> = {}, on = host) =>
  new Plugin(on.netns, lodenConfig(on, more));

/** Standard output as JSON; the error of the specification when the exit code is 1. */
const said = (run: PluginRun) => JSON.parse(run.stdout) as Record<string, unknown>;

/** How a call ended, to be compared with the table. */
const outcome = (run: PluginRun) => {
  const { cniVersion, code, msg } = said(run);
  return { status: run.status, cniVersion, code, msg };
};

/** `eth0` in the pod, with an address of every family. */
async function expectAttached({ ips }: PluginResult): Promise<void> {
  const [eth0] =
    await pod.ipJson<{ addr_info: { local: string; prefixlen: number; scope: string }[] }[]>(
      'addr show eth0',
    );
  const inside = eth0!.addr_info.filter((a) => a.scope === 'global').map((a) => `${a.local}/${a.prefixlen}`);
  expect(inside.toSorted()).toEqual(ips.map((ip) => ip.address).toSorted());
  for (const { gateway } of ips) expect(await ping(pod, gateway!, 5)).toBeDefined();
}

/** What a test that failed has left must not fail the others. */
afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail') return;
  if (host.daemon.ended !== undefined) await host.start();
  for (const id of ['c', 'd', 'e', 'keep', 'lose', 'also'])
    await plugin()
      .del({ id })
      .catch(() => {});
  await pod.ip('link del eth0').catch(() => {});
});

describe.each(VERSIONS)('version %s', (cniVersion) => {
  const good = { id: 'c', netns: '' };
  beforeAll(() => {
    good.netns = pod.path;
  });

  test('ADD, CHECK and DEL, with its form of the result', async () => {
    const { FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU } = host.subnetEnv();
    const gateways = [FLANNEL_SUBNET!.replace('/24', ''), FLANNEL_IPV6_SUBNET!.replace('/64', '')];
    const add = await plugin({ cniVersion }).call('ADD', good);
    const result = said(add);
    expect(add.stderr).toBe('');
    const mac = expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    if (!since(cniVersion, '0.3.0')) {
      expect(Object.keys(result).toSorted()).toEqual(['cniVersion', 'dns', 'ip4', 'ip6']);
      expect(result).toMatchObject({
        cniVersion,
        ip4: { ip: expect.stringMatching(/^10\.42\..*\/24$/), gateway: gateways[0] },
        ip6: { ip: expect.stringMatching(/^fd00:42:.*\/64$/), gateway: gateways[1] },
      });
      expect(result).toHaveProperty('ip4.routes.0.dst', '0.0.0.0/0');
      expect(result).toHaveProperty('ip6.routes.0.dst', '::/0');
      const { ip4, ip6 } = result as { ip4: { ip: string }; ip6: { ip: string } };
      await expectAttached({
        cniVersion,
        ips: [ip4, ip6].map(({ ip }, i) => ({ address: ip, gateway: gateways[i]! })),
      });
    } else {
      const mtu = since(cniVersion, '1.1.0') ? { mtu: Number(FLANNEL_MTU) } : {};
      const own = since(cniVersion, '1.0.0') ? [{}, {}] : [{ version: '4' }, { version: '6' }];
      const { interfaces, ips, routes, dns, ...rest } = result as unknown as PluginResult;
      expect(rest).toEqual({ cniVersion });
      expect(dns).toEqual({});
      expect(interfaces).toEqual([
        { ...interfaces![0], name: 'cni0', mac },
        { name: expect.stringMatching(/^veth/), mac, ...mtu },
        { name: 'eth0', mac, sandbox: pod.path, ...mtu },
      ]);
      expect(interfaces![0]).not.toHaveProperty('sandbox');
      if (!since(cniVersion, '1.1.0')) expect(Object.keys(interfaces![0]!)).toHaveLength(2);
      expect(ips).toEqual([
        { ...own[0], address: expect.stringMatching(/^10\.42\..*\/24$/), gateway: gateways[0], interface: 2 },
        { ...own[1], address: expect.stringMatching(/^fd00:42:.*\/64$/), gateway: gateways[1], interface: 2 },
      ]);
      expect(routes!.map((r) => r.dst)).toEqual(['0.0.0.0/0', '::/0']);
      await expectAttached(result as unknown as PluginResult);
    }
    const check = await plugin({ cniVersion, prevResult: result }).run(plugin().env('CHECK', good), '{}');
    expect(check.status).toBe(1);
    if (since(cniVersion, '0.4.0')) {
      expect(await plugin({ cniVersion, prevResult: result }).call('CHECK', good)).toEqual({
        status: 0,
        stdout: '',
        stderr: '',
      });
    }
    for (const _ of [1, 2]) {
      const del = await plugin({ cniVersion, prevResult: result }).call('DEL', good);
      expect(del).toEqual({ status: 0, stdout: '', stderr: '' });
    }
    expect(await traces(host)).toEqual(NO_TRACES);
    await expect(pod.ip('link show eth0')).rejects.toThrow();
  });

  /** What is wrong in a call of ADD, or of another command; environment as told, undefined: not set. */
  type Row = readonly [
    what: string,
    change: { env?: Readonly<Record<string, string | undefined>>; config?: object; stdin?: string },
    code: number,
    msg: string | RegExp,
  ];
  const table: readonly Row[] = [
    [
      'no container id and no namespace',
      { env: { CNI_CONTAINERID: undefined, CNI_NETNS: undefined } },
      4,
      'required env variables [CNI_CONTAINERID,CNI_NETNS] missing',
    ],
    ['no interface', { env: { CNI_IFNAME: undefined } }, 4, 'required env variables [CNI_IFNAME] missing'],
    [
      'nothing, for a DEL',
      { env: { CNI_COMMAND: 'DEL', CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '' } },
      4,
      'required env variables [CNI_CONTAINERID,CNI_IFNAME] missing',
    ],
    ['a command that is none', { env: { CNI_COMMAND: 'FOO' } }, 4, 'unknown CNI_COMMAND: FOO'],
    ...['-a', 'a/b', 'a b', 'ä', '../a'].map(
      (id): Row => [
        `container id ${id}`,
        { env: { CNI_CONTAINERID: id } },
        4,
        'invalid characters in containerID',
      ],
    ),
    [
      'a DEL of a bad container id',
      { env: { CNI_COMMAND: 'DEL', CNI_CONTAINERID: '-' } },
      4,
      /^invalid char/,
    ],
    ['a long interface', { env: { CNI_IFNAME: 'e123456789012345' } }, 4, 'interface name is too long'],
    ...['.', '..'].map(
      (name): Row => [`interface ${name}`, { env: { CNI_IFNAME: name } }, 4, 'interface name is . or ..'],
    ),
    ...['a/b', 'a:b', 'a b', 'a\tb'].map(
      (name): Row => [
        `interface ${name}`,
        { env: { CNI_IFNAME: name } },
        4,
        'interface name contains / or : or whitespace characters',
      ],
    ),
    ['no network name', { config: { name: undefined } }, 7, 'missing network name'],
    ['an empty network name', { config: { name: '' } }, 7, 'missing network name'],
    ...['a/b', '../../etc', 'a b', '-a'].map(
      (name): Row => [`network ${name}`, { config: { name } }, 7, 'invalid characters found in network name'],
    ),
    ['a namespace that is our own', {}, 8, /^plugin's netns and netns from CNI_NETNS should not be the same/],
    ['arguments nobody knows', { env: { CNI_ARGS: 'FOO=bar' } }, 4, /unknown args.*FOO=bar/],
    ['arguments that are none', { env: { CNI_ARGS: 'FOO' } }, 4, /invalid pair/],
    ...(since(cniVersion, '0.4.0')
      ? []
      : [['CHECK', { env: { CNI_COMMAND: 'CHECK' } }, 1, 'config version does not allow CHECK'] as Row]),
    ...(since(cniVersion, '1.1.0') ? [] : ['GC', 'STATUS']).map(
      (command): Row => [
        command,
        { env: { CNI_COMMAND: command } },
        1,
        `config version does not allow ${command}`,
      ],
    ),
  ];
  test.each(table)('%s', async (what, { env, config }, code, msg) => {
    const netns = what.includes('our own') ? host.netns.path : pod.path;
    const wanted = { ...plugin().env('ADD', { ...good, netns }), ...env };
    const set = Object.fromEntries(Object.entries(wanted).filter(([, v]) => v !== undefined)) as Record<
      string,
      string
    >;
    const run = await plugin().run(set, JSON.stringify(lodenConfig(host, { cniVersion, ...config })));
    expect(outcome(run)).toEqual({
      status: 1,
      cniVersion,
      code,
      msg: typeof msg === 'string' ? msg : expect.stringMatching(msg),
    });
    expect(run.stderr).toBe('');
  });

  test('nothing of all that is left', async () => {
    expect(await traces(host)).toEqual(NO_TRACES);
  });

  test('VERSION and the about text, with a daemon and without', async () => {
    for (const config of [{}, { socket: '/nowhere/loden.sock' }]) {
      const version = await plugin({ cniVersion, ...config }).call('VERSION');
      expect(said(version)).toEqual({ cniVersion, supportedVersions: VERSIONS });
      const about = await plugin(config).run({}, '');
      expect(about).toMatchObject({ status: 0, stdout: '' });
      expect(about.stderr).toContain(`CNI protocol versions supported: ${VERSIONS.join(', ')}\n`);
    }
  });
});

describe('whatever the version', () => {
  const env = () => plugin().env('ADD', { id: 'c', netns: pod.path });
  const failing = async (stdin: string) => {
    const run = await plugin().run(env(), stdin);
    expect(await traces(host)).toEqual(NO_TRACES);
    expect(run.status).toBe(1);
    return said(run);
  };

  test.each(['', '{', '[]', '"x"', '{"name":"pods"} {}', '{"name":7}'])(
    'the configuration %j',
    async (text) => {
      // It names no socket: the daemon is where it is by default.
      const there =
        'mount -t tmpfs run /run && mkdir /run/loden && mount --bind "$1" /run/loden && exec "$0"';
      const argv = ['unshare', '-m', 'sh', '-c', there, join(PLUGIN_DIR, 'loden'), host.runDir];
      const run = host.netns.run(argv, { env: env(), input: text });
      await expect(run).rejects.toMatchObject({
        status: 1,
        stdout: expect.stringMatching(/"code":6,"msg":"error unmarshall network config: /),
      });
      expect(await traces(host)).toEqual(NO_TRACES);
    },
  );

  test.each(['0.0.1', '0.5.0', '1.2.0', '2.0.0', 'one'])('version %s', async (cniVersion) => {
    expect(await failing(JSON.stringify(lodenConfig(host, { cniVersion })))).toMatchObject({
      code: 1,
      msg: 'incompatible CNI versions',
    });
  });

  test('no version is 0.1.0', async () => {
    const { cniVersion: _, ...config } = lodenConfig(host);
    const run = await plugin().run(env(), JSON.stringify(config));
    expect(said(run)).toMatchObject({ cniVersion: '0.1.0', ip4: {}, ip6: {} });
    await plugin().call('DEL', { id: 'c', netns: pod.path });
  });

  test('a standard input that cannot be read, or never ends', async () => {
    const command = [join(PLUGIN_DIR, 'loden')];
    const directory = host.netns.run(['sh', '-c', `exec "$0" </`, ...command], { env: env() });
    await expect(directory).rejects.toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/"code":5,"msg":"error reading from stdin: /),
    });
    const endless = await plugin().run(env(), ' '.repeat(2 << 20));
    expect(outcome(endless)).toMatchObject({
      status: 1,
      code: 5,
      msg: expect.stringMatching(/^error reading from stdin: /),
    });
  });

  test('a namespace that is not there, or is none', async () => {
    for (const netns of ['/run/netns/nobody', '/etc/passwd', 'relative']) {
      const run = await plugin().run(
        plugin().env('ADD', { id: 'c', netns }),
        JSON.stringify(lodenConfig(host)),
      );
      expect(run.status).toBe(1);
      expect(said(run).msg).toContain(netns);
      expect(await traces(host)).toEqual(NO_TRACES);
    }
  });

  test('an interface that is there already stays as it is', async () => {
    await pod.ip('link add eth0 type bridge');
    await expect(plugin().add({ id: 'c', netns: pod.path })).rejects.toThrow(/eth0/);
    expect(await traces(host)).toEqual(NO_TRACES);
    expect(await pod.ip('-d link show eth0')).toContain('bridge');
    await pod.ip('link del eth0');

    const result = await plugin().add({ id: 'c', netns: pod.path });
    const before = await traces(host);
    await expect(plugin().add({ id: 'c', netns: pod.path })).rejects.toThrow(/eth0/);
    await expect(plugin().add({ id: 'other', netns: pod.path })).rejects.toThrow(/eth0/);
    expect(await traces(host)).toEqual(before);
    await expectAttached(result);
    await plugin().del({ id: 'c', netns: pod.path });
  });

  test('with CNI_NETNS_OVERRIDE the namespace may be the plugin’s own', async () => {
    const own = { ...plugin().env('DEL', { id: 'c', netns: host.netns.path }), CNI_NETNS_OVERRIDE: '1' };
    const run = await plugin().run(own, JSON.stringify(lodenConfig(host)));
    expect(run).toMatchObject({ status: 0, stdout: '' });
  });

  test('what is asked for is given, or nothing', async () => {
    const subnet = host.subnetEnv().FLANNEL_SUBNET!.replace('1/24', '');
    const container = { id: 'c', netns: pod.path };
    const byArgs = { ...container, args: `IgnoreUnknown=1;FOO=bar;IP=${subnet}77;MAC=0e:00:00:00:00:77` };
    const asking = [
      () => plugin().add(byArgs),
      () =>
        plugin({
          capabilities: { ips: true, mac: true },
          runtimeConfig: { ips: [`${subnet}77/24`], mac: '0e:00:00:00:00:77' },
        }).add(container),
    ];
    for (const ask of asking) {
      const { ips, interfaces } = await ask();
      expect(ips[0]!.address).toBe(`${subnet}77/24`);
      expect(interfaces!.at(-1)!.mac).toBe('0e:00:00:00:00:77');
      expect(await pod.ip('link show eth0')).toContain('0e:00:00:00:00:77');
      await using other = await Netns.create(cluster.owner, 'other');
      const second = plugin().add({ ...byArgs, id: 'd', netns: other.path });
      await expect(second).rejects.toThrow(`${subnet}77`);
      await plugin().del(container);
    }
    for (const args of [
      'IP=192.0.2.77',
      `IP=${subnet}1`,
      `IP=${subnet}255`,
      'IP=nonsense',
      'MAC=01:00:5e:00:00:01',
    ]) {
      await expect(plugin().add({ ...container, args })).rejects.toThrow(args.split('=')[1]!);
    }
    expect(await traces(host)).toEqual(NO_TRACES);
  });

  test('CHECK tells what is no longer as it was made', async () => {
    const container = { id: 'c', netns: pod.path };
    const result = await plugin().add(container);
    const check = () => plugin().check(container, result);
    const veth = result.interfaces![1]!.name;
    const gateway = result.ips[0]!.gateway!;
    const v6 = result.ips[1]!.address;
    await check();
    const changes: readonly [change: () => Promise<string>, undo: () => Promise<string>, told: string][] = [
      [
        () => pod.ip('route del default'),
        () => pod.ip(`route add default via ${gateway} proto ${POD_ROUTE_PROTOCOL}`),
        `default via ${gateway}`,
      ],
      [() => pod.ip(`-6 addr del ${v6} dev eth0`), () => pod.ip(`addr add ${v6} dev eth0`), v6],
      [() => pod.ip('link set eth0 mtu 1400'), () => pod.ip('link set eth0 mtu 1430'), 'eth0'],
      [
        () => host.netns.ip(`link set ${veth} nomaster`),
        async () => {
          await host.netns.ip(`link set ${veth} master cni0`);
          return host.netns.ip(`link set ${veth} type bridge_slave hairpin on`);
        },
        veth,
      ],
      [
        () => host.netns.ip(`link set ${veth} type bridge_slave hairpin off`),
        () => host.netns.ip(`link set ${veth} type bridge_slave hairpin on`),
        veth,
      ],
    ];
    for (const [change, undo, told] of changes) {
      await change();
      await expect(check(), told).rejects.toMatchObject({ code: 104, msg: expect.stringContaining(told) });
      await undo();
      if (told === v6)
        await pod.ip(`-6 route replace default via ${result.ips[1]!.gateway} proto ${POD_ROUTE_PROTOCOL}`);
      await check();
    }
    await pod.ip('link del eth0');
    await expect(check()).rejects.toMatchObject({ code: 104 });
    await plugin().del(container);
    await expect(check()).rejects.toThrow();
  });

  test('a DEL needs no namespace, no attachment and no good configuration', async () => {
    await using other = await Netns.create(cluster.owner, 'other');
    const add = () => plugin().add({ id: 'c', netns: other.path });
    await add();
    await plugin().del({ id: 'c', netns: '' });
    expect(await traces(host)).toEqual(NO_TRACES);
    await add();
    await plugin().del({ id: 'c', netns: '/run/netns/gone' });
    await add();
    await plugin({ ipam: { dataDir: storeOf(host), routes: 'nonsense' }, mtu: 'big' }).call('DEL', {
      id: 'c',
    });
    expect(await traces(host)).toEqual(NO_TRACES);
    await add();
    await other[Symbol.asyncDispose]();
    await plugin().del({ id: 'c', netns: other.path });
    await plugin().del({ id: 'unknown', netns: other.path });
    expect(await traces(host)).toEqual(NO_TRACES);
  });

  test('GC frees what is not valid, STATUS says that all is well', async () => {
    const latest = { cniVersion: '1.1.0' };
    const ids = ['keep', 'lose', 'also'];
    const pods = await Promise.all(ids.map((id) => Netns.create(cluster.owner, id)));
    for (const [i, id] of ids.entries()) await plugin(latest).add({ id, netns: pods[i]!.path });
    const kept = await traces(host);
    // Of the same network and of nobody: host-local's chain has left it.
    const { FLANNEL_SUBNET } = host.subnetEnv();
    const orphan = FLANNEL_SUBNET!.replace('1/24', '200');
    writeFileSync(join(storeOf(host), 'pods', orphan), 'nobody\r\neth0');
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'keep', ifname: 'eth0' }] };
    expect(await plugin({ ...latest, ...valid }).call('GC')).toEqual({ status: 0, stdout: '', stderr: '' });
    const after = await traces(host);
    expect([after.addresses, after.veths, after.records].map((l) => l.length)).toEqual([2, 1, 1]);
    expect(kept.addresses).toEqual(expect.arrayContaining([...after.addresses]));
    expect(await ping(pods[0]!, FLANNEL_SUBNET!.replace('/24', ''), 5)).toBeDefined();
    expect(await plugin(latest).call('STATUS')).toEqual({ status: 0, stdout: '', stderr: '' });
    await plugin(latest).del({ id: 'keep', netns: pods[0]!.path });
    await Promise.all(pods.map((p) => p[Symbol.asyncDispose]()));
    expect(await traces(host)).toEqual(NO_TRACES);
  });
});

describe('without a daemon', () => {
  const container = () => ({ id: 'c', netns: pod.path });
  const socket = () => join(host.runDir, FILES.controlSocket);
  const latest = { cniVersion: '1.1.0' };

  test('that never ran: the socket and what to do are told', async () => {
    const none = '/nowhere/loden.sock';
    for (const [command, code] of [
      ['ADD', 11],
      ['CHECK', 11],
      ['GC', 11],
      ['STATUS', 50],
    ] as const) {
      const run = await plugin().run(
        plugin().env(command, container()),
        JSON.stringify(lodenConfig(host, { ...latest, socket: none })),
      );
      expect(outcome(run)).toMatchObject({ status: 1, cniVersion: '1.1.0', code });
      expect(run.stdout).toContain(none);
      expect(run.stdout).toContain('systemctl start loden');
    }
    expect(await traces(host)).toEqual(NO_TRACES);
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'that was ended by %s: a DEL waits on disk until the next one',
    async (signal) => {
      await using gone = await Netns.create(cluster.owner, 'gone');
      await plugin().add(container());
      await plugin().add({ id: 'd', netns: gone.path });
      const before = await traces(host);
      expect(before.addresses).toHaveLength(4);
      await host.stop(signal);
      await gone[Symbol.asyncDispose]();

      // All at once: for a few seconds each waits for a daemon that is only started again.
      const adding = plugin().run(
        plugin().env('ADD', { id: 'e', netns: pod.path }),
        JSON.stringify(lodenConfig(host)),
      );
      const deleting = ['c', 'd', 'unknown'].map((id) =>
        plugin().call('DEL', { id, netns: id === 'd' ? gone.path : pod.path }),
      );
      expect(outcome(await adding)).toMatchObject({
        status: 1,
        code: 11,
        msg: expect.stringContaining(socket()),
      });
      for (const del of await Promise.all(deleting)) expect(del).toMatchObject({ status: 0, stdout: '' });
      const { queued } = await traces(host);
      expect(queued).toHaveLength(3);
      expect(queued.filter((name) => !/^\d+-\d+\.json$/.test(name))).toEqual([]);
      expect((await traces(host)).addresses).toEqual(before.addresses);

      // What somebody else has put there holds nobody up.
      writeFileSync(join(host.stateDir, CNI.delQueue, '1-1.json'), '{"env":');
      await host.start();
      await until('the queue to be carried out', async () => {
        const { addresses, veths, records } = await traces(host);
        return addresses.length + veths.length + records.length === 0;
      });
      await until('the queue to be empty', async () => (await traces(host)).queued.length === 0);
      await plugin().add(container());
      await plugin().del(container());
    },
  );

  test('whose queue cannot be written a DEL fails', async () => {
    const file = join(host.dir, 'file');
    writeFileSync(file, '');
    const config = lodenConfig(host, { socket: '/nowhere/loden.sock', delQueue: join(file, 'del') });
    const run = await plugin().run(plugin().env('DEL', container()), JSON.stringify(config));
    expect(outcome(run)).toMatchObject({ status: 1, code: 11 });
    expect(said(run).msg).toContain(join(file, 'del'));
  });
});

describe('no address to be had', () => {
  test('without a lease: why not', async () => {
    const lost = await cluster.addHost({ endpoints: ['http://192.0.2.253:2379'] });
    await lost.start({ wait: false });
    await until('the daemon to answer', () => existsSync(join(lost.runDir, FILES.controlSocket)));
    const latest = { cniVersion: '1.1.0' };
    for (const [command, code] of [
      ['ADD', 11],
      ['STATUS', 50],
    ] as const) {
      const run = await plugin({}, lost).run(
        plugin({}, lost).env(command, { id: 'c', netns: pod.path }),
        JSON.stringify(lodenConfig(lost, latest)),
      );
      expect(outcome(run)).toMatchObject({
        status: 1,
        code,
        msg: expect.stringMatching(/no subnet yet|etcd/),
      });
    }
    await plugin({}, lost).del({ id: 'c', netns: pod.path });
    expect(await traces(lost)).toEqual(NO_TRACES);
    await lost.stop();
  });

  test('with the subnet used up: how many of how many', async () => {
    await using small = await Cluster.start(1, { config: { SubnetLen: 30 } });
    const [on] = small.hosts as [Host];
    await plugin({}, on).add({ id: 'c', netns: pod.path });
    await using other = await Netns.create(small.owner, 'other');
    const before = await traces(on);
    const full = plugin({}, on).add({ id: 'd', netns: other.path });
    await expect(full).rejects.toMatchObject({
      code: 100,
      msg: expect.stringMatching(/\b1 of 1\b|\ball 1\b/),
    });
    expect(await traces(on)).toEqual(before);
    await plugin({}, on).del({ id: 'c', netns: pod.path });
    await plugin({}, on).add({ id: 'd', netns: other.path });
    await plugin({}, on).del({ id: 'd', netns: other.path });
    expect(await traces(on)).toEqual(NO_TRACES);
  });
});
