import { FORWARD_COMMENT } from '../contract.ts';
import { parseAddr } from '../net/addr.ts';
import { containsPrefix, formatPrefix, hostPrefix, type Prefix, parsePrefix } from '../net/prefix.ts';
import type { SavedRule, SavedTable } from './iptablesSave.ts';
import type { NftChain, NftRule } from './nftListing.ts';

/*
 * Firewalls we see and leave alone: they refuse the overlay's packets at a place where an accept of ours has no say.
 * An accept in one nft chain never overrules a drop in another one, and a chain that an administrator jumps to is his.
 */

/**
 * The chain that refuses every packet from the overlay before our rules in FORWARD are reached; undefined when there
 * is none. Only chains every packet is sent to are followed; an accept for the overlay on the way settles it.
 */
export function refusedBeforeOurs(filter: SavedTable, net: Prefix): string | undefined {
  const seen = new Set<string>();
  /** True: go on behind the jump. */
  const walk = (name: string): boolean | { refusedBy: string } => {
    if (seen.has(name)) return true;
    seen.add(name);
    for (const rule of filter.get(name)?.rules ?? []) {
      if (rule.comment === FORWARD_COMMENT || acceptsFrom(rule, net)) return false;
      if (!rule.blanket || rule.target === undefined) continue;
      if (rule.target === 'ACCEPT') return false;
      if (rule.target === 'RETURN') return true;
      // A refusal in FORWARD itself comes after our rules: that is where they stand.
      if (rule.target === 'DROP' || rule.target === 'REJECT')
        return name !== 'FORWARD' && { refusedBy: name };
      if (!filter.has(rule.target)) continue;
      const after = walk(rule.target);
      if (after !== true) return after;
      if (rule.goto) return true;
    }
    return true;
  };
  const result = walk('FORWARD');
  return typeof result === 'object' ? result.refusedBy : undefined;
}

/** `-s <net or more> -j ACCEPT` and nothing else. */
function acceptsFrom(rule: SavedRule, net: Prefix): boolean {
  if (rule.target !== 'ACCEPT' || rule.args[0] !== '-s') return false;
  const source = parsePrefix(rule.args[1] ?? '');
  return (
    source !== undefined &&
    containsPrefix(source, net) &&
    /^-s \S+ (-m comment .*)?-j ACCEPT$/.test(rule.text)
  );
}

/** What an operator is told about a chain that iptables shows. */
export const jumpProblem = (tool: string, chain: string, net: Prefix): string =>
  `${tool}: chain ${chain} in table filter refuses every packet before loden's rules in FORWARD are reached: pods cannot be ` +
  `reached through this host. Let the overlay pass there: ${tool} -I ${chain} -s ${formatPrefix(net)} -j ACCEPT; ` +
  `${tool} -I ${chain} -d ${formatPrefix(net)} -j ACCEPT`;

/** Base chains through which forwarded packets of `family` go, so that a drop in any of them is final. */
export const forwardHooks = (chains: readonly NftChain[], family: 4 | 6): NftChain[] =>
  chains.filter(
    (c) => c.hook === 'forward' && (c.family === 'inet' || c.family === (family === 4 ? 'ip' : 'ip6')),
  );

/** Does this chain refuse whatever none of its rules has accepted? `rules` are the chain's own. */
export const refuses = (chain: NftChain, rules: readonly NftRule[]): boolean =>
  chain.policy === 'drop' ||
  rules.some((r) => r.expr.length > 0 && r.expr.every(isBlanketRefusal) && verdict(r) !== undefined);

type Json = Readonly<Record<string, unknown>>;
const record = (v: unknown): Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : {};

/** A refusing verdict, or something that is no condition. */
const isBlanketRefusal = (statement: unknown): boolean =>
  ['drop', 'reject', 'counter', 'log'].some((k) => k in record(statement));

const verdict = (r: NftRule): string | undefined =>
  ['drop', 'reject'].find((k) => r.expr.some((s) => k in record(s)));

/** Names of devices that only the overlay and its pods use. */
const OVERLAY_DEVICE = /^(?:flannel|cni|docker)/;

/**
 * Has the operator let the overlay pass? True when a rule of the table accepts (or sends on) packets from the overlay's
 * prefix, or from its devices. A rule that tests more than that counts too: it is taken for the operator's own will.
 */
export const letsPass = (rules: readonly NftRule[], net: Prefix): boolean =>
  rules.some(
    (r) =>
      r.expr.some((s) => ['accept', 'jump', 'goto'].some((k) => k in record(s))) &&
      r.expr.some((s) => {
        const match = record(record(s).match);
        const left = record(match.left);
        if (match.op !== '==') return false;
        if (record(left.payload).field === 'saddr') return values(match.right).some((v) => covers(v, net));
        const device = record(left.meta).key === 'iifname';
        return device && values(match.right).some((v) => typeof v === 'string' && OVERLAY_DEVICE.test(v));
      }),
  );

/** The values a match tests for: one, or those of an anonymous set. */
const values = (right: unknown): readonly unknown[] => {
  const set = record(right).set;
  return Array.isArray(set) ? set : [right];
};

function covers(value: unknown, net: Prefix): boolean {
  const p = record(record(value).prefix);
  const a = parseAddr(String(typeof value === 'string' ? value : p.addr));
  if (!a) return false;
  const len = p.len;
  return containsPrefix(typeof len === 'number' ? { addr: a, len } : hostPrefix(a), net);
}

/** What an operator is told about an nft chain that is not iptables'. */
export function nftProblem(chain: NftChain, net: Prefix): string {
  const where = `${chain.family} ${chain.table} ${chain.name}`;
  const ip = net.addr.family === 4 ? 'ip' : 'ip6';
  const p = formatPrefix(net);
  const todo =
    chain.table === 'firewalld'
      ? `firewall-cmd --permanent --zone=trusted --add-source=${p} && firewall-cmd --reload`
      : `nft insert rule ${where} ${ip} saddr ${p} accept; nft insert rule ${where} ${ip} daddr ${p} accept ` +
        `(and the same in the file it is loaded from, often /etc/nftables.conf)`;
  return (
    `nft chain ${where} refuses forwarded packets${chain.policy === 'drop' ? ' (policy drop)' : ''}, those of pods in ${p} too, ` +
    `and no rule elsewhere can overrule it. Let the overlay pass there: ${todo}`
  );
}
