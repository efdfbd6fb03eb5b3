import { describe, expect, test } from 'vitest';
import { Attacher } from '../../src/cni/attach/attacher.ts';
import type { NodeChange } from '../../src/cni/engine.ts';
import type { Attachment, Mode } from '../../src/cni/types.ts';
import { network, samePrefix } from '../../src/net/prefix.ts';
import { AttachHost, addressOf, attachment, type Families, gatewayOf, nodeOf } from '../support/cniAttach.ts';
import type { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { ping } from '../support/ping.ts';

const create = () => AttachHost.create(thisProcess());

/** Addresses of the bridge, less the link-local ones. */
async function bridgeAddresses(host: AttachHost): Promise<string[]> {
  const [link] =
    await host.netns.ipJson<{ addr_info: { local: string; prefixlen: number; scope: string }[] }[]>(
      'addr show dev cni0',
    );
  return link!.addr_info
    .filter(({ scope }) => scope === 'global')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
    .sort();
}

const bridge = async (host: AttachHost): Promise<Record<string, unknown>> =>
  (await host.netns.ipJson('link show dev cni0'))[0]!;

describe('the bridge', () => {
  test('is made with MAC, MTU, gateway and mark, and guards itself from routers', async () => {
    await using host = await create();
    const pod = await host.pod();
    await host.add(attachment(2, { families: [4, 6], netns: pod.path }), nodeOf([4, 6]));
    expect(await bridge(host)).toMatchObject({
      address: '0a:58:0a:2a:01:01',
      mtu: 1450,
      ifalias: 'loden cni',
    });
    expect(await bridgeAddresses(host)).toEqual(['10.42.1.1/24', 'fd00:42:0:1::1/64']);
    const sysctls = ['ipv6/conf/cni0/accept_ra', 'ipv4/ip_forward', 'ipv6/conf/all/forwarding'];
    const values = await host.netns.run(['sh', '-c', `cd /proc/sys/net; cat ${sysctls.join(' ')}`]);
    expect(values.trim().split('\n')).toEqual(['0', '1', '1']);
  });

  test('of another plugin is taken as it is, and keeps its MAC when its ports go', async () => {
    await using host = await create();
    await host.netns.ipBatch([
      'link add cni0 type bridge',
      'link add old0 address 02:00:00:00:00:01 type veth peer name old1',
      'link set old0 master cni0 up',
      'link set cni0 mtu 1400 up',
      'addr add 10.42.1.1/24 dev cni0',
    ]);
    const { address } = await bridge(host);
    expect(address).toBe('02:00:00:00:00:01');
    const pod = await host.pod();
    await host.add(attachment(2, { netns: pod.path }), nodeOf([4]));
    await host.netns.ip('link del old0');
    const after = await bridge(host);
    expect(after).toMatchObject({ address, mtu: 1450 });
    expect(after.ifalias).toBeUndefined();
    expect(await ping(pod, gatewayOf(4), 2)).toBeDefined();
  });

  test('that somebody changes is put right without an ADD', async () => {
    await using host = await create();
    const pod = await host.pod();
    await host.add(attachment(2, { netns: pod.path }), nodeOf([4]));
    await host.netns.ip('addr del 10.42.1.1/24 dev cni0');
    await expect.poll(() => bridgeAddresses(host), { timeout: 10_000 }).toEqual(['10.42.1.1/24']);
    await host.netns.ip('link set cni0 mtu 1300');
    await expect.poll(async () => (await bridge(host)).mtu, { timeout: 10_000 }).toBe(1450);
  });

  test('that somebody removes is made again by the next ADD, at once', async () => {
    await using host = await create();
    const pods = [await host.pod(), await host.pod()];
    await host.add(attachment(2, { netns: pods[0]!.path }), nodeOf([4]));
    await host.netns.ip('link del cni0');
    const a = attachment(3, { netns: pods[1]!.path });
    await host.add(a, nodeOf([4]));
    expect(await host.attacher.check(a, nodeOf([4]), host.inUse)).toEqual([]);
    expect(await ping(pods[1]!, gatewayOf(4), 2)).toBeDefined();
  });

  test('with an address that nothing explains: replaced while empty, named while in use', async () => {
    await using host = await create();
    await host.netns.ipBatch([
      'link add cni0 type bridge',
      'addr add 10.99.0.1/16 dev cni0',
      'link set cni0 up',
    ]);
    const pod = await host.pod();
    const a = attachment(2, { netns: pod.path });
    await host.netns.ipBatch([
      'link add stranger type veth peer name inner',
      'link set stranger master cni0',
    ]);
    await expect(host.add(a, nodeOf([4]))).rejects.toMatchObject({
      code: 101,
      message: expect.stringMatching(/10\.99\.0\.1\/16.*stranger.*ip addr del 10\.99\.0\.1\/16 dev cni0/s),
    });
    expect(await bridgeAddresses(host)).toEqual(['10.99.0.1/16']);
    expect(await host.attacher.hostEnds()).toEqual(new Set());
    await host.netns.ip('link del stranger');
    await host.add(a, nodeOf([4]));
    expect(await bridgeAddresses(host)).toEqual(['10.42.1.1/24']);
  });

  test("of somebody's, empty, keeps its address, and is told of", async () => {
    await using host = await create();
    await host.netns.ipBatch(['link add docker0 type bridge', 'addr add 172.17.0.1/16 dev docker0']);
    const pod = await host.pod();
    const a = { ...attachment(2, { netns: pod.path }), bridge: 'docker0' };
    await expect(host.add(a, nodeOf([4]))).rejects.toMatchObject({
      code: 101,
      message: expect.stringMatching(/docker0 .*172\.17\.0\.1\/16, .*"bridge".*ip addr del/s),
    });
    expect(await host.netns.ip('-o addr show dev docker0')).toContain('172.17.0.1/16');
    expect(await host.netns.ip('-o addr show dev docker0')).not.toContain('10.42.');
    // One that carries an address of the overlay was for pods before.
    await host.netns.ipBatch(['addr del 172.17.0.1/16 dev docker0', 'addr add 10.42.7.1/24 dev docker0']);
    await host.add(a, nodeOf([4]));
    expect(await host.netns.ip('-o addr show dev docker0')).not.toContain('10.42.7.1');
  });

  test('is none: told what it is', async () => {
    await using host = await create();
    await host.netns.ip('link add cni0 type veth peer name x');
    const pod = await host.pod();
    await expect(host.add(attachment(2, { netns: pod.path }), nodeOf([4]))).rejects.toMatchObject({
      code: 101,
      message: expect.stringContaining('veth'),
    });
  });

  test('beside another device with its subnet: told which', async () => {
    await using host = await create();
    await host.netns.ipBatch(['link add docker0 type bridge', 'addr add 10.42.1.1/24 dev docker0']);
    const pod = await host.pod();
    await expect(host.add(attachment(2, { netns: pod.path }), nodeOf([4]))).rejects.toMatchObject({
      code: 101,
      message: expect.stringContaining('docker0'),
    });
  });
});

describe('pods of mode bridge and of mode ptp reach each other', () => {
  const families: Families = [4, 6];
  const node = nodeOf(families);
  const proxies = async (host: AttachHost) =>
    (await host.netns.ipJson<{ dst: string; dev: string }[]>('neigh show proxy')).map((n) => n.dst).sort();
  const both = async (from: Netns, to: Netns, i: number, j: number) => {
    for (const family of families) {
      expect(await ping(from, addressOf(family, j), 2)).toBeDefined();
      expect(await ping(to, addressOf(family, i), 2)).toBeDefined();
    }
  };
  const make = (i: number, mode: Mode, pod: Netns) => attachment(i, { mode, families, netns: pod.path });

  test.each<{ first: Mode; second: Mode }>([
    { first: 'bridge', second: 'ptp' },
    { first: 'ptp', second: 'bridge' },
  ])('$first first', async ({ first, second }) => {
    await using host = await create();
    const pods = [await host.pod(), await host.pod()] as const;
    const [a, b] = [make(2, first, pods[0]), make(3, second, pods[1])];
    await host.add(a, node);
    expect(await proxies(host)).toEqual([]);
    await host.add(b, node);
    await both(pods[0], pods[1], 2, 3);
    // No answer waits for one who could answer better.
    const delays = ['ipv4', 'ipv6'].map((ip) => `/proc/sys/net/${ip}/neigh/cni0/proxy_delay`);
    expect(await host.netns.run(['cat', ...delays])).toBe('0\n0\n');
    const routed = first === 'ptp' ? 2 : 3;
    expect(await proxies(host)).toEqual([addressOf(4, routed), addressOf(6, routed)]);
    for (const x of [a, b]) expect(await host.attacher.check(x, node, host.inUse)).toEqual([]);
    await host.remove(routed === 2 ? a : b);
    expect(await proxies(host)).toEqual([]);
  });

  test("through a daemon's start, and another pod with the address of a routed one", async () => {
    await using host = await create();
    const pods = [await host.pod(), await host.pod(), await host.pod()] as const;
    await host.add(make(2, 'bridge', pods[0]), node);
    const routed = make(3, 'ptp', pods[1]);
    await host.add(routed, node);
    // An operator's is his.
    await host.netns.ip('neigh add proxy 10.42.1.99 dev cni0');
    await using again = await AttachHost.beside(host);
    // It died with its namespace, and nobody has told.
    await host.netns.ip(`link del ${routed.hostIf}`);
    await again.attacher.settle({ node, inUse: host.inUse, bridges: [] });
    expect(await proxies(host)).toEqual(['10.42.1.99']);
    await host.netns.ip('neigh del proxy 10.42.1.99 dev cni0');
    const next = make(4, 'ptp', pods[1]);
    await again.add(next, node);
    await both(pods[0], pods[1], 2, 4);
    // Another's end is none of its business.
    await again.attacher.settle();
    expect(await proxies(host)).toEqual([addressOf(4, 4), addressOf(6, 4)]);
    await host.netns.ip(`link del ${next.hostIf}`);
    await again.add({ ...make(5, 'bridge', pods[2]), addresses: next.addresses }, node);
    expect(await proxies(host)).toEqual([]);
    await both(pods[0], pods[2], 2, 4);
  });
});

test('another subnet, and no pod: the bridge has the new gateway at once, after a start too', async () => {
  await using host = await create();
  const pods = [await host.pod(), await host.pod()];
  const used: Attachment[] = [];
  const inUse: NodeChange['inUse'] = (p) =>
    used.some((a) => a.addresses.some(({ address }) => samePrefix(network(address), p)));
  const change = (n: number, bridges: string[] = []) => ({ node: nodeOf([4, 6], n), inUse, bridges });
  // One daemon at a time: each puts right what it believes in.
  const daemon = async (run: (attacher: Attacher) => Promise<void>) => {
    const attacher = Attacher.open({ hostNetnsFd: host.fd });
    await run(attacher).finally(() => attacher.close());
  };
  await daemon(async (attacher) => {
    await attacher.settle(change(1));
    expect(await host.netns.ip('link show')).not.toContain('cni0');
    const a = attachment(2, { families: [4, 6], netns: pods[0]!.path });
    used.push(a);
    await attacher.add(a, nodeOf([4, 6]), inUse);
    await attacher.settle(change(2));
    expect(await bridgeAddresses(host)).toHaveLength(4);
    await attacher.remove(a);
    used.pop();
    await attacher.settle();
    expect(await bridgeAddresses(host)).toEqual(['10.42.2.1/24', 'fd00:42:0:2::1/64']);
    await attacher.settle(change(3));
    expect(await bridgeAddresses(host)).toEqual(['10.42.3.1/24', 'fd00:42:0:3::1/64']);
  });
  await daemon(async (attacher) => {
    await attacher.settle(change(4));
    expect(await bridgeAddresses(host)).toEqual(['10.42.4.1/24', 'fd00:42:0:4::1/64']);
  });
  // Without the mark a bridge is another's, unless a record names it; and what fails at one is no reason for the next.
  await host.netns.ipBatch([
    'link set cni0 alias theirs',
    'link add aaa type bridge',
    'link set aaa alias "loden cni"',
    'addr add 10.99.0.1/16 dev aaa',
    'link add stranger type veth peer name inner',
    'link set stranger master aaa',
  ]);
  await daemon(async (attacher) => {
    await expect(attacher.settle(change(5))).rejects.toMatchObject({ code: 101 });
    expect(await bridgeAddresses(host)).toContain('10.42.4.1/24');
    await expect(attacher.settle(change(5, ['cni0', 'gone']))).rejects.toMatchObject({ code: 101 });
    expect(await bridgeAddresses(host)).toEqual(['10.42.5.1/24', 'fd00:42:0:5::1/64']);
    expect(await host.netns.ip('link show')).not.toContain('gone');
  });
});

test.each<{ families: Families }>([{ families: [4] }, { families: [4, 6] }])(
  'another subnet, families $families: old pods reach each other and their gateway, which goes with the last of them',
  async ({ families }) => {
    await using host = await create();
    const pods: Netns[] = [];
    for (let i = 0; i < 4; i++) pods.push(await host.pod());
    const old = [2, 3].map((i) => attachment(i, { families, netns: pods[i - 2]!.path }));
    for (const a of old) await host.add(a, nodeOf(families, 1));
    const { address } = await bridge(host);
    const node = nodeOf(families, 2);
    const next = attachment(4, { families, netns: pods[2]!.path, subnet: 2 });
    await host.add(next, node);
    for (const family of families) {
      expect(await ping(pods[0]!, addressOf(family, 3), 2)).toBeDefined();
      expect(await ping(pods[0]!, gatewayOf(family, 1), 2)).toBeDefined();
      expect(await ping(pods[2]!, gatewayOf(family, 2), 2)).toBeDefined();
      expect(await ping(pods[2]!, addressOf(family, 2), 2)).toBeDefined();
    }
    expect((await bridge(host)).address).toBe(address);
    expect(host.attacher.kept().map((k) => k.bridge)).toEqual(families.map(() => 'cni0'));
    for (const a of [...old, next]) expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
    await host.remove(old[0]!);
    expect(await bridgeAddresses(host)).toHaveLength(2 * families.length);
    await host.remove(old[1]!);
    expect(await bridgeAddresses(host)).toHaveLength(families.length);
    expect(await bridgeAddresses(host)).toContain('10.42.2.1/24');
    expect(host.attacher.kept()).toEqual([]);
    // A new start in between: what was a gateway, and of use to nobody, is no stranger's.
    await host.netns.ip('addr add 10.42.1.1/24 dev cni0');
    await using again = await AttachHost.beside(host);
    await again.add(attachment(5, { families, netns: pods[3]!.path, subnet: 2 }), node);
    expect(await bridgeAddresses(host)).not.toContain('10.42.1.1/24');
  },
);
