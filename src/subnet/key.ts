import type { Family } from '../net/addr.ts';
import { parseAddr } from '../net/addr.ts';
import { formatPrefix, network, type Prefix, samePrefix } from '../net/prefix.ts';
import type { SubnetKey } from './types.ts';

/** What flannel's own key function writes where a network has no IPv4: its zero value. */
const NO_IPV4 = '0.0.0.0-0';
/** Longer than any key can be (18 + 1 + 43). */
const MAX_KEY = 64;

/**
 * The key of a lease, as flannel writes it: `10.1.5.0-24`; with two families `10.12.13.0-24&fd00:12:13::-56`; with
 * IPv6 alone `0.0.0.0-0&fd00:12:13::-56` (a bare IPv6 key is one that flannel cannot read).
 * Host bits are cleared. Throws RangeError when there is not one prefix of each of one or two families.
 */
export function formatKey(subnets: readonly Prefix[]): SubnetKey {
  const of = (family: Family) => subnets.filter((s) => s.addr.family === family);
  const [v4, v6] = [of(4), of(6)];
  if (v4.length > 1 || v6.length > 1 || subnets.length === 0) {
    throw new RangeError(`a lease has one subnet for each family, not [${subnets.map(formatPrefix)}]`);
  }
  const text = (s: Prefix) => formatPrefix(network(s)).replace('/', '-');
  return (v6[0] ? `${v4[0] ? text(v4[0]) : NO_IPV4}&${text(v6[0])}` : text(v4[0]!)) as SubnetKey;
}

export type ParsedKey =
  | { readonly key: SubnetKey; readonly subnets: readonly Prefix[] }
  | {
      /** Why it is not a key. */
      readonly reason: string;
      /** What it would stand for all the same: such a key still occupies its subnets. */
      readonly occupies: readonly Prefix[];
    };

/**
 * Read the part of an etcd key behind `<prefix>/subnets/`. Only the canonical form is a key (what {@link formatKey}
 * writes): flannel, rewriting a lease under another spelling, makes a second key out of it. Never throws.
 */
export function parseKey(text: string): ParsedKey {
  const bad = (reason: string, occupies: readonly Prefix[] = []): ParsedKey => ({ reason, occupies });
  if (text.length > MAX_KEY) return bad(`longer than ${MAX_KEY} characters`);
  const [v4, v6, ...more] = text.split('&');
  if (more.length > 0) return bad('more than two subnets');
  const subnets: Prefix[] = [];
  if (v4 !== NO_IPV4 || v6 === undefined) {
    const subnet = parsePart(v4!, 4);
    if (!subnet) return bad('not an IPv4 address and a prefix length joined by "-"');
    subnets.push(subnet);
  }
  if (v6 !== undefined) {
    const subnet = parsePart(v6, 6);
    if (!subnet)
      return bad('what follows "&" is not an IPv6 address and a prefix length joined by "-"', subnets);
    subnets.push(subnet);
  }
  const occupies = subnets.map(network);
  if (subnets.some((s) => s.len === 0)) return bad('a prefix length of 0', []);
  if (subnets.some((s, i) => !samePrefix(s, occupies[i]!)))
    return bad('address bits set behind the prefix length', occupies);
  const key = formatKey(subnets);
  // As made by map(): thousands are kept, and what was pushed to has room for many more.
  return key === text ? { key, subnets: occupies } : bad(`not in canonical form, which is ${key}`, occupies);
}

/** `10.1.5.0-24` or `fd00::-56`, of that family. */
function parsePart(text: string, family: Family): Prefix | undefined {
  const match = /^([0-9a-f.:]+)-(0|[1-9]\d{0,2})$/.exec(text);
  const addr = match && parseAddr(match[1]!);
  if (!match || !addr || addr.family !== family) return undefined;
  const len = Number(match[2]);
  return len <= (family === 4 ? 32 : 128) ? { addr, len } : undefined;
}

/** For messages: `10.1.5.0/24 and fd00:12:13::/56`. */
export const describeSubnets = (subnets: readonly Prefix[]): string =>
  subnets.map(formatPrefix).join(' and ');
