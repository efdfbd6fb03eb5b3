import { NFT_TABLE, NO_MASQ_MARK } from '../contract.ts';
import { type Family, formatAddr, parseAddr } from '../net/addr.ts';
import { formatPrefix, network, type Prefix, prefix } from '../net/prefix.ts';
import type { NftListing, NftRule } from './nftListing.ts';

/** What is masqueraded in one family; the family is that of the prefixes. */
export interface Masquerade {
  /** The overlay of this family: all pods of all nodes. */
  readonly network: Prefix;
  /** The own lease's subnet. */
  readonly subnet: Prefix;
  /** Choose source ports at random: avoids insertion races in conntrack (--ip-masq-fully-random-disable turns it off). */
  readonly fullyRandom: boolean;
}

/** Never masqueraded: multicast (RFC 5771, RFC 4291 2.7). */
const MULTICAST = { 4: prefix('224.0.0.0/4'), 6: prefix('ff00::/8') } as const;

/** The nft family of our table for an address family. */
export const tableFamily = (family: Family): 'ip' | 'ip6' => (family === 4 ? 'ip' : 'ip6');

const CHAIN = 'postrouting';
/** `srcnat` (NF_IP_PRI_NAT_SRC): where Docker and kube-proxy masquerade too. */
const HOOK = { type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' } as const;

/** The rules of our chain in nft's words, in order. The first that matches decides. */
function masqueradeRules(m: Masquerade): string[] {
  const family = m.network.addr.family;
  const ip = tableFamily(family);
  const net = formatPrefix(network(m.network));
  const pod = formatPrefix(network(m.subnet));
  const masquerade = m.fullyRandom ? 'masquerade fully-random' : 'masquerade';
  const mark = `0x${NO_MASQ_MARK.toString(16)}`;
  return [
    // kube-proxy masquerades what it has marked; doing it twice breaks some kernels.
    `meta mark & ${mark} == ${mark} return`,
    // Inside the overlay pods see each other's own addresses.
    `${ip} saddr ${pod} ${ip} daddr ${net} return`,
    `${ip} saddr ${net} ${ip} daddr ${pod} return`,
    // Traffic from elsewhere that was routed here, to its pod's node, keeps its source.
    `${ip} saddr != ${net} ${ip} daddr ${pod} return`,
    // From pods to the world.
    `${ip} saddr ${net} ${ip} daddr != ${formatPrefix(MULTICAST[family])} ${masquerade}`,
    // From elsewhere through this node to a pod of another one: the answer must come back this way.
    `${ip} saddr != ${net} ${ip} daddr ${net} ${masquerade}`,
  ];
}

/** A table as text: what is desired and what is listed are written in the same words, so that they can be compared. */
function tableText(
  family: 'ip' | 'ip6',
  chains: readonly { head: string; rules: readonly string[] }[],
): string {
  const body = chains.map(({ head, rules }) => `${head}\n${rules.map((r) => `\t\t${r}\n`).join('')}\t}\n`);
  return `table ${family} ${NFT_TABLE} {\n${body.join('')}}\n`;
}

const chainHead = (
  name: string,
  c: { type?: unknown; hook?: unknown; prio?: unknown; policy?: unknown },
): string => `\tchain ${name} {\n\t\ttype ${c.type} hook ${c.hook} priority ${c.prio}; policy ${c.policy};`;

/** Our table for one family, as `nft -f` reads it. */
export const desiredTable = (m: Masquerade): string =>
  tableText(tableFamily(m.network.addr.family), [
    { head: chainHead(CHAIN, HOOK), rules: masqueradeRules(m) },
  ]);

/** Our table as the kernel has it, in the words of {@link desiredTable}; undefined when there is none. */
export function listedTable(listing: NftListing, family: 'ip' | 'ip6'): string | undefined {
  const ours = (o: { family: string; table: string }) => o.family === family && o.table === NFT_TABLE;
  const table = listing.tables.find((t) => t.family === family && t.name === NFT_TABLE);
  if (!table) return undefined;
  const chains = listing.chains.filter(ours).map((c) => ({
    head: chainHead(c.name, c),
    rules: listing.rules.filter((r) => ours(r) && r.chain === c.name).map(ruleText),
  }));
  // A set, a flowtable, a `dormant` flag: none of ours has any, so the texts must differ.
  const strange = listing.others.filter(ours).length;
  const flags = table.flagged ? 'flags' : '';
  return `${tableText(family, chains)}${strange > 0 ? `${strange} other objects` : ''}${flags}`;
}

/**
 * The input of `nft -f -` that puts one family's table, or removes it. One transaction: no packet sees the table
 * half made or missing.
 */
export function replaceTable(family: Family, m: Masquerade | undefined): string {
  const name = `${tableFamily(family)} ${NFT_TABLE}`;
  // Adding first makes the deletion work whether the table is there or not.
  return `add table ${name}\ndelete table ${name}\n${m ? desiredTable(m) : ''}`;
}

/** A listed rule in the words of {@link masqueradeRules}; anything unknown is told as it is, and so matches none. */
const ruleText = (rule: NftRule): string => rule.expr.map(statementText).join(' ');

type Json = Readonly<Record<string, unknown>>;
const record = (v: unknown): Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : {};

/** One statement as libnftables-json(5) has it. */
function statementText(statement: unknown): string {
  const s = record(statement);
  if ('return' in s) return 'return';
  if ('masquerade' in s) {
    const flags = record(s.masquerade).flags;
    return ['masquerade', ...(flags === undefined ? [] : [flags].flat())].join(' ');
  }
  const match = record(s.match);
  const left = record(match.left);
  const op = match.op === '==' ? '' : `${match.op} `;
  const field = record(left.payload);
  if (typeof field.field === 'string') {
    const right = prefixText(match.right);
    if (right) return `${field.protocol} ${field.field} ${op}${right}`;
  }
  const and = left['&'];
  if (Array.isArray(and) && record(record(and[0]).meta).key === 'mark') {
    return `meta mark & ${hex(and[1])} ${match.op} ${hex(match.right)}`;
  }
  return JSON.stringify(statement);
}

const hex = (n: unknown): string => (typeof n === 'number' ? `0x${n.toString(16)}` : JSON.stringify(n));

/** The right side of a match on an address: `{prefix: {addr, len}}`, or the bare address of a single host. */
function prefixText(right: unknown): string | undefined {
  const p = record(record(right).prefix);
  const a = parseAddr(String(typeof right === 'string' ? right : p.addr));
  if (!a) return undefined;
  return `${formatAddr(a)}/${typeof right === 'string' ? (a.family === 4 ? 32 : 128) : p.len}`;
}
