import { addr, type Codec, flag, mac, pad, s32, string, u8, u16, u16be, u32, u32be } from '../codecs.ts';
import { type Shape, verbs } from '../message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../policy.ts';
import { eachAttribute, NLA_F_NESTED, type Source, type Writer } from '../wire.ts';

/** linux/rtnetlink.h, linux/if.h, linux/if_link.h. */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_POINTOPOINT = 0x10;
export const IFF_RUNNING = 0x40;
export const IFF_NOARP = 0x80;
export const IFF_LOWER_UP = 0x10000;

/** IFLA_TUN_TYPE, linux/if_tun.h: bare IP packets; a TAP, with Ethernet frames, is 2. */
export const IFF_TUN = 1;

/** IFLA_EXT_MASK: leave the counters out of the reply. */
export const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** IFLA_INET6_ADDR_GEN_MODE: no link-local address is made. */
export const IN6_ADDR_GEN_MODE_NONE = 1;

/** struct ifinfomsg */
export const ifinfomsg = header('ifinfomsg', {
  ifi_family: u8,
  ifi_pad: pad(1),
  ifi_type: u16,
  ifi_index: s32,
  ifi_flags: u32,
  ifi_change: u32,
});
export type IfInfo = HeaderOf<typeof ifinfomsg>;

/** struct ifla_vxlan_port_range: UDP source ports. */
const portRange = header('ifla_vxlan_port_range', { low: u16be, high: u16be });

export const IFLA_VXLAN = attributes({
  IFLA_VXLAN_ID: [1, u32],
  IFLA_VXLAN_GROUP: [2, addr],
  IFLA_VXLAN_LINK: [3, u32],
  IFLA_VXLAN_LOCAL: [4, addr],
  IFLA_VXLAN_TTL: [5, u8],
  IFLA_VXLAN_TOS: [6, u8],
  IFLA_VXLAN_LEARNING: [7, u8],
  IFLA_VXLAN_AGEING: [8, u32],
  IFLA_VXLAN_LIMIT: [9, u32],
  IFLA_VXLAN_PORT_RANGE: [10, portRange],
  IFLA_VXLAN_PROXY: [11, u8],
  IFLA_VXLAN_RSC: [12, u8],
  IFLA_VXLAN_L2MISS: [13, u8],
  IFLA_VXLAN_L3MISS: [14, u8],
  IFLA_VXLAN_PORT: [15, u16be],
  IFLA_VXLAN_GROUP6: [16, addr],
  IFLA_VXLAN_LOCAL6: [17, addr],
  IFLA_VXLAN_UDP_CSUM: [18, u8],
  IFLA_VXLAN_UDP_ZERO_CSUM6_TX: [19, u8],
  IFLA_VXLAN_UDP_ZERO_CSUM6_RX: [20, u8],
  IFLA_VXLAN_REMCSUM_TX: [21, u8],
  IFLA_VXLAN_REMCSUM_RX: [22, u8],
  IFLA_VXLAN_GBP: [23, flag],
  IFLA_VXLAN_REMCSUM_NOPARTIAL: [24, flag],
  IFLA_VXLAN_COLLECT_METADATA: [25, u8],
  IFLA_VXLAN_LABEL: [26, u32be],
  IFLA_VXLAN_GPE: [27, flag],
  IFLA_VXLAN_TTL_INHERIT: [28, flag],
  IFLA_VXLAN_DF: [29, u8],
  IFLA_VXLAN_VNIFILTER: [30, u8],
  IFLA_VXLAN_LOCALBYPASS: [31, u8],
});
export type VxlanAttributes = ValuesOf<typeof IFLA_VXLAN>;

export const IFLA_BR = attributes({
  IFLA_BR_FORWARD_DELAY: [1, u32],
  IFLA_BR_AGEING_TIME: [4, u32],
  IFLA_BR_STP_STATE: [5, u32],
  IFLA_BR_PRIORITY: [6, u16],
  IFLA_BR_VLAN_FILTERING: [7, u8],
  IFLA_BR_GROUP_FWD_MASK: [9, u16],
  IFLA_BR_MCAST_SNOOPING: [23, u8],
  IFLA_BR_NF_CALL_IPTABLES: [36, u8],
  IFLA_BR_NF_CALL_IP6TABLES: [37, u8],
  IFLA_BR_NF_CALL_ARPTABLES: [38, u8],
  IFLA_BR_VLAN_DEFAULT_PVID: [39, u16],
});

export const IFLA_TUN = attributes({
  IFLA_TUN_OWNER: [1, u32],
  IFLA_TUN_GROUP: [2, u32],
  IFLA_TUN_TYPE: [3, u8],
  IFLA_TUN_PI: [4, u8],
  IFLA_TUN_VNET_HDR: [5, u8],
  IFLA_TUN_PERSIST: [6, u8],
  IFLA_TUN_MULTI_QUEUE: [7, u8],
  IFLA_TUN_NUM_QUEUES: [8, u32],
  IFLA_TUN_NUM_DISABLED_QUEUES: [9, u32],
});
export type TunAttributes = ValuesOf<typeof IFLA_TUN>;

/** Of a port of a bridge. */
export const IFLA_BRPORT = attributes({
  IFLA_BRPORT_STATE: [1, u8],
  IFLA_BRPORT_PRIORITY: [2, u16],
  IFLA_BRPORT_COST: [3, u32],
  /** Hairpin: frames may leave by where they came from. */
  IFLA_BRPORT_MODE: [4, u8],
  IFLA_BRPORT_GUARD: [5, u8],
  IFLA_BRPORT_PROTECT: [6, u8],
  IFLA_BRPORT_FAST_LEAVE: [7, u8],
  IFLA_BRPORT_LEARNING: [8, u8],
  IFLA_BRPORT_UNICAST_FLOOD: [9, u8],
  IFLA_BRPORT_PROXYARP: [10, u8],
  IFLA_BRPORT_ISOLATED: [33, u8],
});
export type BridgePortAttributes = ValuesOf<typeof IFLA_BRPORT>;

const IFLA_INET6 = attributes({
  IFLA_INET6_FLAGS: [1, u32],
  IFLA_INET6_ADDR_GEN_MODE: [8, u8],
});

/** IFLA_AF_SPEC of AF_UNSPEC messages: types are address families. Only for links that exist: refused at creation. */
const afSpec = attributes({ AF_INET6: [10, IFLA_INET6] });

/** What a link can be told at birth; also what a veth's other end can. */
const linkFields = {
  IFLA_ADDRESS: [1, mac],
  IFLA_BROADCAST: [2, mac],
  IFLA_IFNAME: [3, string],
  IFLA_MTU: [4, u32],
  IFLA_LINK: [5, u32],
  IFLA_QDISC: [6, string],
  IFLA_MASTER: [10, u32],
  IFLA_TXQLEN: [13, u32],
  IFLA_OPERSTATE: [16, u8],
  IFLA_NET_NS_PID: [19, u32],
  IFLA_IFALIAS: [20, string],
  IFLA_AF_SPEC: [26, afSpec],
  IFLA_GROUP: [27, u32],
  IFLA_NET_NS_FD: [28, u32],
  IFLA_EXT_MASK: [29, u32],
  IFLA_NUM_TX_QUEUES: [31, u32],
  IFLA_NUM_RX_QUEUES: [32, u32],
  IFLA_CARRIER: [33, u8],
  IFLA_LINK_NETNSID: [37, s32],
  IFLA_NEW_IFINDEX: [49, s32],
  IFLA_MIN_MTU: [50, u32],
  IFLA_MAX_MTU: [51, u32],
  IFLA_ALT_IFNAME: [53, string],
} as const;

const peerFields = attributes(linkFields);

/** The other end of a veth: a link message in an attribute (VETH_INFO_PEER). */
export interface VethPeer {
  readonly header: Partial<IfInfo>;
  readonly attributes: ValuesOf<typeof peerFields>;
}

const vethPeer: Codec<VethPeer> = {
  write(w, value) {
    ifinfomsg.write(w, value.header);
    peerFields.write(w, value.attributes);
  },
  read(s, at, end) {
    const read = ifinfomsg.read(s, at, end);
    return { header: read, attributes: peerFields.read(s, at + ifinfomsg.size, end) ?? {} };
  },
};

const VETH_INFO = attributes({ VETH_INFO_PEER: [1, vethPeer] });

/** IFLA_INFO_DATA by IFLA_INFO_KIND. */
const INFO_DATA = { vxlan: IFLA_VXLAN, bridge: IFLA_BR, tun: IFLA_TUN, veth: VETH_INFO } as const;
type InfoData = { readonly [K in keyof typeof INFO_DATA]?: ValuesOf<(typeof INFO_DATA)[K]> | undefined };

/** IFLA_LINKINFO; at most the member named like the kind is there. */
export interface LinkInfo extends InfoData {
  /** IFLA_INFO_KIND, e.g. `vxlan`; hardware has none. */
  readonly kind?: string;
  /** IFLA_INFO_SLAVE_KIND: what it is a port of. */
  readonly slaveKind?: string;
  /** IFLA_INFO_SLAVE_DATA of a bridge's port. */
  readonly port?: BridgePortAttributes;
}

const dataOf = (kind: string): Codec<unknown> | undefined =>
  Object.hasOwn(INFO_DATA, kind) ? INFO_DATA[kind as keyof InfoData] : undefined;

const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_DATA = 5;
const infoFields = attributes({ IFLA_INFO_KIND: [1, string], IFLA_INFO_SLAVE_KIND: [4, string] });

function nest(w: Writer, type: number, codec: Codec<unknown> | undefined, data: unknown): void {
  if (codec === undefined || data === undefined) return;
  const mark = w.beginAttribute(type | NLA_F_NESTED);
  codec.write(w, data);
  w.endAttribute(mark);
}

const linkInfo: Codec<LinkInfo> = {
  nested: true,
  write(w: Writer, value: LinkInfo) {
    const { kind, slaveKind, port } = value;
    infoFields.write(w, { IFLA_INFO_KIND: kind, IFLA_INFO_SLAVE_KIND: slaveKind });
    if (kind !== undefined) nest(w, IFLA_INFO_DATA, dataOf(kind), value[kind as keyof InfoData]);
    nest(w, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT, port);
  },
  read(s: Source, at: number, end: number) {
    const { IFLA_INFO_KIND: kind, IFLA_INFO_SLAVE_KIND: slaveKind } = infoFields.read(s, at, end) ?? {};
    const codec = kind === undefined ? undefined : dataOf(kind);
    let data: unknown;
    let port: BridgePortAttributes | undefined;
    eachAttribute(s, at, end, (type, from, to) => {
      if (type === IFLA_INFO_DATA) data = codec?.read(s, from, to);
      else if (type === IFLA_INFO_SLAVE_DATA && slaveKind === 'bridge') port = IFLA_BRPORT.read(s, from, to);
    });
    return {
      ...(kind === undefined ? {} : { kind, ...(data === undefined ? {} : { [kind]: data }) }),
      ...(slaveKind === undefined ? {} : { slaveKind }),
      ...(port === undefined ? {} : { port }),
    };
  },
};

export const IFLA = attributes({ ...linkFields, IFLA_LINKINFO: [18, linkInfo] });
export type LinkAttributes = ValuesOf<typeof IFLA>;

export const linkShape: Shape<IfInfo, LinkAttributes> = { name: 'link', header: ifinfomsg, attributes: IFLA };
export const link = verbs(linkShape, { new: RTM_NEWLINK, del: RTM_DELLINK, get: RTM_GETLINK });
