import { describe, expect, test } from 'vitest';
import { hostAlias } from '../../src/cni/attach/names.ts';
import type { Mode } from '../../src/cni/types.ts';
import { AttachHost, addressOf, attachment, type Families, gatewayOf, nodeOf } from '../support/cniAttach.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { ping } from '../support/ping.ts';

const MODES: readonly Mode[] = ['bridge', 'ptp'];
const FAMILIES: readonly Families[] = [[4], [6], [4, 6]];
const EVERY = MODES.flatMap((mode) => FAMILIES.map((families) => ({ mode, families })));

const create = () => AttachHost.create(thisProcess());

/** A namespace beside the host, which routes the host's pods to it: another node's pod, as far as packets know. */
async function elsewhere(host: AttachHost): Promise<Netns> {
  const other = await Netns.create(thisProcess(), 'other');
  await host.netns.ip(`link add up0 type veth peer name up0 netns ${other.name}`);
  await host.netns.ipBatch([
    'addr add 192.0.2.1/24 dev up0',
    'addr add 2001:db8::1/64 dev up0',
    'link set up0 up',
  ]);
  await other.ipBatch([
    'addr add 192.0.2.2/24 dev up0',
    'addr add 2001:db8::2/64 dev up0',
    'link set up0 up',
    'route add 10.42.0.0/16 via 192.0.2.1',
    'route add fd00:42::/48 via 2001:db8::1',
  ]);
  return other;
}

describe('ADD', () => {
  test.each(EVERY)(
    'mode $mode, families $families: pods reach each other, gateway and other hosts',
    async ({ mode, families }) => {
      await using host = await create();
      await using other = await elsewhere(host);
      const node = nodeOf(families);
      const pods = [await host.pod(), await host.pod()];
      const before = await host.portrait(pods[0]);
      const made = pods.map((pod, i) => attachment(i + 2, { mode, families, netns: pod.path }));
      for (const a of made) await host.add(a, node);
      for (const family of families) {
        const world = family === 4 ? '192.0.2.2' : '2001:db8::2';
        for (const to of [addressOf(family, 3), gatewayOf(family), world]) {
          expect(await ping(pods[0]!, to, 2), to).toBeDefined();
        }
        expect(await ping(other, addressOf(family, 2), 2)).toBeDefined();
        expect(await ping(host.netns, addressOf(family, 2), 2)).toBeDefined();
      }
      const [link] = await pods[0]!.ipJson('link show dev eth0');
      expect(link).toMatchObject({ mtu: 1450, address: made[0]!.mac, operstate: 'UP' });
      const [end] = await host.netns.ipJson(`link show dev ${made[0]!.hostIf}`);
      expect(end).toMatchObject({ mtu: 1450, address: made[0]!.hostMac, ifalias: hostAlias(made[0]!) });
      const sysctl = await pods[0]!.run(['cat', '/proc/sys/net/ipv6/conf/eth0/accept_ra']);
      expect(sysctl.trim()).toBe('0');
      for (const a of made) expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
      for (const a of made) await host.remove(a);
      expect(await host.portrait(pods[0])).toBe(before);
      expect(await host.attacher.hostEnds()).toEqual(new Set());
    },
  );

  test('IPv6 where new devices have none', async () => {
    await using host = await create();
    const pod = await host.pod();
    await pod.sysctl({ 'net/ipv6/conf/default/disable_ipv6': 1 });
    const a = attachment(2, { families: [6], netns: pod.path });
    await host.add(a, nodeOf([6]));
    expect(await ping(pod, gatewayOf(6), 2)).toBeDefined();
  });

  test('no interface is taken over: it is told which, and stays', async () => {
    await using host = await create();
    const pod = await host.pod();
    const a = attachment(2, { netns: pod.path });
    await host.add(a, nodeOf([4]));
    const before = [await host.portrait(), await host.portrait(pod)];
    const again = attachment(3, { netns: pod.path });
    await expect(host.attacher.add(again, nodeOf([4]), host.inUse)).rejects.toMatchObject({
      code: 4,
      message: expect.stringMatching(/eth0 .*already.*DEL/s),
    });
    // The very same once more must not take away what it finds.
    await expect(host.attacher.add(a, nodeOf([4]), host.inUse)).rejects.toMatchObject({ code: 4 });
    expect([await host.portrait(), await host.portrait(pod)]).toEqual(before);
    expect(await host.attacher.check(a, nodeOf([4]), host.inUse)).toEqual([]);
  });

  test('what an earlier attachment of the container has left on the host makes way; a stranger does not', async () => {
    await using host = await create();
    const [pod, old] = [await host.pod(), await host.pod()];
    const a = attachment(2, { netns: pod.path });
    await host.add({ ...a, netns: old.path }, nodeOf([4]));
    await host.add(a, nodeOf([4]));
    expect(await host.attacher.check(a, nodeOf([4]), host.inUse)).toEqual([]);
    const b = attachment(3, { netns: old.path });
    await host.netns.ip(`link add ${b.hostIf} type veth peer name x`);
    await host.netns.ip(`link set ${b.hostIf} alias mine`);
    await expect(host.attacher.add(b, nodeOf([4]), host.inUse)).rejects.toMatchObject({
      code: 102,
      message: expect.stringContaining(b.hostIf),
    });
    await expect(host.attacher.remove(b)).rejects.toMatchObject({
      code: 102,
      message: expect.stringMatching(/"mine".*ip link del veth/s),
    });
    expect(await host.netns.ip(`link show dev ${b.hostIf}`)).toContain('mine');
    expect(await host.attacher.hostEnds()).toEqual(new Set([a.hostIf, b.hostIf]));
    // A device of another type has only the name.
    await host.netns.ip(`link del ${b.hostIf}`);
    await host.netns.ip(`link add ${b.hostIf} type bridge`);
    await host.attacher.remove(b);
    expect(await host.netns.ip(`link show dev ${b.hostIf}`)).toContain(b.hostIf);
    expect(await host.attacher.hostEnds()).toEqual(new Set([a.hostIf]));
  });

  test('a container in two networks: the first has the default route, and both are as made', async () => {
    await using host = await create();
    const pod = await host.pod();
    const node = nodeOf([4, 6]);
    const first = attachment(2, { families: [4, 6], netns: pod.path });
    const second = attachment(3, {
      families: [4, 6],
      netns: pod.path,
      ifname: 'eth1',
      network: 'more',
      mode: 'ptp',
    });
    await host.add(first, node);
    await host.add(second, node);
    expect(await pod.ip('route show default')).toMatch(/^default via \S+ dev eth0 [^\n]*\n?$/);
    for (const a of [first, second]) expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
    await pod.ip('route del default');
    expect((await host.attacher.check(first, node, host.inUse)).join()).toContain('route default');
  });

  test('further routes, through the gateway', async () => {
    await using host = await create();
    const pod = await host.pod();
    const base = attachment(2, { netns: pod.path });
    const dst = (text: string) => ({ addr: base.addresses[0]!.gateway, len: Number(text) });
    const a = { ...base, routes: [dst('16'), dst('24'), dst('0')] };
    await host.add(a, nodeOf([4]));
    const routes = await pod.ipJson('route show');
    expect(routes.map((r) => `${r.dst} ${r.gateway ?? '-'}`).sort()).toEqual([
      '10.42.0.0/16 10.42.1.1',
      '10.42.1.0/24 -',
      'default 10.42.1.1',
    ]);
    expect(await host.attacher.check(a, nodeOf([4]), host.inUse)).toEqual([]);
  });

  test.each([
    { path: '/run/netns/there-is-none', add: 4, check: 3 },
    { path: '/proc/self/ns/mnt', add: 8, check: 8 },
    { path: '/etc/passwd', add: 8, check: 8 },
  ])('namespace $path is refused', async ({ path, add, check }) => {
    await using host = await create();
    const a = attachment(2, { netns: path });
    await expect(host.attacher.add(a, nodeOf([4]), host.inUse)).rejects.toMatchObject({ code: add });
    await expect(host.attacher.check(a, nodeOf([4]))).rejects.toMatchObject({ code: check });
    expect(await host.attacher.hostEnds()).toEqual(new Set());
  });
});

test.each([true, false])('a service on its own pod: with hairpin %s', async (hairpin) => {
  await using host = await create();
  const pod = await host.pod();
  await host.add(attachment(2, { netns: pod.path, hairpin }), nodeOf([4]));
  // As kube-proxy wants it: frames that are rewritten between two ports of the bridge.
  await host.netns.sysctl({ 'net/bridge/bridge-nf-call-iptables': 1 });
  await host.netns.nft(`table ip t {
    chain pre { type nat hook prerouting priority dstnat; ip daddr 10.96.0.1 dnat to 10.42.1.2; }
    chain post { type nat hook postrouting priority srcnat; ip saddr 10.42.1.2 ip daddr 10.42.1.2 masquerade; }
  }`);
  // The bridge learns where the pod is.
  expect(await ping(pod, '10.42.1.1', 2)).toBeDefined();
  expect((await ping(pod, '10.96.0.1', 1)) !== undefined).toBe(hairpin);
});

describe('DEL', () => {
  test('twice, and with the namespace gone', async () => {
    await using host = await create();
    const pods = [await host.pod(), await host.pod()];
    const made = pods.map((pod, i) => attachment(i + 2, { netns: pod.path }));
    for (const a of made) await host.add(a, nodeOf([4]));
    await pods[1]![Symbol.asyncDispose]();
    for (const a of [...made, ...made]) await host.remove(a);
    expect(await host.attacher.hostEnds()).toEqual(new Set());
  });

  test('has an end when the device is gone for everybody', async () => {
    await using host = await create();
    const pod = await host.pod();
    const a = attachment(2, { netns: pod.path });
    await host.add(a, nodeOf([4]));
    await host.remove(a);
    expect(await pod.ip('link show')).not.toContain('eth0');
    expect(await host.netns.ip('link show')).not.toContain(a.hostIf);
  });

  test('a pod whose alias somebody has changed lives, and is detached', async () => {
    await using host = await create();
    const pods = [await host.pod(), await host.pod()];
    const [a, b] = pods.map((pod, i) => attachment(i + 2, { netns: pod.path }));
    await host.add(a!, nodeOf([4]));
    await host.netns.ip(`link set ${a!.hostIf} alias by-lldpd`);
    expect(await host.attacher.hostEnds()).toEqual(new Set([a!.hostIf]));
    // Its port is no stranger's: a former gateway that nobody uses goes, and the next pod is attached.
    await host.netns.ip('addr add 10.42.9.1/24 dev cni0');
    await using again = await AttachHost.beside(host);
    await again.add(b!, nodeOf([4]));
    await host.attacher.remove(a!);
    expect(await host.attacher.hostEnds()).toEqual(new Set([b!.hostIf]));
  });

  test('nothing but a veth by its name and mark', async () => {
    await using host = await create();
    await expect(host.attacher.remove({ hostIf: 'lo' })).rejects.toMatchObject({ code: 999 });
  });
});

test.each(MODES)('100 at once, mode %s', async (mode) => {
  await using host = await create();
  const families: Families = [4, 6];
  const node = nodeOf(families);
  const pods = await Promise.all(Array.from({ length: 100 }, () => host.pod()));
  const made = pods.map((pod, i) => attachment(i + 2, { mode, families, netns: pod.path }));
  await Promise.all(made.map((a) => host.add(a, node)));
  expect(await host.attacher.hostEnds()).toEqual(new Set(made.map((a) => a.hostIf)));
  expect(await ping(pods[0]!, addressOf(4, 101), 2)).toBeDefined();
  expect(await ping(pods[99]!, addressOf(6, 2), 2)).toBeDefined();
  expect(await host.attacher.check(made[50]!, node, host.inUse)).toEqual([]);
  // Half of them, so that it shows that the others are left alone.
  await Promise.all(made.slice(0, 50).map((a) => host.remove(a)));
  expect(await host.attacher.hostEnds()).toEqual(new Set(made.slice(50).map((a) => a.hostIf)));
  expect(await ping(pods[60]!, addressOf(4, 101), 2)).toBeDefined();
  await Promise.all(made.slice(50).map((a) => host.remove(a)));
  expect(await host.attacher.hostEnds()).toEqual(new Set());
});

test('what others have is left alone', async () => {
  await using host = await create();
  await using other = await elsewhere(host);
  const pod = await host.pod();
  await host.netns.ipBatch([
    'link add br0 type bridge',
    'addr add 172.18.0.1/16 dev br0',
    'link add vethdeadbeef type veth peer name inner',
    'link set vethdeadbeef master br0 up',
    'link set inner up',
    'link set br0 up',
    'route add 10.43.0.0/16 via 192.0.2.2',
    'route add blackhole 10.44.0.0/16 proto 76',
  ]);
  await other.ip('link set up0 up');
  await pod.ipBatch([
    'link add mine type veth peer name yours',
    'addr add 10.99.0.1/24 dev mine',
    'link set mine up',
  ]);
  // The bridge and the routing stay.
  const node = nodeOf([4, 6]);
  const first = attachment(9, { families: [4, 6], netns: pod.path });
  await host.add(first, node);
  await host.remove(first);
  const before = [await host.portrait(), await host.portrait(pod)];
  const made = MODES.map((mode, i) =>
    attachment(i + 2, { mode, families: [4, 6], netns: pod.path, ifname: `eth${i}`, network: mode }),
  );
  await Promise.all(made.map((a) => host.add(a, node)));
  expect(await host.portrait()).not.toBe(before[0]);
  await Promise.all(made.map((a) => host.remove(a)));
  expect([await host.portrait(), await host.portrait(pod)]).toEqual(before);
});
