import fc from 'fast-check';
import { describe } from '../../src/kernel/desired.ts';
import type { Kernel, Op } from '../../src/kernel/kernel.ts';
import { type LinkChange, NO_CHANGE } from '../../src/kernel/link.ts';
import type { ObservedLink } from '../../src/kernel/observed.ts';
import { keepRoute, ROUTE_PROTOCOLS } from '../../src/kernel/route.ts';
import {
  type Address,
  type Fdb,
  type Link,
  type Neigh,
  objectKey,
  type Route,
  type TunLink,
  type VxlanLink,
} from '../../src/kernel/types.ts';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { type Mac, mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { scopeOf } from '../../src/net/scope.ts';

/**
 * Random changes of a small world, in which everything collides with everything, by names instead of ifindexes: the
 * same ones for every kernel. Ours are `flannel.1`, `flannel-v6.1` and the TUN device `flannel0`; `u0` and `cni0` are
 * others'.
 */
export type Change =
  | { readonly do: 'op'; readonly op: Op }
  | { readonly do: 'change'; readonly link: Link; readonly what: keyof LinkChange }
  | { readonly do: 'deleteLink'; readonly dev: string }
  | { readonly do: 'deleteOn'; readonly object: Address | Neigh | Fdb };

const TUNNELS = ['flannel.1', 'flannel-v6.1'] as const;
const TUN = 'flannel0';
export const OURS = [...TUNNELS, TUN] as const;
export const OTHERS = ['u0', 'cni0'] as const;
const DEVICES = [...OURS, ...OTHERS];
/** Devices on which neighbours mean something. */
const SEGMENTS = [...TUNNELS, ...OTHERS];

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'].map(mac);
const FDB_MACS = [...MACS, mac('01:00:5e:00:00:01'), mac('00:00:00:00:00:00')];
const PREFIXES = {
  4: ['10.42.2.0/24', '10.42.9.0/24', '10.43.0.0/16'].map(prefix),
  6: ['fd00:42:2::/64', 'fd00:42:9::/64', 'fd00:43::/32'].map(prefix),
};
const OWN = [
  '10.42.1.0/32',
  '10.42.9.1/24',
  '192.0.2.1/24',
  'fd00:42:1::/128',
  'fd00:42:9::1/64',
  'fd99::1/64',
].map(prefix);
const ENDS = {
  4: ['10.42.2.0', '10.42.9.7', '192.0.2.9'].map(addr),
  6: ['fd00:42:2::', 'fd00:42:9::7', 'fd99::9'].map(addr),
};

const pick = <T>(values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const maybe = <T>(value: T): fc.Arbitrary<T | undefined> => fc.constantFrom(undefined, undefined, value);
const family = fc.constantFrom<4 | 6>(4, 6);

const vxlanLink: fc.Arbitrary<VxlanLink> = fc
  .record({
    name: pick(TUNNELS),
    mac: pick(MACS),
    mtu: pick([1400, 1430, 1450]),
    up: fc.boolean(),
    alias: pick(['loden', 'other']),
    underlay: pick(OTHERS),
    learning: fc.boolean(),
    vni: pick([1, 1, 2]),
    low: fc.boolean(),
    txChecksum: fc.boolean(),
  })
  .map(({ name, underlay, learning, vni, low, ...rest }) => {
    const local = addr(
      name === 'flannel.1' ? (low ? '192.0.2.1' : '192.0.2.2') : low ? 'fd99::1' : 'fd99::2',
    );
    return { kind: 'link', name, ...rest, vxlan: { vni, port: 8472, local, underlay, learning, gbp: false } };
  });

const tunLink: fc.Arbitrary<TunLink> = fc.record({
  kind: fc.constant('link' as const),
  name: fc.constant(TUN),
  // With less than 1,280 bytes there is no IPv6 on a device.
  mtu: pick([1400, 1472, 1279, 68, 1279, 68, 67, 65_535, 65_536]),
  up: fc.boolean(),
  alias: pick(['loden', 'other']),
  tun: fc.record({ txqlen: pick([500, 8192]) }),
});

const address: fc.Arbitrary<Address> = fc.record({
  kind: fc.constant('address' as const),
  dev: pick(DEVICES),
  addr: pick(OWN),
});

const neigh: fc.Arbitrary<Neigh> = family.chain((f) =>
  fc.record({
    kind: fc.constant('neigh' as const),
    dev: pick(SEGMENTS),
    addr: pick(ENDS[f]),
    mac: pick(MACS),
  }),
);

const fdb: fc.Arbitrary<Fdb> = fc.record({
  kind: fc.constant('fdb' as const),
  dev: pick(TUNNELS),
  mac: pick(FDB_MACS),
  dst: pick(['192.0.2.21', '192.0.2.22', 'fd99::21', 'fd99::22'].map(addr)),
});

export const route: fc.Arbitrary<Route> = family.chain((f) =>
  fc
    .record({
      dst: pick(PREFIXES[f]),
      way: fc.oneof(
        { weight: 4, arbitrary: fc.record({ via: pick(ENDS[f]), dev: pick(DEVICES), onlink: fc.boolean() }) },
        { weight: 1, arbitrary: fc.record({ dev: pick(DEVICES), onlink: fc.constant(false) }) },
        { weight: 1, arbitrary: fc.constant(undefined) },
      ),
      protocol: pick([76, 76, 3, 4]),
      metric: maybe(50),
      mtu: maybe(1300),
    })
    .map(({ dst, way, protocol, metric, mtu }): Route => {
      const rest = { protocol, ...(metric ? { metric } : {}) };
      if (!way) return { kind: 'route', type: 'blackhole', dst, onlink: false, ...rest };
      return { kind: 'route', type: 'unicast', dst, ...way, ...rest, ...(mtu ? { mtu } : {}) };
    }),
);

const op = (arbitrary: fc.Arbitrary<Op>): fc.Arbitrary<Change> => arbitrary.map((o) => ({ do: 'op', op: o }));

const changeOf = (of: fc.Arbitrary<Link>, whats: readonly (keyof LinkChange)[]): fc.Arbitrary<Change> =>
  fc.record({ do: fc.constant('change' as const), link: of, what: pick(whats) });

export const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: op(vxlanLink.map((object) => ({ verb: 'create', object }))) },
  { weight: 1, arbitrary: op(tunLink.map((object) => ({ verb: 'create', object }))) },
  { weight: 5, arbitrary: changeOf(vxlanLink, ['mac', 'mtu', 'up', 'alias', 'vxlan', 'txChecksum']) },
  { weight: 7, arbitrary: changeOf(tunLink, ['mtu', 'up', 'alias', 'txqlen']) },
  // An underlay or a bridge goes down and comes up again.
  {
    weight: 1,
    arbitrary: fc.tuple(vxlanLink, pick(OTHERS)).map(([of, name]) => ({
      do: 'change' as const,
      link: { ...of, name },
      what: 'up' as const,
    })),
  },
  { weight: 1, arbitrary: pick(OURS).map((dev) => ({ do: 'deleteLink' as const, dev })) },
  { weight: 4, arbitrary: op(address.map((object) => ({ verb: 'create', object }))) },
  { weight: 3, arbitrary: address.map((object) => ({ do: 'deleteOn' as const, object })) },
  { weight: 3, arbitrary: op(neigh.map((object) => ({ verb: 'put', object }))) },
  { weight: 1, arbitrary: neigh.map((object) => ({ do: 'deleteOn' as const, object })) },
  { weight: 3, arbitrary: op(fdb.map((object) => ({ verb: 'put', object }))) },
  { weight: 2, arbitrary: op(fdb.map((object) => ({ verb: 'append', object }))) },
  { weight: 1, arbitrary: fdb.map((object) => ({ do: 'deleteOn' as const, object })) },
  { weight: 8, arbitrary: op(route.map((object) => ({ verb: 'create', object }))) },
  // Appending to an IPv6 route makes a multipath route, which is not modelled and which nobody here does.
  {
    weight: 3,
    arbitrary: op(route.filter((o) => o.dst.addr.family === 4).map((object) => ({ verb: 'append', object }))),
  },
  { weight: 4, arbitrary: op(route.map((object) => ({ verb: 'delete', object }))) },
);

const tunnel = (name: string, local: string, own: Mac): Change => ({
  do: 'op',
  op: {
    verb: 'create',
    object: {
      kind: 'link',
      name,
      mac: own,
      mtu: 1400,
      up: true,
      alias: 'loden',
      vxlan: { vni: 1, port: 8472, local: addr(local), underlay: 'u0', learning: false, gbp: false },
    },
  },
});

const own = (dev: string, text: string): Change => ({
  do: 'op',
  op: { verb: 'create', object: { kind: 'address', dev, addr: prefix(text) } },
});

/** How the small world starts, so that most of what follows is possible. */
export const START: readonly Change[] = [
  own('u0', '192.0.2.1/24'),
  own('u0', 'fd99::1/64'),
  tunnel('flannel.1', '192.0.2.1', MACS[0]!),
  tunnel('flannel-v6.1', 'fd99::1', MACS[1]!),
  {
    do: 'op',
    op: {
      verb: 'create',
      object: { kind: 'link', name: TUN, mtu: 1472, up: true, alias: 'loden', tun: { txqlen: 8192 } },
    },
  },
  own('flannel.1', '10.42.1.0/32'),
  own('flannel-v6.1', 'fd00:42:1::/128'),
  own(TUN, '10.42.1.0/32'),
  own(TUN, 'fd00:42:1::/128'),
];

/** A change in a few words. */
export function tell(what: Change): string {
  if (what.do === 'op') return `${what.op.verb} ${describe(what.op.object)} ${details(what.op.object)}`;
  if (what.do === 'deleteLink') return `delete link ${what.dev}`;
  if (what.do === 'deleteOn') return `delete ${describe(what.object)}`;
  return `change ${what.what} of ${what.link.name} ${details(what.link)}`;
}

const details = (object: object): string =>
  JSON.stringify(object, (key, value: unknown) =>
    typeof value === 'bigint'
      ? `${value}`
      : key === 'kind' || key === 'dst' || key === 'name'
        ? undefined
        : value,
  );

/** Carries out one change. Returns what the kernel said: an errno name, or `ok`; `absent` when there is no such device. */
export async function carryOut(kernel: Kernel, what: Change): Promise<string> {
  const links = await kernel.links();
  let todo: Op;
  if (what.do === 'op') {
    todo = what.op;
  } else {
    const dev = what.do === 'change' ? what.link.name : what.do === 'deleteLink' ? what.dev : what.object.dev;
    const ifindex = links.find((o) => o.name === dev)?.ifindex;
    if (ifindex === undefined) return 'absent';
    if (what.do === 'change') {
      const observed = { ifindex } as ObservedLink;
      todo = { verb: 'change', object: what.link, observed, change: { ...NO_CHANGE, [what.what]: true } };
    } else if (what.do === 'deleteLink') {
      todo = { verb: 'delete', object: { kind: 'link', ifindex, name: dev } as ObservedLink };
    } else if (what.object.kind === 'address') {
      todo = { verb: 'delete', object: { ...what.object, ifindex, flags: 0, scope: 0 } };
    } else {
      todo = { verb: 'delete', object: { ...what.object, ifindex } };
    }
  }
  const [error] = await kernel.apply([todo]);
  return error?.code ?? 'ok';
}

/** All that a kernel shows of the small world, as sorted lines. */
export async function portrait(kernel: Kernel): Promise<string[]> {
  const lines: string[] = [];
  const links = (await kernel.links()).filter((o) => DEVICES.some((name) => name === o.name));
  const nameOf = (ifindex: number | undefined) => links.find((o) => o.ifindex === ifindex)?.name;
  for (const { ifindex, name, mac: own, mtu, up, carrier, alias, vxlan, tun } of links) {
    const isOurs = OURS.some((o) => o === name);
    const v = vxlan && isOurs ? vxlan : undefined;
    const tunnel = v
      ? ` vni ${v.vni} port ${v.port} local ${v.local && formatAddr(v.local)} dev ${nameOf(v.underlay)} ${v.learning} checksums ${v.txChecksum}`
      : tun
        ? ` ${tun.suits} txqlen ${tun.txqlen} ${carrier}`
        : '';
    lines.push(
      `link ${name} ${isOurs ? own : ''} mtu ${mtu} ${up ? 'up' : 'down'} alias ${alias ?? ''}${tunnel}`,
    );
    for (const o of await kernel.addresses(ifindex))
      if (scopeOf(o.addr.addr) !== 'link') lines.push(objectKey(o));
    for (const o of await kernel.neighs(ifindex)) lines.push(`${objectKey(o)} ${o.mac}`);
    if (!isOurs) continue;
    for (const o of await kernel.fdb(ifindex))
      lines.push(`fdb ${name} ${o.mac} ${o.dst && formatAddr(o.dst)} ${!!o.odd}`);
  }
  for (const f of [4, 6] as const) {
    for (const protocol of ROUTE_PROTOCOLS) {
      for (const o of await kernel.routes({ family: f, protocol }, keepRoute)) {
        const way = `${o.type} via ${o.via ? formatAddr(o.via) : ''} dev ${o.dev ?? ''}${o.onlink ? ' onlink' : ''}`;
        const rest = `protocol ${o.protocol} mtu ${o.mtu ?? ''} scope ${o.scope} src ${o.src ? formatAddr(o.src) : ''} ${o.odd}`;
        lines.push(`${objectKey(o)} ${way} ${rest}`);
      }
    }
  }
  return lines.sort();
}
