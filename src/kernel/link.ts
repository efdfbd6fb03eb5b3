import { LINK_ALIAS } from '../contract.ts';
import { sameAddr } from '../net/addr.ts';
import type { Message, Request } from '../netlink/message.ts';
import {
  IFF_LOWER_UP,
  IFF_TUN,
  IFF_UP,
  type IfInfo,
  type LinkAttributes,
  link,
  RTEXT_FILTER_SKIP_STATS,
  type TunAttributes,
  type VxlanAttributes,
} from '../netlink/rtnl.ts';
import type { Names } from './names.ts';
import type { ObservedLink, ObservedTun, ObservedVxlan } from './observed.ts';
import { comparePodLink, createPodLink, portInfo } from './podLink.ts';
import type { ObservedState } from './state.ts';
import type { BridgeLink, Link, Owner, TunLink, VethLink, Vxlan, VxlanLink } from './types.ts';

/** What a change of a link can reach in place (drivers/net/vxlan: vxlan_changelink; seen with Linux 6.18). */
export interface LinkChange {
  readonly mac: boolean;
  readonly mtu: boolean;
  readonly up: boolean;
  readonly alias: boolean;
  /** `local` within its family, the underlay device, learning. */
  readonly vxlan: boolean;
  /** By ethtool, not by a message to the link. */
  readonly txChecksum: boolean;
  readonly txqlen: boolean;
  /** The bridge it is a port of. */
  readonly master: boolean;
  readonly hairpin: boolean;
}

/** A change of nothing, to be spread. */
export const NO_CHANGE: LinkChange = {
  mac: false,
  mtu: false,
  up: false,
  alias: false,
  vxlan: false,
  txChecksum: false,
  txqlen: false,
  master: false,
  hairpin: false,
};

/** Ours by name, or by the mark of a daemon that had another configuration. */
export const ownsLink = (o: ObservedLink, owner: Owner): boolean =>
  owner.devices.has(o.name) || o.alias === LINK_ALIAS;

/**
 * What has to be done to `o`: nothing (`same`), a change in place, or `rebuild` for what the kernel will not change:
 * the type; of a VXLAN device VNI, port, GBP and the family of `local`, and a default destination, which would flood;
 * of a TUN all its flags. `foreign`: a device that others may have made, in the place of a bridge or a veth; it is left
 * alone, and never made is what belongs there. Only those that carry the alias of the wanted one are ours to rebuild, and
 * never the end of a veth that comes with the other.
 */
export function compareLink(
  o: ObservedLink,
  wanted: Link,
  state: Pick<ObservedState, 'link'>,
): 'same' | 'rebuild' | 'foreign' | LinkChange {
  const own = compareOwn(o, wanted, state);
  if (!own) return isReplaceable(o, wanted) ? 'rebuild' : 'foreign';
  const change: LinkChange = {
    ...NO_CHANGE,
    ...own,
    mtu: o.mtu !== wanted.mtu,
    up: o.up !== wanted.up,
    alias: (o.alias ?? '') !== wanted.alias,
  };
  return Object.values(change).includes(true) ? change : 'same';
}

/** What differs beside what all links have; undefined: the kernel would not change it. */
function compareOwn(
  o: ObservedLink,
  wanted: Link,
  state: Pick<ObservedState, 'link'>,
): Partial<LinkChange> | undefined {
  if (wanted.tun) return compareTun(o, wanted);
  return wanted.vxlan ? compareVxlan(o, wanted, state) : comparePodLink(o, wanted, state);
}

/** Names of tunnels are ours; those of bridges and of pods' devices can be anybody's. */
const isReplaceable = (o: ObservedLink, wanted: Link): boolean =>
  wanted.vxlan !== undefined ||
  wanted.tun !== undefined ||
  (o.alias !== undefined && o.alias === wanted.alias && isMakeable(wanted));

/** All but the end of a veth that comes with the other. */
export const isMakeable = (wanted: Link): boolean =>
  wanted.veth === undefined || wanted.veth.peer !== undefined;

/** What differs of a VXLAN device; undefined: the kernel would not change it. */
function compareVxlan(
  o: ObservedLink,
  wanted: VxlanLink,
  state: Pick<ObservedState, 'link'>,
): Partial<LinkChange> | undefined {
  const v = o.vxlan;
  const w = wanted.vxlan;
  if (!v || v.vni !== w.vni || v.port !== w.port || v.gbp !== w.gbp || v.remote) return undefined;
  if (v.local && v.local.family !== w.local.family) return undefined;
  return {
    mac: o.mac !== wanted.mac,
    vxlan:
      !sameAddr(v.local, w.local) ||
      v.learning !== w.learning ||
      v.underlay === undefined ||
      v.underlay !== state.link(w.underlay)?.ifindex,
    txChecksum:
      wanted.txChecksum !== undefined && v.txChecksum !== undefined && v.txChecksum !== wanted.txChecksum,
  };
}

const compareTun = ({ tun }: ObservedLink, wanted: TunLink): Partial<LinkChange> | undefined =>
  tun?.suits ? { txqlen: tun.txqlen !== wanted.tun.txqlen } : undefined;

const QUIET = { IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS } as const;

export const dumpLinks = (): Request<IfInfo, LinkAttributes> => link.dump({}, QUIET);
export const getLink = (ifindex: number): Request<IfInfo, LinkAttributes> =>
  link.get({ ifi_index: ifindex }, QUIET);
export const getLinkByName = (name: string): Request<IfInfo, LinkAttributes> =>
  link.get({}, { IFLA_IFNAME: name, ...QUIET });

export function readLink({
  header,
  attributes: a,
}: Message<IfInfo, LinkAttributes>): ObservedLink | undefined {
  if (a.IFLA_IFNAME === undefined) return undefined;
  const type = a.IFLA_LINKINFO?.kind;
  const { vxlan, tun, slaveKind, port } = a.IFLA_LINKINFO ?? {};
  return {
    kind: 'link',
    ifindex: header.ifi_index,
    name: a.IFLA_IFNAME,
    ...(type === undefined ? {} : { type }),
    ...(a.IFLA_ADDRESS === undefined ? {} : { mac: a.IFLA_ADDRESS }),
    mtu: a.IFLA_MTU ?? 0,
    up: (header.ifi_flags & IFF_UP) !== 0,
    carrier: (header.ifi_flags & IFF_LOWER_UP) !== 0,
    ...(a.IFLA_IFALIAS === undefined ? {} : { alias: a.IFLA_IFALIAS }),
    ...(vxlan ? { vxlan: readVxlan(vxlan) } : {}),
    ...(tun ? { tun: readTun(tun, a.IFLA_TXQLEN) } : {}),
    ...(a.IFLA_MASTER ? { master: a.IFLA_MASTER } : {}),
    ...(slaveKind === 'bridge' ? { hairpin: port?.IFLA_BRPORT_MODE === 1 } : {}),
    ...(type === 'veth' && a.IFLA_LINK ? { peer: a.IFLA_LINK } : {}),
  };
}

const readTun = (a: TunAttributes, txqlen = 0): ObservedTun => ({
  suits:
    a.IFLA_TUN_TYPE === IFF_TUN &&
    a.IFLA_TUN_PI === 0 &&
    a.IFLA_TUN_VNET_HDR === 1 &&
    a.IFLA_TUN_PERSIST === 1 &&
    a.IFLA_TUN_MULTI_QUEUE === 1,
  txqlen,
});

function readVxlan(a: VxlanAttributes): ObservedVxlan {
  const local = a.IFLA_VXLAN_LOCAL ?? a.IFLA_VXLAN_LOCAL6;
  const remote = a.IFLA_VXLAN_GROUP ?? a.IFLA_VXLAN_GROUP6;
  return {
    vni: a.IFLA_VXLAN_ID ?? 0,
    port: a.IFLA_VXLAN_PORT ?? 0,
    ...(local ? { local } : {}),
    ...(a.IFLA_VXLAN_LINK ? { underlay: a.IFLA_VXLAN_LINK } : {}),
    ...(remote ? { remote } : {}),
    learning: a.IFLA_VXLAN_LEARNING === 1,
    gbp: a.IFLA_VXLAN_GBP === true,
  };
}

/** What can be changed of a VXLAN device; the VNI is told so that the kernel can see that it is the same. */
const mutable = ({ vni, local, underlay, learning }: Vxlan, names: Names): VxlanAttributes => ({
  IFLA_VXLAN_ID: vni,
  IFLA_VXLAN_LINK: names.ifindex(underlay),
  ...(local.family === 4 ? { IFLA_VXLAN_LOCAL: local } : { IFLA_VXLAN_LOCAL6: local }),
  IFLA_VXLAN_LEARNING: learning ? 1 : 0,
});

/** A TUN device cannot be made by a message: see {@link ./netlinkKernel.ts}. */
export const createLink = (
  o: VxlanLink | BridgeLink | VethLink,
  names: Names,
): Request<IfInfo, LinkAttributes> => (o.vxlan ? createVxlan(o, names) : createPodLink(o, names));

function createVxlan(o: VxlanLink, names: Names): Request<IfInfo, LinkAttributes> {
  const vxlan = { ...mutable(o.vxlan, names), IFLA_VXLAN_PORT: o.vxlan.port, IFLA_VXLAN_GBP: o.vxlan.gbp };
  return link.create(
    {},
    { IFLA_IFNAME: o.name, IFLA_ADDRESS: o.mac, IFLA_MTU: o.mtu, IFLA_LINKINFO: { kind: 'vxlan', vxlan } },
  );
}

/**
 * What has to follow the making of a link: the kernel takes no alias at birth, of a TUN nothing but the name, and a veth
 * cannot be born up (ENOTCONN).
 */
export const finishLink = (o: Link, ifindex: number): Request<IfInfo, LinkAttributes> =>
  link.change(
    { ifi_index: ifindex, ...upDown(o.up) },
    {
      IFLA_IFALIAS: o.alias,
      ...(o.tun || o.bridge ? { IFLA_MTU: o.mtu } : {}),
      ...(o.tun ? { IFLA_TXQLEN: o.tun.txqlen } : {}),
      ...(o.veth?.master !== undefined && o.veth.hairpin ? { IFLA_LINKINFO: portInfo(true) } : {}),
    },
  );

/**
 * Only what differs. The VXLAN attributes go by themselves: with IFLA_MTU in the same message the driver refuses them
 * (vxlan_nl2conf: "Cannot change mtu"). What a port can be told follows its becoming one.
 */
export function changeLink(
  o: Link,
  { ifindex }: ObservedLink,
  change: LinkChange,
  names: Names,
): Request<IfInfo, LinkAttributes>[] {
  const requests: Request<IfInfo, LinkAttributes>[] = [];
  if (change.vxlan && o.vxlan) {
    const info = { kind: 'vxlan', vxlan: mutable(o.vxlan, names) };
    requests.push(link.change({ ifi_index: ifindex }, { IFLA_LINKINFO: info }));
  }
  const { hairpin } = change;
  const port = o.veth && hairpin ? { IFLA_LINKINFO: portInfo(o.veth.hairpin) } : {};
  if (change.master) {
    const master = o.veth?.master === undefined ? 0 : names.ifindex(o.veth.master);
    requests.push(link.change({ ifi_index: ifindex }, { IFLA_MASTER: master }));
  }
  if (change.mac || change.mtu || change.alias || change.up || change.txqlen || hairpin) {
    const attributes = {
      ...(change.mac && o.mac !== undefined ? { IFLA_ADDRESS: o.mac } : {}),
      ...(change.mtu ? { IFLA_MTU: o.mtu } : {}),
      ...(change.txqlen && o.tun ? { IFLA_TXQLEN: o.tun.txqlen } : {}),
      ...(change.alias ? { IFLA_IFALIAS: o.alias } : {}),
      ...port,
    };
    requests.push(link.change({ ifi_index: ifindex, ...(change.up ? upDown(o.up) : {}) }, attributes));
  }
  return requests;
}

export const deleteLink = (o: ObservedLink): Request<IfInfo, LinkAttributes> =>
  link.remove({ ifi_index: o.ifindex }, {});

const upDown = (up: boolean): Partial<IfInfo> => ({ ifi_flags: up ? IFF_UP : 0, ifi_change: IFF_UP });
