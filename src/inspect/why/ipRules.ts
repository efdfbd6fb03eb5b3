import type { Addr } from '../../net/addr.ts';
import { formatAddr } from '../../net/addr.ts';
import { addr, bytes, string, u8, u32 } from '../../netlink/codecs.ts';
import type { Message, Shape } from '../../netlink/message.ts';
import { verbs } from '../../netlink/message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../../netlink/policy.ts';

/** Policy routing rules (linux/fib_rules.h), as far as it takes to show them and to find who bypasses the main table. */

const fibRuleHdr = header('fib_rule_hdr', {
  family: u8,
  dst_len: u8,
  src_len: u8,
  tos: u8,
  table: u8,
  res1: u8,
  res2: u8,
  action: u8,
  flags: u32,
});

const FRA = attributes({
  FRA_DST: [1, addr],
  FRA_SRC: [2, addr],
  FRA_IIFNAME: [3, string],
  FRA_GOTO: [4, u32],
  FRA_PRIORITY: [6, u32],
  FRA_FWMARK: [10, u32],
  FRA_SUPPRESS_PREFIXLEN: [14, u32],
  FRA_TABLE: [15, u32],
  FRA_FWMASK: [16, u32],
  FRA_OIFNAME: [17, string],
  FRA_L3MDEV: [19, u8],
  FRA_UID_RANGE: [20, bytes],
  FRA_PROTOCOL: [21, u8],
  FRA_IP_PROTO: [22, u8],
  FRA_SPORT_RANGE: [23, bytes],
  FRA_DPORT_RANGE: [24, bytes],
});

const shape: Shape<HeaderOf<typeof fibRuleHdr>, ValuesOf<typeof FRA>> = {
  name: 'rule',
  header: fibRuleHdr,
  attributes: FRA,
};

/** RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE. */
export const rule = verbs(shape, { new: 32, del: 33, get: 34 });

/** enum of fr_action. */
const ACTIONS: Readonly<Record<number, IpRule['action']>> = {
  1: 'table',
  2: 'goto',
  3: 'nop',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
};
/** flags: the selector is negated. */
const FIB_RULE_INVERT = 2;

export interface IpRule {
  readonly priority: number;
  readonly action: 'table' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit';
  readonly table: number;
  readonly src?: { readonly addr: Addr; readonly len: number };
  readonly dst?: { readonly addr: Addr; readonly len: number };
  /** It is for packets that do not fit. */
  readonly inverted: boolean;
  /** It goes by the packet's mark. */
  readonly byMark: boolean;
  /** In the words of `ip rule`. */
  readonly text: string;
}

const TABLES: Readonly<Record<number, string>> = { 253: 'default', 254: 'main', 255: 'local' };

/** A routing table as `ip` names it. */
export const tableName = (n: number): string => TABLES[n] ?? String(n);

/** A rule as it is shown; one of an action that is not known here says its number. */
export function readRule({
  header: h,
  attributes: a,
}: Message<HeaderOf<typeof fibRuleHdr>, ValuesOf<typeof FRA>>): IpRule {
  const src = a.FRA_SRC && { addr: a.FRA_SRC, len: h.src_len };
  const dst = a.FRA_DST && { addr: a.FRA_DST, len: h.dst_len };
  const table = a.FRA_TABLE ?? h.table;
  const action = ACTIONS[h.action] ?? 'nop';
  // The kernel leaves a mark of 0 out, unless it has a mask.
  const byMark = a.FRA_FWMARK !== undefined || a.FRA_FWMASK !== undefined;
  const mask =
    a.FRA_FWMASK === undefined || a.FRA_FWMASK === 0xffffffff ? '' : `/0x${a.FRA_FWMASK.toString(16)}`;
  const words = [
    `${a.FRA_PRIORITY ?? 0}:`,
    h.flags & FIB_RULE_INVERT ? 'not' : '',
    src ? `from ${formatAddr(src.addr)}/${src.len}` : 'from all',
    dst ? `to ${formatAddr(dst.addr)}/${dst.len}` : '',
    byMark ? `fwmark 0x${(a.FRA_FWMARK ?? 0).toString(16)}${mask}` : '',
    a.FRA_IIFNAME ? `iif ${a.FRA_IIFNAME}` : '',
    a.FRA_OIFNAME ? `oif ${a.FRA_OIFNAME}` : '',
    a.FRA_IP_PROTO ? `ipproto ${a.FRA_IP_PROTO}` : '',
    action === 'table' ? (a.FRA_L3MDEV ? 'lookup [l3mdev-table]' : `lookup ${tableName(table)}`) : action,
  ];
  return {
    priority: a.FRA_PRIORITY ?? 0,
    action,
    table,
    ...(src ? { src } : {}),
    ...(dst ? { dst } : {}),
    inverted: (h.flags & FIB_RULE_INVERT) !== 0,
    byMark,
    text: words.filter((w) => w !== '').join(' '),
  };
}
