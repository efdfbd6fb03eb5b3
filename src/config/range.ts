import type { Fields } from '../fields.ts';
import { type Addr, bits, type Family, formatAddr, parseAddr } from '../net/addr.ts';
import {
  containsAddr,
  formatPrefix,
  lastAddr,
  network,
  offset,
  type Prefix,
  parsePrefix,
} from '../net/prefix.ts';
import type { FamilyNetwork } from '../subnet/types.ts';

/** The keys of one family in the network config. */
const KEYS = {
  4: { network: 'Network', len: 'SubnetLen', min: 'SubnetMin', max: 'SubnetMax', example: '10.5.0.0/16' },
  6: {
    network: 'IPv6Network',
    len: 'IPv6SubnetLen',
    min: 'IPv6SubnetMin',
    max: 'IPv6SubnetMax',
    example: 'fd00:5::/48',
  },
} as const;

/** The length a host gets when the network is large enough for four of them. */
const USUAL_LEN: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };

/** What is written for one family. */
interface Written {
  /** Without host bits. */
  readonly network: Prefix | undefined;
  /** 0: not given, as in Go. */
  readonly len: number;
  readonly min: Addr | undefined;
  readonly max: Addr | undefined;
}

function read(f: Fields, family: Family): Written {
  const keys = KEYS[family];
  const address = (text: string): Addr | undefined => {
    const a = parseAddr(text);
    return a?.family === family ? a : undefined;
  };
  const given = (name: string): Addr | undefined => {
    const a = f.text(name, `an IPv${family} address`, address);
    return a?.value === 0n ? undefined : a;
  };
  return {
    network: f.text(keys.network, `an IPv${family} prefix such as ${keys.example}`, (text) => {
      const p = parsePrefix(text);
      return p?.addr.family === family ? network(p) : undefined;
    }),
    len: f.integer(keys.len, 0, 128, 0),
    min: given(keys.min),
    max: given(keys.max),
  };
}

/**
 * Read one family of the network config: the range hosts get their subnets from. Whatever is wrong goes to the
 * fields' problems; for a disabled family only what cannot be read at all. Undefined where nothing can be made of it.
 */
export function readRange(f: Fields, family: Family, enabled: boolean): FamilyNetwork | undefined {
  const written = read(f, family);
  if (!enabled) return undefined;
  const keys = KEYS[family];
  const net = written.network;
  if (!net || net.len === 0) {
    // Text that is no prefix has been complained about already.
    if (net || !f.has(keys.network)) {
      const expected = `a correct ${keys.network} parameter in the flannel config, such as "${keys.example}"`;
      f.problem(keys.network, expected, net && formatPrefix(net));
    }
    return undefined;
  }
  const len = subnetLen(f, family, net, written.len);
  const inside = (name: string, a: Addr | undefined): boolean => {
    if (!a || containsAddr(net, a)) return true;
    f.problem(name, `an address in the range of the ${keys.network} ${formatPrefix(net)}`, formatAddr(a));
    return false;
  };
  const within = [inside(keys.min, written.min), inside(keys.max, written.max)].every(Boolean);
  if (len === undefined || !within) return undefined;
  const step = 1n << BigInt(bits(family) - len);
  // The first subnet is left out: its first address is that of the network itself.
  const min = written.min ?? offset(net.addr, step);
  const max = written.max ?? offset(lastAddr(net), 1n - step);
  const aligned = (name: string, a: Addr): boolean => {
    if (a.value % step === 0n) return true;
    f.problem(name, `an address on a ${keys.len} boundary (/${len})`, formatAddr(a));
    return false;
  };
  if (![aligned(keys.min, min), aligned(keys.max, max)].every(Boolean)) return undefined;
  if (min.value > max.value) {
    f.problem(keys.min, `an address not after ${keys.max} ${formatAddr(max)}`, formatAddr(min));
    return undefined;
  }
  return { network: net, subnetLen: len, min, max };
}

/** The length of a host's subnet, given or by default. */
function subnetLen(f: Fields, family: Family, net: Prefix, given: number): number | undefined {
  const keys = KEYS[family];
  const longest = bits(family) - 2;
  if (given === 0) {
    if (net.len <= USUAL_LEN[family] - 2) return USUAL_LEN[family];
    if (net.len <= longest - 2) return net.len + 2;
    const expected = `a larger network: the minimum useful network prefix is /${longest - 2}, four subnets of four addresses`;
    f.problem(keys.network, expected, formatPrefix(net));
  } else if (given > longest) {
    f.problem(keys.len, `less than /${longest + 1}: a host needs room for a tunnel and a bridge`, given);
  } else if (given < net.len + 2) {
    const expected = `${net.len + 2} or more: ${formatPrefix(net)} must be able to accommodate at least four subnets`;
    f.problem(keys.len, expected, given);
  } else {
    return given;
  }
  return undefined;
}
