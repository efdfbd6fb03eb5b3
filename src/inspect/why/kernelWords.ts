import { ROUTE_PROTOCOL } from '../../contract.ts';
import { type Addr, type Family, formatAddr } from '../../net/addr.ts';
import { formatPrefix, type Prefix } from '../../net/prefix.ts';
import type { Message } from '../../netlink/message.ts';
import {
  type RouteAttributes,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  type Rtm,
} from '../../netlink/rtnl.ts';
import { tableName } from './ipRules.ts';

/** Routes and neighbours of the kernel's in the words of `ip`. Pure. */

/** A route that the kernel has. */
export interface FoundRoute {
  readonly dst: Prefix;
  readonly type: string;
  readonly table: number;
  readonly dev: string | undefined;
  readonly via: Addr | undefined;
  readonly src: Addr | undefined;
  readonly protocol: number;
  readonly metric: number;
  /** RTAX_MTU. */
  readonly mtu: number | undefined;
  /** In the words of `ip route`. */
  readonly text: string;
}

/** rtm_type as `ip route` names it. */
const TYPES: Readonly<Record<number, string>> = {
  [RTN_UNICAST]: 'unicast',
  [RTN_LOCAL]: 'local',
  3: 'broadcast',
  4: 'anycast',
  5: 'multicast',
  [RTN_BLACKHOLE]: 'blackhole',
  [RTN_UNREACHABLE]: 'unreachable',
  [RTN_PROHIBIT]: 'prohibit',
  [RTN_THROW]: 'throw',
};

/** /etc/iproute2/rt_protos, and whom they mean. */
const PROTOCOLS: Readonly<Record<number, string>> = {
  2: 'kernel',
  3: 'boot',
  4: 'static',
  8: 'gated',
  9: 'ra',
  11: 'zebra',
  12: 'bird',
  16: 'dhcp',
  77: 'loden cni',
  [ROUTE_PROTOCOL]: 'loden',
  80: 'cilium',
  186: 'bgp',
  187: 'isis',
  188: 'ospf',
};

/** rtm_protocol as `ip route` names it. */
export const protocolName = (n: number): string => PROTOCOLS[n] ?? String(n);

/** NUD_* as `ip neigh` names them, the one that tells most first. */
export const NUD_STATES: readonly (readonly [number, string])[] = [
  [0x80, 'PERMANENT'],
  [0x40, 'NOARP'],
  [0x20, 'FAILED'],
  [0x10, 'PROBE'],
  [0x08, 'DELAY'],
  [0x04, 'STALE'],
  [0x02, 'REACHABLE'],
  [0x01, 'INCOMPLETE'],
];

/** A route out of a message; `names`: of devices. */
export function readRoute(
  { header: h, attributes: a }: Message<Rtm, RouteAttributes>,
  family: Family,
  names: ReadonlyMap<number, string>,
): FoundRoute {
  const dst = { addr: a.RTA_DST ?? { family, value: 0n }, len: h.rtm_dst_len };
  const dev = a.RTA_OIF === undefined ? undefined : (names.get(a.RTA_OIF) ?? `if${a.RTA_OIF}`);
  const via = a.RTA_GATEWAY ?? a.RTA_VIA;
  const type = TYPES[h.rtm_type] ?? `type ${h.rtm_type}`;
  const table = a.RTA_TABLE ?? h.rtm_table;
  const mtu = a.RTA_METRICS?.RTAX_MTU;
  const words = [
    type === 'unicast' ? '' : type,
    dst.len === 0 ? 'default' : formatPrefix(dst),
    via ? `via ${formatAddr(via)}` : '',
    dev ? `dev ${dev}` : '',
    a.RTA_MULTIPATH ? 'nexthop …' : '',
    h.rtm_flags & 4 ? 'onlink' : '',
    table === RT_TABLE_MAIN ? '' : `table ${tableName(table)}`,
    `proto ${protocolName(h.rtm_protocol)}`,
    a.RTA_PREFSRC ? `src ${formatAddr(a.RTA_PREFSRC)}` : '',
    a.RTA_PRIORITY ? `metric ${a.RTA_PRIORITY}` : '',
    mtu ? `mtu ${mtu}` : '',
    h.rtm_flags & 1 ? 'dead' : '',
    h.rtm_flags & 16 ? 'linkdown' : '',
  ];
  return {
    dst,
    type,
    table,
    dev,
    via,
    src: a.RTA_PREFSRC,
    protocol: h.rtm_protocol,
    metric: a.RTA_PRIORITY ?? 0,
    mtu,
    text: words.filter((w) => w !== '').join(' '),
  };
}

/** strerror(3) of what RTM_GETROUTE answers. */
export const REFUSALS: Readonly<Record<string, string>> = {
  ENETUNREACH: 'Network is unreachable',
  EHOSTUNREACH: 'No route to host',
  EINVAL: 'Invalid argument (a blackhole route)',
  EACCES: 'Permission denied (a prohibit route)',
  EXDEV: 'Invalid cross-device link (the source is refused by rp_filter or martian)',
};
