import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type BridgePort,
  type BridgeSight,
  bridgeWish,
  forwarding,
  planBridge,
} from '../../src/cni/attach/bridge.ts';
import { hostObjects, podObjects, podRoutes } from '../../src/cni/attach/desired.ts';
import { kernelFailure } from '../../src/cni/attach/failures.ts';
import { Gate } from '../../src/cni/attach/gate.ts';
import {
  addressMac,
  BRIDGE_ALIAS,
  hostAlias,
  hostIfName,
  hostMac,
  isHostAlias,
  isHostIfName,
} from '../../src/cni/attach/names.ts';
import { CniError } from '../../src/cni/errors.ts';
import { LINK_ALIAS, POD_ROUTE_PROTOCOL } from '../../src/contract.ts';
import { KernelError, NativeError } from '../../src/errors.ts';
import { describe as inWords } from '../../src/kernel/desired.ts';
import type { ObservedAddress, ObservedLink } from '../../src/kernel/observed.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { formatPrefix, prefix } from '../../src/net/prefix.ts';
import { attachment, nodeOf } from '../support/cniAttach.ts';

describe('names', () => {
  const id = { network: 'pods', containerId: 'abc', ifname: 'eth0' };

  test('the host end has a name for the kernel, one for each attachment, always the same', () => {
    // Records on disk hold it.
    expect(hostIfName(id)).toBe('vethe9245f58955');
    const word = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,80}$/);
    fc.assert(
      fc.property(word, word, word, word, (network, containerId, ifname, other) => {
        const a = { network, containerId, ifname };
        expect(isHostIfName(hostIfName(a))).toBe(true);
        expect(hostIfName(a)).toHaveLength(15);
        fc.pre(other !== network && other !== containerId && other !== ifname);
        const others = [
          { ...a, network: other },
          { ...a, containerId: other },
          { ...a, ifname: other },
        ];
        const names = [a, ...others].flatMap((o) => [hostIfName(o), hostMac(o)]);
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });

  test('parts are not run together', () => {
    expect(hostIfName({ network: 'a', containerId: 'bc', ifname: 'd' })).not.toBe(
      hostIfName({ network: 'ab', containerId: 'c', ifname: 'd' }),
    );
  });

  test('the alias names it, and fits the kernel in bytes', () => {
    expect(hostAlias(id)).toBe('loden cni pods abc eth0');
    expect(isHostAlias(hostAlias(id))).toBe(true);
    expect(Buffer.byteLength(hostAlias({ ...id, containerId: 'x'.repeat(500) }))).toBe(254);
    const cut = hostAlias({ ...id, containerId: 'ü'.repeat(300) });
    expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(254);
    expect(cut).toMatch(/ü$/);
  });

  test('no mark of the overlay, whose reconciler removes what it does not want', () => {
    expect(isHostAlias(LINK_ALIAS)).toBe(false);
    expect(isHostAlias(BRIDGE_ALIAS)).toBe(false);
    expect(BRIDGE_ALIAS).not.toBe(LINK_ALIAS);
    expect(isHostAlias(undefined)).toBe(false);
  });

  test('MACs follow from addresses, IPv4 first; they are unicast and local', () => {
    expect(addressMac([addr('10.42.1.5')])).toBe('0a:58:0a:2a:01:05');
    expect(addressMac([addr('fd00::5'), addr('10.42.1.5')])).toBe('0a:58:0a:2a:01:05');
    expect(addressMac([addr('fd00::5')])).toMatch(/^0a:58:/);
    expect(addressMac([addr('fd00::5')])).not.toBe(addressMac([addr('fd00::6')]));
    expect(() => addressMac([])).toThrow(RangeError);
    expect(Number.parseInt(hostMac(id).slice(0, 2), 16) & 3).toBe(2);
  });
});

describe('what is desired', () => {
  const words = (objects: readonly Parameters<typeof inWords>[0][]) => objects.map((o) => inWords(o));

  test('bridge: a port, and a default route through the gateway', () => {
    const a = attachment(2, { families: [4, 6] });
    expect(hostObjects(a, 7)).toEqual([
      {
        kind: 'link',
        name: a.hostIf,
        mac: a.hostMac,
        mtu: 1450,
        up: true,
        alias: hostAlias(a),
        veth: { peer: { netnsFd: 7, name: 'eth0', mac: a.mac, mtu: 1450 }, master: 'cni0', hairpin: true },
      },
    ]);
    expect(words(podObjects(a))).toEqual([
      'link eth0',
      'sysctl net/ipv6/conf/eth0/accept_ra = 0',
      'sysctl net/ipv6/conf/eth0/accept_dad = 0',
      'sysctl net/ipv6/conf/eth0/disable_ipv6 = 0',
      'address 10.42.1.2/24 dev eth0',
      'address fd00:42:0:1::2/64 dev eth0',
    ]);
    expect(words(podRoutes(a))).toEqual([
      expect.stringMatching(/0\.0\.0\.0\/0.* via 10\.42\.1\.1 dev eth0$/),
      expect.stringMatching(/::\/0.* via fd00:42:0:1::1 dev eth0$/),
    ]);
  });

  test('ptp: single addresses, neighbours on both ends, and a way to the gateway', () => {
    const a = attachment(2, { mode: 'ptp' });
    expect(words(hostObjects(a))).toEqual([
      `link ${a.hostIf}`,
      `sysctl net/ipv6/conf/${a.hostIf}/accept_ra = 0`,
      `address 10.42.1.1/32 dev ${a.hostIf}`,
      `neigh 10.42.1.2 dev ${a.hostIf} lladdr ${a.mac}`,
      expect.stringMatching(new RegExp(`^route 10\\.42\\.1\\.2/32 .*dev ${a.hostIf}$`)),
    ]);
    expect(words(podObjects(a))).toEqual([
      'link eth0',
      'sysctl net/ipv6/conf/eth0/accept_ra = 0',
      'address 10.42.1.2/32 dev eth0',
      `neigh 10.42.1.1 dev eth0 lladdr ${a.hostMac}`,
      expect.stringMatching(/^route 10\.42\.1\.1\/32 .*dev eth0$/),
    ]);
    const routes = [...hostObjects(a), ...podObjects(a), ...podRoutes(a)].filter((o) => o.kind === 'route');
    expect(new Set(routes.map((o) => o.protocol))).toEqual(new Set([POD_ROUTE_PROTOCOL]));
  });

  test('a container whose devices have IPv6 is not told so', () => {
    const a = attachment(2, { families: [6] });
    const told = (hasIpv6: boolean) =>
      podObjects(a, hasIpv6).some((o) => o.kind === 'sysctl' && /disable_ipv6/.test(o.path));
    expect([told(false), told(true)]).toEqual([true, false]);
  });

  test('further routes: each once, of families that there are, none that is there anyway', () => {
    const texts = [
      '10.0.0.0/8',
      '10.0.0.0/8',
      '0.0.0.0/0',
      '10.42.1.7/24',
      '10.42.1.128/25',
      'fd01::/16',
      '10.9.9.9/16',
    ];
    const a = { ...attachment(2), routes: texts.map(prefix) };
    expect(podRoutes(a).map((r) => formatPrefix(r.dst))).toEqual([
      '0.0.0.0/0',
      '10.0.0.0/8',
      '10.42.1.128/25',
      '10.9.0.0/16',
    ]);
  });
});

const link = (name: string, over: Partial<ObservedLink> = {}): ObservedLink => ({
  kind: 'link',
  ifindex: 9,
  name,
  type: 'bridge',
  mac: mac('02:00:00:00:00:07'),
  mtu: 1500,
  up: true,
  carrier: true,
  ...over,
});
const on = (dev: string, text: string): ObservedAddress => ({
  kind: 'address',
  dev,
  ifindex: 9,
  addr: prefix(text),
  flags: 0x80,
  scope: 0,
});
const OURS: BridgePort = { name: 'veth00000000001', isOurs: true };
const STRANGER: BridgePort = { name: 'veth1234', isOurs: false };

describe('the policy of bridges', () => {
  const wish = bridgeWish('cni0', nodeOf([4, 6]));
  const sight = (over: Partial<BridgeSight> = {}): BridgeSight => ({
    link: link('cni0'),
    addresses: [],
    ports: [],
    ...over,
  });
  const plan = (over: Partial<BridgeSight>, used: readonly string[] = []) => {
    const { remove, kept } = planBridge(wish, sight(over), (p) => used.includes(formatPrefix(p)));
    return { remove: remove.map((o) => formatPrefix(o.addr)), kept: kept.map(formatPrefix) };
  };
  const NOTHING = { remove: [], kept: [] };

  test('a new one gets its MAC from its gateway, and all it needs', () => {
    const { objects } = planBridge(wish, sight({ link: undefined }), () => false);
    expect(objects[0]).toMatchObject({
      kind: 'link',
      mac: '0a:58:0a:2a:01:01',
      mtu: 1450,
      up: true,
      alias: BRIDGE_ALIAS,
    });
    expect(objects.slice(1).map((o) => inWords(o))).toEqual([
      'sysctl net/ipv6/conf/cni0/accept_ra = 0',
      'address 10.42.1.1/24 dev cni0',
      'address fd00:42:0:1::1/64 dev cni0',
      'sysctl net/ipv4/ip_forward = 1',
      'sysctl net/ipv6/conf/all/forwarding = 1',
    ]);
    expect(forwarding([4])).toHaveLength(1);
  });

  test('one that is there keeps MAC and alias', () => {
    const { objects } = planBridge(wish, sight({ link: link('cni0', { alias: 'theirs' }) }), () => false);
    expect(objects[0]).toMatchObject({ mac: '02:00:00:00:00:07', alias: 'theirs', mtu: 1450 });
  });

  const FORMER = on('cni0', '10.42.7.1/24');
  const ODD = on('cni0', '10.99.0.1/16');
  test.each<[string, Partial<BridgeSight>, readonly string[], ReturnType<typeof plan>]>([
    [
      'its gateways',
      { addresses: [on('cni0', '10.42.1.1/24'), on('cni0', 'fd00:42:0:1::1/64')] },
      [],
      NOTHING,
    ],
    ['a link-local address', { addresses: [on('cni0', 'fe80::1/64')], ports: [STRANGER] }, [], NOTHING],
    [
      'the gateway with another length, in use',
      { addresses: [on('cni0', '10.42.1.1/16')], ports: [STRANGER] },
      ['10.42.0.0/16'],
      { remove: ['10.42.1.1/16'], kept: [] },
    ],
    [
      'a former gateway that pods use',
      { addresses: [FORMER], ports: [OURS, STRANGER] },
      ['10.42.7.0/24'],
      { remove: [], kept: ['10.42.7.1/24'] },
    ],
    [
      'an address that pods use, with no port left',
      { addresses: [ODD] },
      ['10.99.0.0/16'],
      { remove: [], kept: ['10.99.0.1/16'] },
    ],
    [
      'a former gateway of no use to our pods',
      { addresses: [FORMER], ports: [OURS] },
      [],
      { remove: ['10.42.7.1/24'], kept: [] },
    ],
    [
      'an odd address on an empty bridge',
      { addresses: [ODD, FORMER] },
      [],
      { remove: ['10.99.0.1/16', '10.42.7.1/24'], kept: [] },
    ],
    [
      'addresses of others that are none of ours',
      {
        addresses: [
          on('eth0', '10.0.0.1/8'),
          on('flannel.1', '10.42.1.0/32'),
          on('v', '10.42.1.1/32'),
          on('x', '10.42.2.1/24'),
        ],
      },
      [],
      NOTHING,
    ],
  ])('%s', (_, seen, used, expected) => {
    expect(plan(seen, used)).toEqual(expected);
  });

  test.each<[string, Partial<BridgeSight>, RegExp]>([
    [
      'an odd address, with pods of ours',
      { addresses: [ODD], ports: [OURS] },
      /10\.99\.0\.1\/16.*veth00000000001/,
    ],
    [
      'a former gateway, with others',
      { addresses: [FORMER], ports: [OURS, STRANGER] },
      /10\.42\.7\.1\/24.*in use by veth1234,/,
    ],
    [
      'no gateway but in the network',
      { addresses: [on('cni0', '10.42.7.9/24')], ports: [OURS] },
      /10\.42\.7\.9/,
    ],
    [
      'the subnet on another device',
      { addresses: [on('docker0', '10.42.1.1/24')] },
      /docker0 has 10\.42\.1\.1\/24/,
    ],
    ['a part of the subnet on another device', { addresses: [on('br1', '10.42.1.129/25')] }, /br1/],
    ['no bridge', { link: link('cni0', { type: 'veth' }) }, /of type veth/],
    ['hardware', { link: link('cni0', { type: undefined as never }) }, /a device of its own/],
  ])('%s: blocked', (_, seen, text) => {
    const go = () => plan(seen);
    expect(go).toThrow(CniError);
    expect(go).toThrow(text);
    try {
      go();
    } catch (error) {
      expect((error as CniError).code).toBe(101);
    }
  });

  test('of many ports some are named', () => {
    const ports = Array.from({ length: 30 }, (_, i) => ({ name: `p${i}`, isOurs: false }));
    expect(() => plan({ addresses: [ODD], ports })).toThrow(/p9 and 20 more/);
  });
});

describe('failures', () => {
  test('say what was tried, why it failed, and what can be done', () => {
    const refused = new KernelError({ errno: 1, code: 'EPERM', op: 'create link', object: 'x' });
    expect(kernelFailure('attach it', refused)).toMatchObject({
      code: 102,
      message: expect.stringMatching(/^cannot attach it: create link x: EPERM; .*CAP_NET_ADMIN/),
    });
    expect(kernelFailure('attach it', new NativeError('no'))).toMatchObject({ code: 102 });
    expect(kernelFailure('attach it', new TypeError('bug'))).toMatchObject({ code: 999 });
    const told = new CniError(101, 'known');
    expect(kernelFailure('attach it', told)).toBe(told);
  });
});

test('a gate lets so many in, in order, and closes when all are out', async () => {
  const gate = new Gate(2);
  const order: number[] = [];
  const leave: (() => void)[] = [];
  const all = [1, 2, 3, 4].map(async (n) => {
    await gate.enter();
    order.push(n);
    await new Promise<void>((resolve) => leave.push(resolve));
    gate.leave();
  });
  const closed = gate.close().then(() => order.push(9));
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  await turn();
  expect(order).toEqual([1, 2]);
  leave.shift()!();
  await turn();
  expect(order).toEqual([1, 2, 3]);
  while (order.length < 4 || leave.length > 0) {
    leave.shift()?.();
    await turn();
  }
  await Promise.all([...all, closed]);
  expect(order).toEqual([1, 2, 3, 4, 9]);
});
