import type { Addr, Family } from '../../net/addr.ts';
import { parseAddr } from '../../net/addr.ts';
import { any, type CtState, type Packet, type Tri } from './packet.ts';
import { addressTest, fitsName, icmpTypeOf, protocolOf } from './words.ts';

/** Options of matches of iptables, as `iptables-save` prints them. */

type Test = (p: Packet) => Tri;

/** The test that an option stands for; undefined: nobody knows here. */
export function matchOf(option: string, value: string, extension: string, family: Family): Test | undefined {
  switch (option) {
    case '-s':
      return addressMatch(value, (p) => p.saddr);
    case '-d':
      return addressMatch(value, (p) => p.daddr);
    case '-i':
      return nameMatch(value, (p) => p.iif);
    case '-o':
      return nameMatch(value, (p) => p.oif);
    case '-p':
      return protocolMatch(value);
  }
  switch (extension) {
    case 'tcp':
    case 'udp':
      if (option === '--dport') return ports([value], (p) => [p.dport]);
      if (option === '--sport') return ports([value], (p) => [p.sport]);
      return undefined;
    case 'multiport': {
      const list = value.split(',');
      if (option === '--dports') return ports(list, (p) => [p.dport]);
      if (option === '--sports') return ports(list, (p) => [p.sport]);
      if (option === '--ports') return ports(list, (p) => [p.sport, p.dport]);
      return undefined;
    }
    case 'conntrack':
      return option === '--ctstate' ? stateMatch(value) : undefined;
    case 'state':
      return option === '--state' ? stateMatch(value) : undefined;
    case 'mark':
      return option === '--mark' ? markMatch(value) : undefined;
    case 'icmp':
    case 'icmp6':
      return icmpMatch(value, family);
    case 'addrtype':
      if (option === '--dst-type') return typeMatch(value, (p) => p.daddrType);
      if (option === '--src-type') return typeMatch(value, (p) => p.saddrType);
      return undefined;
    case 'iprange':
      if (option === '--src-range') return rangeMatch(value, (p) => p.saddr);
      if (option === '--dst-range') return rangeMatch(value, (p) => p.daddr);
      return undefined;
    case 'length':
      return option === '--length' ? ports([value], (p) => [p.length]) : undefined;
    default:
      return undefined;
  }
}

function addressMatch(text: string, of: (p: Packet) => Addr | undefined): Test | undefined {
  const test = addressTest(text);
  return (
    test &&
    ((p) => {
      const a = of(p);
      return a && test(a);
    })
  );
}

const nameMatch =
  (pattern: string, of: (p: Packet) => string | undefined): Test =>
  (p) => {
    const name = of(p);
    return name === undefined ? undefined : fitsName(name, pattern, '+');
  };

function protocolMatch(text: string): Test | undefined {
  if (text === 'all') return () => true;
  const number = protocolOf(text);
  if (number === undefined) return undefined;
  return (p) => (p.proto === undefined ? undefined : p.proto === number);
}

/** Each `80`, `80:90`, `:90` or `80:`. */
function ports(
  list: readonly string[],
  of: (p: Packet) => readonly (number | undefined)[],
): Test | undefined {
  const ranges = list.map((text) => /^(\d*)(:?)(\d*)$/.exec(text));
  if (ranges.some((r) => !r || r[0] === '')) return undefined;
  const bounds = ranges.map((r): readonly [number, number] => {
    const from = Number(r![1] || 0);
    return [from, r![2] ? Number(r![3] || 65535) : from];
  });
  return (p) =>
    any(
      of(p).map((port) => (port === undefined ? undefined : bounds.some(([a, b]) => port >= a && port <= b))),
    );
}

const STATES: ReadonlyMap<string, CtState> = new Map<string, CtState>([
  ['NEW', 'new'],
  ['ESTABLISHED', 'established'],
  ['RELATED', 'related'],
  ['INVALID', 'invalid'],
  ['UNTRACKED', 'untracked'],
]);

/** SNAT and DNAT among the states ask whether an address was translated, which is not known. */
function stateMatch(text: string): Test {
  const wanted = text.split(',').map((name) => STATES.get(name));
  return (p) => {
    if (p.ctState === undefined) return undefined;
    return any(wanted.map((w) => (w === undefined ? undefined : w === p.ctState)));
  };
}

/** `0x1/0xff`: value and mask. */
export function masked(text: string): readonly [number, number] | undefined {
  const [value, mask = '0xffffffff'] = text.split('/');
  const [v, m] = [Number(value), Number(mask)];
  return Number.isInteger(v) && Number.isInteger(m) ? [v >>> 0, m >>> 0] : undefined;
}

function markMatch(text: string): Test | undefined {
  const pair = masked(text);
  return pair && ((p) => (p.mark === undefined ? undefined : (p.mark & pair[1]) >>> 0 === pair[0]));
}

function icmpMatch(text: string, family: Family): Test | undefined {
  if (text === 'any' || text === '255') return () => true;
  if (text.includes('/')) return undefined;
  const number = icmpTypeOf(text, family === 6);
  if (number === undefined) return undefined;
  return (p) => (p.icmpType === undefined ? undefined : p.icmpType === number);
}

function typeMatch(text: string, of: (p: Packet) => string | undefined): Test {
  const wanted = text.toLowerCase().split(',');
  return (p) => {
    const type = of(p);
    return type === undefined ? undefined : wanted.includes(type);
  };
}

function rangeMatch(text: string, of: (p: Packet) => Addr | undefined): Test | undefined {
  const [from, to] = text.split('-').map(parseAddr);
  if (!from || !to) return undefined;
  return (p) => {
    const a = of(p);
    return a && a.family === from.family && a.value >= from.value && a.value <= to.value;
  };
}
