import { type Addr, parseAddr } from '../../net/addr.ts';
import { containsAddr, type Prefix, parsePrefix } from '../../net/prefix.ts';

/** Names that tools print for numbers: /etc/protocols as libc and nft know it, ICMP types as nft and iptables do. */

const PROTOCOLS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    ip: 0,
    icmp: 1,
    igmp: 2,
    ipencap: 4,
    ipip: 4,
    tcp: 6,
    udp: 17,
    dccp: 33,
    ipv6: 41,
    gre: 47,
    esp: 50,
    ah: 51,
    icmpv6: 58,
    'ipv6-icmp': 58,
    ospf: 89,
    vrrp: 112,
    sctp: 132,
    udplite: 136,
  }),
);

/** IP protocols whose header begins with source and destination port. */
export const WITH_PORTS: ReadonlySet<number> = new Set([6, 17, 33, 132, 136]);

/** An IP protocol by number or name. */
export function protocolOf(word: unknown): number | undefined {
  if (typeof word === 'number') return word;
  if (typeof word !== 'string') return undefined;
  return /^\d+$/.test(word) ? Number(word) : PROTOCOLS.get(word);
}

const ICMP: ReadonlyMap<string, number> = new Map(
  Object.entries({
    'echo-reply': 0,
    'destination-unreachable': 3,
    'source-quench': 4,
    redirect: 5,
    'echo-request': 8,
    'router-advertisement': 9,
    'router-solicitation': 10,
    'time-exceeded': 11,
    'parameter-problem': 12,
  }),
);

const ICMP6: ReadonlyMap<string, number> = new Map(
  Object.entries({
    'destination-unreachable': 1,
    'packet-too-big': 2,
    'time-exceeded': 3,
    'parameter-problem': 4,
    'echo-request': 128,
    'echo-reply': 129,
    'nd-router-solicit': 133,
    'nd-router-advert': 134,
    'nd-neighbor-solicit': 135,
    'nd-neighbor-advert': 136,
  }),
);

/** An ICMP type by number or name. */
export function icmpTypeOf(word: unknown, six: boolean): number | undefined {
  if (typeof word === 'number') return word;
  if (typeof word !== 'string') return undefined;
  return /^\d+$/.test(word) ? Number(word) : (six ? ICMP6 : ICMP).get(word);
}

/** `eth+` of iptables, `eth*` of nft: a prefix of names; else the whole name. */
export function fitsName(name: string, pattern: string, wildcard: '+' | '*'): boolean {
  if (pattern.endsWith(`\\${wildcard}`)) return name === pattern.slice(0, -2) + wildcard;
  return pattern.endsWith(wildcard) ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** `10.0.0.0/8`, `10.0.0.1`, `10.0.0.0/255.0.255.0`: a test for addresses; undefined when it cannot be read. */
export function addressTest(text: string): ((a: Addr) => boolean) | undefined {
  const [left = '', right] = text.split('/');
  const base = parseAddr(left);
  if (!base) return undefined;
  if (right === undefined) return (a) => a.family === base.family && a.value === base.value;
  const prefix: Prefix | undefined = parsePrefix(text);
  if (prefix) return (a) => containsAddr(prefix, a);
  const mask = parseAddr(right);
  if (mask?.family !== base.family) return undefined;
  return (a) => a.family === base.family && (a.value & mask.value) === (base.value & mask.value);
}
