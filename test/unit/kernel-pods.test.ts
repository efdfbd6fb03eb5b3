import { describe, expect, test } from 'vitest';
import { desiredState } from '../../src/kernel/desired.ts';
import { type PlanItem, plan } from '../../src/kernel/diff.ts';
import { difference } from '../../src/kernel/differences.ts';
import type { Op } from '../../src/kernel/kernel.ts';
import { compareLink, NO_CHANGE } from '../../src/kernel/link.ts';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import type { ObservedLink } from '../../src/kernel/observed.ts';
import { reconcileOnce } from '../../src/kernel/once.ts';
import { ObservedState } from '../../src/kernel/state.ts';
import type { SysctlFiles } from '../../src/kernel/sysctl.ts';
import type { BridgeLink, KernelObject, VethLink } from '../../src/kernel/types.ts';
import type { NativeNetlink } from '../../src/native/addon.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { NetlinkSocket } from '../../src/netlink/socket.ts';
import { concat, errorReply, objectReply, sentMessages } from '../support/netlinkReply.ts';
import { bridgeObjects, HOST_IF, HOST_MAC, hostObjects, POD_MAC, podObjects } from '../support/pods.ts';

const BRIDGE = bridgeObjects([4])[0] as BridgeLink;
const PORT = hostObjects({ mode: 'bridge', families: [4] })[0] as VethLink;
const MADE = hostObjects({ mode: 'bridge', families: [4] }, 5)[0] as VethLink;
const POD = podObjects({ mode: 'bridge', families: [4] })[0] as VethLink;

const seenBridge: ObservedLink = {
  kind: 'link',
  ifindex: 3,
  name: 'cni0',
  type: 'bridge',
  mac: BRIDGE.mac,
  mtu: 1450,
  up: true,
  carrier: true,
  alias: 'loden',
};
const seenPort: ObservedLink = {
  kind: 'link',
  ifindex: 7,
  name: HOST_IF,
  type: 'veth',
  mac: HOST_MAC,
  mtu: 1450,
  up: true,
  carrier: true,
  alias: PORT.alias,
  master: 3,
  hairpin: true,
  peer: 2,
};

function state(...links: ObservedLink[]): ObservedState {
  const s = new ObservedState();
  for (const link of links) s.setLink(link.ifindex, link);
  return s;
}

const items = (s: ObservedState, ...objects: KernelObject[]): PlanItem[] => {
  const devices = new Set(objects.map((o) => (o.kind === 'link' ? o.name : (o.dev ?? ''))));
  return [...plan(s, desiredState(objects), { devices }, { prune: false })].filter((o) => o !== undefined);
};

describe('a bridge or a veth is compared', () => {
  const s = state(seenBridge, seenPort);
  test('with itself', () => {
    expect(compareLink(seenBridge, BRIDGE, s)).toBe('same');
    expect(compareLink(seenPort, PORT, s)).toBe('same');
    expect(compareLink(seenPort, MADE, s)).toBe('same');
  });

  test.each([
    ['mtu', { mtu: 1400 }],
    ['up', { up: false }],
    ['alias', { alias: 'other' }],
    ['mac', { mac: mac('02:00:00:00:00:09') }],
    ['hairpin', { hairpin: false }],
  ] as const)('by its %s', (what, other) => {
    expect(compareLink({ ...seenPort, ...other }, PORT, s)).toEqual({ ...NO_CHANGE, [what]: true });
  });

  test('by its bridge: a port that becomes one is told its hairpin then', () => {
    const both = { ...NO_CHANGE, master: true, hairpin: true };
    expect(compareLink({ ...seenPort, master: 9 }, PORT, s)).toEqual(both);
    const { master: _, hairpin: __, ...alone } = seenPort;
    expect(compareLink(alone, PORT, s)).toEqual(both);
    expect(compareLink(alone, { ...PORT, veth: { master: 'cni0' } }, s)).toEqual({
      ...NO_CHANGE,
      master: true,
    });
    expect(compareLink(seenPort, { ...PORT, veth: {} }, s)).toEqual({ ...NO_CHANGE, master: true });
    // The bridge is not there: certainly not its port.
    expect(compareLink(seenPort, PORT, state(seenPort))).toEqual(both);
  });

  test('by its type: only what has our alias and can be made is made anew', () => {
    const other = { ...seenPort, type: 'macvlan' };
    expect(compareLink(other, MADE, s)).toBe('rebuild');
    expect(compareLink(other, PORT, s)).toBe('foreign');
    expect(compareLink({ ...other, alias: 'x' }, MADE, s)).toBe('foreign');
    expect(compareLink({ ...other, alias: '' }, { ...MADE, alias: '' }, s)).toBe('rebuild');
    const { alias: _, ...bare } = other;
    expect(compareLink(bare, { ...MADE, alias: '' }, s)).toBe('foreign');
    expect(compareLink({ ...seenBridge, type: 'veth', alias: 'x' }, BRIDGE, s)).toBe('foreign');
    expect(compareLink({ ...seenBridge, type: 'vxlan' }, BRIDGE, s)).toBe('rebuild');
    expect(compareLink({ ...seenPort, type: 'bridge', name: 'eth0', alias: '' }, POD, s)).toBe('foreign');
  });
});

describe('the plan', () => {
  test('waits for the bridge, also for one that it makes itself', () => {
    expect(items(state(), MADE)).toMatchObject([{ kind: 'blocked', dev: 'cni0' }]);
    expect(items(state(), BRIDGE, MADE)).toMatchObject([{ kind: 'step' }, { kind: 'step' }]);
  });

  test('never makes the end of a veth that comes with the other', () => {
    const [link, ...rest] = items(state(), ...podObjects({ mode: 'bridge', families: [4] }));
    expect(link).toMatchObject({ kind: 'blocked', dev: 'eth0' });
    for (const item of rest) expect(item).toMatchObject({ kind: 'blocked', dev: 'eth0' });
    expect(rest).toHaveLength(4);
  });

  test('puts nothing on a device of others', () => {
    const there = state({ ...seenPort, name: 'eth0', type: 'macvlan', alias: '' });
    const [link, ...rest] = items(there, ...podObjects({ mode: 'bridge', families: [4] }));
    expect(link).toMatchObject({ kind: 'conflict', withheld: true });
    expect(rest.map((item) => item.kind)).toEqual(['blocked', 'blocked', 'blocked', 'blocked']);
  });

  test('gives a device its IPv6 sysctls when an MTU brings them', () => {
    const small: ObservedLink = { ...seenPort, name: 'eth0', mtu: 1279, mac: POD_MAC, alias: '' };
    const s = state(small);
    const wanted = podObjects({ mode: 'bridge', families: [] });
    for (const o of wanted) if (o.kind === 'sysctl') s.setSysctl(o.path, undefined);
    const sysctls = (to: number) =>
      items(s, { ...POD, mtu: to } as VethLink, ...wanted.slice(1)).filter(
        (item) => item.kind === 'step' && item.object.kind === 'sysctl',
      ).length;
    expect(sysctls(1280)).toBe(2);
    expect(sysctls(1278)).toBe(0);
    s.setLink(small.ifindex, { ...small, mtu: 1280 });
    expect(sysctls(1450)).toBe(0);
  });
});

test('what only tunnels have is said too', () => {
  const fdb: KernelObject = { kind: 'fdb', dev: 'cni0', mac: POD_MAC, dst: addr('192.0.2.1') };
  const hole: KernelObject = {
    kind: 'route',
    type: 'blackhole',
    dst: prefix('10.42.0.0/16'),
    onlink: false,
    protocol: 76,
    metric: 5,
    mtu: 1400,
  };
  const said = items(state(seenBridge), fdb, hole).map((item) =>
    item.kind === 'adopted' ? '' : difference(item, state(seenBridge)),
  );
  expect(said).toEqual([
    `fdb ${POD_MAC} dev cni0 dst 192.0.2.1 is missing`,
    'route blackhole 10.42.0.0/16 metric 5 mtu 1400 is missing',
  ]);
});

/** A namespace that answers as told, and what it was asked, in order. */
function told(refuse: (type: number) => number = () => 0, names: string[] = []) {
  const log: string[] = [];
  const native: NativeNetlink = {
    portId: 1,
    close() {},
    async sysctls(jobs) {
      log.push(`sysctl ${jobs.map((o) => o.path.split('/').at(-1)).join(' ')}`);
      await new Promise((done) => setTimeout(done, 5));
      return jobs.map(() => true as const);
    },
    async exchange(bytes, lastSeq) {
      const replies: Uint8Array[] = [];
      const words: string[] = [];
      for (const { seq, type } of sentMessages(bytes)) {
        words.push(WORDS[type] ?? String(type));
        const errno = refuse(type);
        if (errno > 0) replies.push(errorReply(seq, errno));
        else if (type === rtnl.RTM_GETLINK) replies.push(linkReply(seq, names.shift() ?? HOST_IF));
        if (errno === 0 && seq === lastSeq) replies.push(errorReply(seq, 0));
      }
      log.push(words.join(' '));
      await new Promise((done) => setTimeout(done, 1));
      return { data: concat(...replies), overrun: false };
    },
  };
  return { log, socket: new NetlinkSocket(native) };
}

const WORDS: Readonly<Record<number, string>> = {
  [rtnl.RTM_NEWLINK]: 'link',
  [rtnl.RTM_GETLINK]: 'get',
  [rtnl.RTM_NEWADDR]: 'addr',
  [rtnl.RTM_NEWNEIGH]: 'neigh',
  [rtnl.RTM_NEWROUTE]: 'route',
};

const linkReply = (seq: number, name: string): Uint8Array =>
  objectReply(rtnl.linkShape, seq, {
    type: rtnl.RTM_NEWLINK,
    flags: 0,
    header: { ifi_index: name === HOST_IF ? 7 : 3 },
    attributes: { IFLA_IFNAME: name, IFLA_LINK: 2, IFLA_LINKINFO: { kind: 'veth' } },
  });

describe('what is sent', () => {
  const fresh = new Map([[HOST_IF, undefined]]);
  const wanted = { mode: 'ptp', families: [4] } as const;

  test('a veth comes up after its sysctls, with all that stands on it, and nobody waits in between', async () => {
    const { log, socket } = told();
    const kernel = new NetlinkKernel(socket, { netnsFd: 3 });
    const made: ObservedLink[] = [];
    const done = reconcileOnce(kernel, hostObjects(wanted, 5), {
      apply: true,
      fresh,
      onMade: (link) => made.push(link),
    });
    // The first message has left already.
    expect(log).toEqual(['link get']);
    expect(await done).toEqual({ differences: [], failures: [] });
    expect(log).toEqual(['link get', 'sysctl accept_ra accept_dad', 'link addr neigh route']);
    expect(made).toMatchObject([{ ifindex: 7, peer: 2 }]);
  });

  test('each of several links gets its sysctls before it comes up', async () => {
    const { log, socket } = told(() => 0, ['cni0', HOST_IF]);
    const kernel = new NetlinkKernel(socket, { netnsFd: 3 });
    const both = new Map([...fresh, ['cni0', undefined]]);
    const objects = [...bridgeObjects([4]), ...hostObjects(wanted, 5)];
    await reconcileOnce(kernel, objects, { apply: true, fresh: both });
    expect(log).toEqual([
      'link get',
      'sysctl accept_ra',
      // The bridge is finished and the veth made.
      'link link get',
      'sysctl accept_ra accept_dad',
      'link addr addr neigh route',
    ]);
  });

  test('sysctls that the socket does not write are waited for', async () => {
    const { log, socket } = told();
    const sysctls: SysctlFiles = {
      read: async () => undefined,
      async write(path) {
        log.push(`begin ${path.split('/').at(-1)}`);
        await new Promise((done) => setTimeout(done, 5));
        log.push('end');
      },
    };
    const kernel = new NetlinkKernel(socket, { netnsFd: 3, sysctls });
    await reconcileOnce(kernel, hostObjects(wanted, 5), { apply: true, fresh });
    expect(log).toEqual([
      'link get',
      'begin accept_ra',
      'end',
      'begin accept_dad',
      'end',
      'link addr neigh route',
    ]);
  });

  test('nothing at all goes to a device that could not be made', async () => {
    const { log, socket } = told((type) => (type === rtnl.RTM_NEWLINK ? 17 : 0));
    const kernel = new NetlinkKernel(socket, { netnsFd: 3 });
    kernel.remember({ ifindex: 9, name: HOST_IF });
    const { failures } = await reconcileOnce(kernel, hostObjects(wanted, 5), { apply: true, fresh });
    expect(log).toEqual(['link get']);
    expect(failures.map((e) => e.code)).toEqual(['EEXIST', ...Array(5).fill('ENODEV')]);
  });

  test('a refused object keeps nobody from being put', async () => {
    const { socket } = told((type) => (type === rtnl.RTM_NEWADDR ? 22 : 0));
    const kernel = new NetlinkKernel(socket, { netnsFd: 3 });
    const { failures } = await reconcileOnce(kernel, hostObjects(wanted, 5), { apply: true, fresh });
    expect(failures.map((e) => e.message)).toEqual([`create address 10.42.1.1/32 dev ${HOST_IF}: EINVAL`]);
  });

  test('a socket that fails amid it fails the whole, and nothing is left unhandled', async () => {
    const { socket } = told();
    let calls = 0;
    const broken = Object.assign(Object.create(socket), {
      sysctls: async () => {
        throw new Error('closed');
      },
      transact: async (...args: Parameters<NetlinkSocket['transact']>) => {
        if (++calls > 1) throw new Error('closed too');
        return socket.transact(...args);
      },
    }) as NetlinkSocket;
    const kernel = new NetlinkKernel(broken, { netnsFd: 3 });
    await expect(reconcileOnce(kernel, hostObjects(wanted, 5), { apply: true, fresh })).rejects.toThrow(
      /closed/,
    );
    await new Promise((done) => setTimeout(done, 10));
  });

  test('IPv6 sysctls of a device that has no IPv6 are no failure, others are', async () => {
    const { socket } = told();
    const sysctls = (path: string): Op => ({
      verb: 'put',
      object: { kind: 'sysctl', path, value: '0', dev: 'eth0' },
    });
    const files: SysctlFiles = {
      read: async () => '1',
      write: async () => {},
      writeAll: async (list) => list.map(() => Object.assign(new Error('no'), { code: 'ENOENT' })),
    };
    const kernel = new NetlinkKernel(socket, { netnsFd: 3, sysctls: files });
    const objects = [sysctls('net/ipv6/conf/eth0/x'), sysctls('net/ipv4/conf/eth0/x')].map(
      (op) => op.object as KernelObject,
    );
    const { failures } = await reconcileOnce(kernel, objects, {
      apply: true,
      fresh: new Map([['eth0', 2]]),
    });
    expect(failures.map((e) => e.object)).toEqual(['sysctl net/ipv4/conf/eth0/x = 0']);
  });
});

test('the number of a device that is gone is forgotten, one that was told is used', async () => {
  const { log, socket } = told((type) => (type === rtnl.RTM_GETLINK ? 19 : 0));
  const kernel = new NetlinkKernel(socket, { netnsFd: 3 });
  const op: Op = { verb: 'create', object: { kind: 'address', dev: 'eth0', addr: prefix('10.0.0.1/32') } };
  expect((await kernel.apply([op]))[0]!.code).toBe('ENODEV');
  kernel.remember({ ifindex: 2, name: 'eth0' });
  expect(await kernel.apply([op])).toEqual([undefined]);
  expect(await kernel.linkNamed('eth0')).toBeUndefined();
  expect((await kernel.apply([op]))[0]!.code).toBe('ENODEV');
  expect(log).toEqual(['addr', 'get']);
});

test('link info of a port, read as written', async () => {
  const infos: rtnl.LinkInfo[] = [
    { kind: 'veth', slaveKind: 'bridge', port: { IFLA_BRPORT_MODE: 1, IFLA_BRPORT_ISOLATED: 1 } },
    { slaveKind: 'bridge', port: { IFLA_BRPORT_COST: 2 } },
    // What a bond says of its ports is not for us.
    { kind: 'vlan', slaveKind: 'bond' },
    {},
  ];
  for (const info of infos) {
    const native = {
      exchange: async (_: Uint8Array, seq: number) => ({
        data: concat(
          objectReply(rtnl.linkShape, seq, {
            type: rtnl.RTM_NEWLINK,
            flags: 0,
            header: { ifi_index: 1 },
            attributes: { IFLA_LINKINFO: info },
          }),
          errorReply(seq, 0),
        ),
        overrun: false,
      }),
    } as unknown as NativeNetlink;
    const message = await new NetlinkSocket(native).get(rtnl.link.get({ ifi_index: 1 }, {}));
    expect(message!.attributes.IFLA_LINKINFO).toEqual(info);
  }
});
