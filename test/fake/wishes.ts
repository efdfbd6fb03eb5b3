import fc from 'fast-check';
import { LINK_ALIAS, ROUTE_PROTOCOL } from '../../src/contract.ts';
import type { KernelObject, Owner, Route, TunLink, VxlanLink } from '../../src/kernel/types.ts';
import { type Addr, addr, addrFromBytes } from '../../src/net/addr.ts';
import { localMac, type Mac, mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { OURS } from './sequence.ts';

export const owner: Owner = { devices: new Set(OURS) };

export const LOCAL = { 4: '192.0.2.1', 6: 'fd99::1' } as const;
const DEVICE = { 4: 'flannel.1', 6: 'flannel-v6.1' } as const;

/** Our device of one family, as a backend would want it. */
export const tunnel = (
  family: 4 | 6,
  change: Partial<VxlanLink> & { readonly vni?: number; readonly low?: boolean } = {},
): VxlanLink => {
  const { vni = 1, low = true, ...rest } = change;
  return {
    kind: 'link',
    name: DEVICE[family],
    mac: mac(family === 4 ? '02:00:00:00:00:01' : '02:00:00:00:00:02'),
    mtu: 1400,
    up: true,
    alias: LINK_ALIAS,
    vxlan: {
      vni,
      port: 8472,
      local: addr(low ? LOCAL[family] : family === 4 ? '192.0.2.2' : 'fd99::2'),
      underlay: 'u0',
      learning: false,
      gbp: false,
    },
    ...rest,
  };
};

/** Peer number `n` (1 … 65535): its subnet, VTEP MAC and endpoint. */
export function peer(
  family: 4 | 6,
  n: number,
): { end: Addr; subnet: Route['dst']; mac: Mac; endpoint: Addr } {
  const [high, low] = [n >> 8, n & 255];
  const end =
    family === 4
      ? addrFromBytes([10, 42 + high, low, 0])
      : addrFromBytes([0xfd, 0, 0, 0x42, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const endpoint =
    family === 4
      ? addrFromBytes([192, 0, 2 + high, low])
      : addrFromBytes([0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, high, low]);
  return {
    end,
    subnet: { addr: end, len: family === 4 ? 24 : 64 },
    mac: localMac([2, family, 0, 0, high, low]),
    endpoint,
  };
}

/** What leads to a peer through the tunnel. */
export function* through(
  family: 4 | 6,
  n: number,
  change: { readonly mtu?: number; readonly mac?: Mac } = {},
) {
  const { end, subnet, mac: own, endpoint } = peer(family, n);
  const dev = DEVICE[family];
  const lladdr = change.mac ?? own;
  yield { kind: 'neigh', dev, addr: end, mac: lladdr } as const;
  yield { kind: 'fdb', dev, mac: lladdr, dst: endpoint } as const;
  yield {
    kind: 'route',
    type: 'unicast',
    dst: subnet,
    via: end,
    dev,
    onlink: true,
    protocol: ROUTE_PROTOCOL,
    ...(change.mtu ? { mtu: change.mtu } : {}),
  } as const;
}

/** A whole wish for both families with the peers 2 … `peers` + 1. */
export function* overlay(peers: number, families: readonly (4 | 6)[] = [4]): Generator<KernelObject> {
  for (const family of families) {
    const link = tunnel(family);
    yield link;
    yield {
      kind: 'sysctl',
      path: `net/ipv6/conf/${link.name}/accept_ra`,
      value: '0',
      dev: link.name,
    };
    yield {
      kind: 'address',
      dev: link.name,
      addr: prefix(family === 4 ? '10.42.1.0/32' : 'fd00:42:1::/128'),
    };
    for (let n = 2; n < peers + 2; n++) yield* through(family, n);
  }
}

/** Our TUN device, as a backend would want it. */
export const tunDevice = (
  change: Partial<Omit<TunLink, 'tun'>> & { readonly txqlen?: number } = {},
): TunLink => {
  const { txqlen = 8192, ...rest } = change;
  return {
    kind: 'link',
    name: 'flannel0',
    mtu: 1472,
    up: true,
    alias: LINK_ALIAS,
    tun: { txqlen },
    ...rest,
  };
};

const throughTun = (dst: string): Route => ({
  kind: 'route',
  type: 'unicast',
  dst: prefix(dst),
  dev: 'flannel0',
  onlink: false,
  protocol: ROUTE_PROTOCOL,
});

/** A whole wish for both families by way of the TUN device. */
export const tunOverlay = (): readonly KernelObject[] => [
  tunDevice(),
  { kind: 'sysctl', path: 'net/ipv6/conf/flannel0/accept_ra', value: '0', dev: 'flannel0' },
  { kind: 'sysctl', path: 'net/ipv4/conf/flannel0/accept_local', value: '1', dev: 'flannel0' },
  { kind: 'address', dev: 'flannel0', addr: prefix('10.42.1.0/32') },
  { kind: 'address', dev: 'flannel0', addr: prefix('fd00:42:1::/128') },
  { ...throughTun('10.42.0.0/16'), home: [prefix('10.42.1.0/24')] },
  { ...throughTun('fd00:42::/32'), home: [prefix('fd00:42:1::/48')] },
];

type Way = 'tunnel' | 'direct' | 'blackhole' | 'none';

/** Mostly nothing is wished of checksums. */
const offload = { txChecksum: fc.constantFrom(undefined, undefined, false, true) };

/** Any wish that a kernel with `u0` up and addressed can fulfil; it collides with what {@link change} leaves behind. */
export const wish: fc.Arbitrary<readonly KernelObject[]> = fc
  .record({
    links: fc.record({
      4: fc.record({
        mac: fc.nat(2),
        mtu: fc.constantFrom(1400, 1430),
        vni: fc.constantFrom(1, 2),
        low: fc.boolean(),
        ...offload,
      }),
      6: fc.record({
        mac: fc.nat(2),
        mtu: fc.constantFrom(1400, 1430),
        vni: fc.constantFrom(1, 2),
        low: fc.boolean(),
        ...offload,
      }),
    }),
    tun: fc.option(
      fc.record({ mtu: fc.constantFrom(1400, 1472), txqlen: fc.constantFrom(500, 8192), dst: fc.nat(1) }),
    ),
    own: fc.constantFrom(['10.42.1.0/32', 'fd00:42:1::/128'], ['10.42.200.0/32', 'fd00:42:9::1/128']),
    peers: fc.array(
      fc.record({
        family: fc.constantFrom<4 | 6>(4, 6),
        n: fc.integer({ min: 2, max: 9 }),
        way: fc.constantFrom<Way>('tunnel', 'tunnel', 'direct', 'blackhole', 'none'),
        mtu: fc.constantFrom(undefined, undefined, 1300),
        mac: fc.nat(2),
      }),
      { maxLength: 8 },
    ),
  })
  .map(({ links, tun, own, peers }) => {
    const objects: KernelObject[] = [];
    if (tun) {
      const { dst, ...device } = tun;
      objects.push(
        tunDevice(device),
        { kind: 'address', dev: 'flannel0', addr: prefix('10.43.1.0/32') },
        { kind: 'address', dev: 'flannel0', addr: prefix('fd00:43:1::/128') },
        throughTun(['10.43.0.0/16', 'fd00:43::/32'][dst]!),
      );
    }
    for (const [family, text] of [
      [4, own[0]!],
      [6, own[1]!],
    ] as const) {
      const { mac: last, txChecksum, ...rest } = links[family];
      const wished = txChecksum === undefined ? rest : { ...rest, txChecksum };
      objects.push(tunnel(family, { ...wished, mac: localMac([2, 0, 0, 0, 0, last]) }));
      objects.push({ kind: 'address', dev: DEVICE[family], addr: prefix(text) });
    }
    for (const { family, n, way, mtu, mac: last } of peers) {
      const { subnet } = peer(family, n);
      const rest = { protocol: ROUTE_PROTOCOL, ...(mtu ? { mtu } : {}) };
      if (way === 'tunnel') {
        objects.push(
          ...through(family, n, { ...(mtu ? { mtu } : {}), mac: localMac([2, 0, 0, 0, 1, last]) }),
        );
      } else if (way === 'direct') {
        const via = addr(family === 4 ? '192.0.2.9' : 'fd99::9');
        objects.push({ kind: 'route', type: 'unicast', dst: subnet, via, dev: 'u0', onlink: false, ...rest });
      } else if (way === 'blackhole') {
        objects.push({
          kind: 'route',
          type: 'blackhole',
          dst: subnet,
          onlink: false,
          protocol: ROUTE_PROTOCOL,
        });
      }
    }
    return objects;
  });
