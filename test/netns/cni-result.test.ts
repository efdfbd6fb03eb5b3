import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CniError } from '../../src/cni/errors.ts';
import { delegateConfig } from '../../src/cni/flannel/delegate.ts';
import { saveScratch } from '../../src/cni/flannel/scratch.ts';
import { parseFlannelEnv } from '../../src/cni/flannel/subnetEnv.ts';
import { readConfig } from '../../src/cni/protocol/config.ts';
import { failure } from '../../src/cni/protocol/failure.ts';
import { parseResult } from '../../src/cni/protocol/parseResult.ts';
import { readRequest } from '../../src/cni/protocol/request.ts';
import { formatResult, resultOf } from '../../src/cni/protocol/result.ts';
import { VERSIONS } from '../../src/cni/protocol/version.ts';
import type { Attachment } from '../../src/cni/types.ts';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { CommandError, run } from '../support/proc.ts';

/**
 * The reference plugins, as Debian packs them: what they print for the same inputs. Their result is ours, field by field, in
 * every version they know, and so is their error for every combination of faults.
 */

const PLUGINS = '/usr/lib/cni';
if (!existsSync(join(PLUGINS, 'bridge')))
  throw new Error(`no reference plugins in ${PLUGINS}: apt-get install containernetworking-plugins`);

let dir: string;
let host: Netns;
beforeAll(async () => {
  dir = thisProcess().tempDir('cniref');
  host = await Netns.create(thisProcess(), 'ref');
});
afterAll(() => host?.[Symbol.asyncDispose]());

/** Run a plugin in the host's namespace with this environment and no other; its standard output, whatever its exit code. */
async function plugin(name: string, env: Readonly<Record<string, string>>, stdin: string): Promise<string> {
  const words = Object.entries(env).map(([k, v]) => `${k}=${v}`);
  try {
    return await run(host.argv(['env', '-i', ...words, join(PLUGINS, name)]), { input: stdin });
  } catch (e) {
    if (e instanceof CommandError) return e.stdout;
    throw e;
  }
}

const KNOWN = (
  JSON.parse(await run([join(PLUGINS, 'bridge')], { env: { CNI_COMMAND: 'VERSION' } })) as {
    supportedVersions: string[];
  }
).supportedVersions;
const SHARED = VERSIONS.filter((v) => KNOWN.includes(v));

describe.each([undefined, ...SHARED])('a result of %s', (cniVersion) => {
  test.each([
    ['one family', [['10.9.1.0/24', '10.9.1.1']], []],
    [
      'both, with routes and dns',
      [
        ['10.9.2.0/24', '10.9.2.1'],
        ['fd00:9:2::/64', 'fd00:9:2::1'],
      ],
      ['10.96.0.0/12', 'fd00:96::/112'],
    ],
  ] as const)('for %s', async (_what, ranges, routes) => {
    await using pod = await Netns.create(thisProcess(), 'refpod');
    const dns = routes.length > 0 ? { nameservers: ['10.96.0.10'], search: ['a', 'b'] } : {};
    const name = `ref${ranges.length}`;
    const conf = {
      ...(cniVersion ? { cniVersion } : {}),
      name,
      type: 'bridge',
      bridge: name,
      isDefaultGateway: true,
      mtu: 1400,
      dns,
      ipam: {
        type: 'host-local',
        dataDir: dir,
        ranges: ranges.map(([subnet]) => [{ subnet }]),
        routes: routes.map((dst) => ({ dst })),
      },
    };
    const env = { CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0', CNI_PATH: PLUGINS };
    const stdin = JSON.stringify(conf);
    try {
      const theirs = JSON.parse(await plugin('bridge', { ...env, CNI_COMMAND: 'ADD' }, stdin));
      expect(theirs).not.toHaveProperty('code');

      // The same attachment as ours: names, MACs and addresses are what they happen to be.
      const links = (at: Netns) =>
        at.ipJson<{ ifname: string; address: string; link_type: string }[]>('link show');
      const [hostLinks, podLinks] = [await links(host), await links(pod)];
      const hostEnd = hostLinks.find((l) => l.ifname.startsWith('veth'))!;
      const eth0 = podLinks.find((l) => l.ifname === 'eth0')!;
      const bridge = hostLinks.find((l) => l.ifname === name)!;
      const given =
        await pod.ipJson<{ addr_info: { local: string; prefixlen: number; scope: string }[] }[]>(
          'addr show eth0',
        );
      const addresses = given[0]!.addr_info
        .filter((a) => a.scope === 'global')
        .map((a) => prefix(`${a.local}/${a.prefixlen}`));
      const request = readRequest({
        env: { ...env, CNI_COMMAND: 'ADD' },
        stdin: JSON.stringify({ ...conf, type: 'loden', ipam: { ...conf.ipam } }),
      });
      if (request.command !== 'ADD' || request.config.type !== 'loden')
        throw new Error('read as something else');
      const ours: Attachment = {
        ...request.config,
        mode: 'bridge',
        network: request.network,
        containerId: request.containerId,
        ifname: request.ifname,
        netns: request.netns,
        hostIf: hostEnd.ifname,
        hostMac: mac(hostEnd.address),
        mac: mac(eth0.address),
        mtu: request.config.mtu!,
        addresses: ranges.map(([, gateway], i) => ({ address: addresses[i]!, gateway: addr(gateway) })),
      };
      const facts = { bridgeMac: mac(bridge.address), dns: request.config.dns };
      expect(formatResult(request.version, resultOf(ours, facts))).toEqual(theirs);
      // And theirs is a prevResult for us: read, it says the same again.
      expect(formatResult(request.version, parseResult(theirs))).toEqual(theirs);
    } finally {
      await plugin('bridge', { ...env, CNI_COMMAND: 'DEL' }, stdin);
    }
  });
});

describe('as a delegate', () => {
  const V4 = 'FLANNEL_NETWORK=10.8.0.0/16\nFLANNEL_SUBNET=10.8.3.1/24\n';
  const V6 = 'FLANNEL_IPV6_NETWORK=fd00:8::/48\nFLANNEL_IPV6_SUBNET=fd00:8:0:3::1/64\n';
  const store = (network: string) =>
    readdirSync(join(dir, network)).filter((name) => /^[0-9a-f.:]+$/.test(name) && /[.:]/.test(name));

  test.each([
    ['bridge', 'IPv4', V4, ['10.8.3.2']],
    ['bridge', 'IPv6', V6, ['fd00:8:0:3::2']],
    ['bridge', 'both', V4 + V6, ['10.8.3.2', 'fd00:8:0:3::2']],
    ['ptp', 'both', V4 + V6, ['10.8.3.2', 'fd00:8:0:3::2']],
  ])(
    '%s takes what flannel would give it, %s, and what was kept of that',
    async (type, stack, file, expected) => {
      await using pod = await Netns.create(thisProcess(), 'refpod');
      const network = `d-${type}-${stack}`;
      const delegate = type === 'bridge' ? { bridge: `d-${stack}` } : { type };
      const raw = { cniVersion: '1.0.0', name: network, type: 'flannel', delegate, ipam: { dataDir: dir } };
      const { config } = readConfig(raw);
      if (config.type !== 'flannel') throw new Error('read as something else');
      const env = parseFlannelEnv(`${file}FLANNEL_MTU=1400\nFLANNEL_IPMASQ=true\n`, 'subnet.env');
      const made = delegateConfig({ network, config, raw }, env);
      const kept = await saveScratch(join(dir, 'flannel'), { containerId: 'c1', ifname: 'eth0' }, made);

      const call = { CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0', CNI_PATH: PLUGINS };
      const added = JSON.parse(await plugin(type, { ...call, CNI_COMMAND: 'ADD' }, JSON.stringify(made)));
      expect(parseResult(added).ips.map((ip) => formatAddr(ip.address.addr))).toEqual(expected);
      expect(store(network).toSorted()).toEqual(expected);
      const [eth0] = await pod.ipJson<{ mtu: number }[]>('link show eth0');
      expect(eth0).toMatchObject({ mtu: 1400 });

      // The bytes of the file, mark and all: so would flannel's plugin pass them on.
      const bytes = readFileSync(kept.path, 'utf8');
      expect(bytes).toContain('"loden"');
      expect(await plugin(type, { ...call, CNI_COMMAND: 'DEL' }, bytes)).toBe('');
      expect(store(network)).toEqual([]);
    },
  );

  test('ptp has the interfaces of our mode ptp, in the same order', async () => {
    await using pod = await Netns.create(thisProcess(), 'refpod');
    const ipam = { type: 'host-local', dataDir: dir, ranges: [[{ subnet: '10.7.1.0/24' }]] };
    const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'ptp', type: 'ptp', ipam });
    const call = { CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0', CNI_PATH: PLUGINS };
    const theirs = parseResult(JSON.parse(await plugin('ptp', { ...call, CNI_COMMAND: 'ADD' }, stdin)));
    await plugin('ptp', { ...call, CNI_COMMAND: 'DEL' }, stdin);
    const [hostEnd, eth0] = theirs.interfaces;
    expect([eth0?.name, eth0?.sandbox, hostEnd?.sandbox]).toEqual(['eth0', pod.path, undefined]);
    const ours = resultOf({
      ...{ network: 'ptp', containerId: 'c1', ifname: 'eth0', netns: pod.path, mode: 'ptp', mtu: 1500 },
      ...{
        hostIf: hostEnd!.name,
        hostMac: mac(hostEnd!.mac!),
        mac: mac(eth0!.mac!),
        hairpin: false,
        routes: [],
      },
      addresses: [{ address: theirs.ips[0]!.address, gateway: theirs.ips[0]!.gateway! }],
      dataDir: dir,
    });
    const said = formatResult('1.0.0', ours);
    const reference = formatResult('1.0.0', theirs);
    expect(said.interfaces).toEqual(reference.interfaces);
    // The address is what the interface has: one host of its own, where the reference leaves the subnet's length.
    expect(said.ips).toEqual([{ interface: 1, address: '10.7.1.2/32', gateway: '10.7.1.1' }]);
    expect(reference.ips).toEqual([{ interface: 1, address: '10.7.1.2/24', gateway: '10.7.1.1' }]);
  });
});

/** One of each for a call; the first of each is right. */
const CHOICES = {
  CNI_COMMAND: ['ADD', 'DEL', 'CHECK', ''],
  CNI_CONTAINERID: ['c1', '', 'a b'],
  CNI_NETNS: ['/nowhere', ''],
  CNI_IFNAME: ['eth0', '', 'a/b', '1234567890123456'],
  CNI_PATH: [PLUGINS, ''],
} as const;
const CONFIGS = [
  { name: 'x', cniVersion: '1.0.0', type: 'loden', prevResult: {} },
  '',
  '{',
  '[]',
  'null',
  { name: 5 },
  { name: '' },
  { name: 'a b' },
  { NAME: 'x', CniVersion: '9.9.9' },
  { name: 'x', cniVersion: 5 },
  { name: 'x', cniVersion: '0.3.1', type: 'loden' },
  { name: 'x', type: 'loden' },
];

/** Every combination of at most three faults. */
function combinations(): { env: Record<string, string>; conf: object | string }[] {
  const lists = [...Object.values(CHOICES), CONFIGS] as readonly (readonly (string | object)[])[];
  let all: (readonly (string | object)[])[] = [[]];
  for (const list of lists) all = all.flatMap((done) => list.map((value) => [...done, value]));
  const names = Object.keys(CHOICES);
  return all
    .filter((values) => values.filter((v, i) => v !== lists[i]![0] && !(i === 0 && v !== '')).length <= 3)
    .map((values) => ({
      env: Object.fromEntries(names.map((name, i) => [name, values[i] as string])),
      conf: values.at(-1)!,
    }));
}

test('errors are those of the reference, whichever faults come together', { timeout: 240_000 }, async () => {
  const cases = combinations();
  expect(cases.length).toBeGreaterThan(500);
  /** Faults of what comes behind the protocol, which are each plugin's own. */
  const isProtocol = (code: number | undefined) => code !== undefined && [1, 3, 4, 6, 7].includes(code);
  let compared = 0;
  const next = cases.values();
  const worker = async (): Promise<void> => {
    for (const { env, conf } of next) {
      const stdin = typeof conf === 'string' ? conf : JSON.stringify(conf);
      const said = await plugin('bridge', env, stdin);
      const theirs =
        said === '' ? undefined : (JSON.parse(said) as { code: number; msg: string; details?: string });
      let ours: { code: number; msg: string; details?: string } | undefined;
      try {
        readRequest({ env, stdin });
      } catch (e) {
        expect(e).toBeInstanceOf(CniError);
        const { cniVersion: _, ...rest } = failure(undefined, e);
        ours = rest;
      }
      const what = JSON.stringify({ env, stdin });
      // About text on standard error, and exit 0: the plugin binary does this without us.
      if (env.CNI_COMMAND === '') {
        expect(ours?.msg, what).toBe('required env variables [CNI_COMMAND] missing');
        continue;
      }
      if (!isProtocol(theirs?.code)) {
        expect(ours, what).toBeUndefined();
        continue;
      }
      compared++;
      expect(ours?.code, what).toBe(theirs!.code);
      const version = stdin.includes('9.9.9') && theirs!.code === 1;
      // Each says in its own words what is wrong with JSON. A version nobody knows is one answer for all commands here.
      if (theirs!.code === 6) expect(ours!.msg.split(':')[0], what).toBe(theirs!.msg.split(':')[0]);
      else if (!version) expect(ours, what).toEqual(theirs);
      else
        expect(ours, what).toMatchObject({
          msg: 'incompatible CNI versions',
          details: expect.stringContaining('config is "9.9.9"'),
        });
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  expect(compared).toBeGreaterThan(400);
});
