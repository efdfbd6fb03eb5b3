import type { Addr } from '../../net/addr.ts';
import { addr, bytes, type Codec, string, u8, u16, u32 } from '../codecs.ts';
import { type Shape, type Verbs, verbs } from '../message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../policy.ts';
import { AF_INET, AF_INET6 } from './family.ts';

/** linux/rtnetlink.h. */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

export const RTN_UNSPEC = 0;
export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTN_PROHIBIT = 8;
export const RTN_THROW = 9;

export const RTPROT_UNSPEC = 0;
export const RTPROT_KERNEL = 2;
export const RTPROT_STATIC = 4;

export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
export const RT_SCOPE_NOWHERE = 255;

export const RT_TABLE_UNSPEC = 0;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;

/** rtm_flags */
export const RTNH_F_DEAD = 1;
export const RTNH_F_ONLINK = 4;
export const RTNH_F_LINKDOWN = 16;
/** rtm_flags of a learned exception (path MTU, redirect), not a configured route. */
export const RTM_F_CLONED = 0x200;

/** struct rtmsg */
export const rtmsg = header('rtmsg', {
  rtm_family: u8,
  rtm_dst_len: u8,
  rtm_src_len: u8,
  rtm_tos: u8,
  /** RT_TABLE_COMPAT (252) when the number does not fit: see RTA_TABLE. */
  rtm_table: u8,
  rtm_protocol: u8,
  rtm_scope: u8,
  rtm_type: u8,
  rtm_flags: u32,
});
export type Rtm = HeaderOf<typeof rtmsg>;

export const RTAX = attributes({
  /** A bit for each metric the kernel may not change: 1 << RTAX_MTU. */
  RTAX_LOCK: [1, u32],
  RTAX_MTU: [2, u32],
  RTAX_WINDOW: [3, u32],
  RTAX_RTT: [4, u32],
  RTAX_RTTVAR: [5, u32],
  RTAX_SSTHRESH: [6, u32],
  RTAX_CWND: [7, u32],
  RTAX_ADVMSS: [8, u32],
  RTAX_REORDERING: [9, u32],
  RTAX_HOPLIMIT: [10, u32],
  RTAX_INITCWND: [11, u32],
  RTAX_FEATURES: [12, u32],
  RTAX_RTO_MIN: [13, u32],
  RTAX_INITRWND: [14, u32],
  RTAX_QUICKACK: [15, u32],
  RTAX_CC_ALGO: [16, string],
});

/** struct rtvia: a gateway of another family than the destination's. */
const via: Codec<Addr> = {
  write(w, value) {
    w.u16(value.family === 4 ? AF_INET : AF_INET6);
    addr.write(w, value);
  },
  read(s, at, end) {
    if (end - at < 2) return undefined;
    const family = u16.read(s, at, at + 2);
    return family === AF_INET || family === AF_INET6 ? addr.read(s, at + 2, end) : undefined;
  },
};

export const RTA = attributes({
  RTA_DST: [1, addr],
  RTA_SRC: [2, addr],
  RTA_IIF: [3, u32],
  RTA_OIF: [4, u32],
  RTA_GATEWAY: [5, addr],
  /** The metric. */
  RTA_PRIORITY: [6, u32],
  RTA_PREFSRC: [7, addr],
  RTA_METRICS: [8, RTAX],
  /** struct rtnexthop and its attributes, several times over: kept as they are. */
  RTA_MULTIPATH: [9, bytes],
  RTA_FLOW: [11, u32],
  RTA_CACHEINFO: [12, bytes],
  RTA_TABLE: [15, u32],
  RTA_MARK: [16, u32],
  RTA_VIA: [18, via],
  RTA_NEWDST: [19, bytes],
  RTA_PREF: [20, u8],
  RTA_ENCAP_TYPE: [21, u16],
  RTA_ENCAP: [22, bytes],
  /** Seconds. */
  RTA_EXPIRES: [23, u32],
  RTA_UID: [25, u32],
  RTA_IP_PROTO: [27, u8],
  RTA_NH_ID: [30, u32],
});
export type RouteAttributes = ValuesOf<typeof RTA>;

export const routeShape: Shape<Rtm, RouteAttributes> = { name: 'route', header: rtmsg, attributes: RTA };

/**
 * There is no `put`: NLM_F_REPLACE for a prefix that another device holds silently removes that device's connected
 * route. Dumps are filtered by rtm_table, rtm_protocol, rtm_type and RTA_OIF.
 */
export const route: Omit<Verbs<Rtm, RouteAttributes>, 'put'> = verbs(routeShape, {
  new: RTM_NEWROUTE,
  del: RTM_DELROUTE,
  get: RTM_GETROUTE,
});
