import { formatPrefix, type Prefix } from '../../net/prefix.ts';
import type { Firewall, RuleRef } from '../firewall/index.ts';

/** `"-j DROP" in table ip filter, chain FORWARD`. */
export const ruleWords = ({ where, text }: RuleRef): string => `"${text}" in ${where}`;

/** Why nothing can be said of the rules; undefined: something can. */
export function unreadable({ bases, gaps }: Firewall, privileged: boolean): string | undefined {
  if (bases.length > 0 || gaps.length === 0) return undefined;
  if (!privileged) return "only root may see the firewall's rules";
  return `the firewall's rules cannot be read: ${gaps.join('; ').replace(/\s*\n\s*/g, '; ')}`;
}

interface Place {
  /** `nft`, `iptables`, `iptables-legacy`, … */
  readonly tool: string;
  /** With nft also its family. */
  readonly table: string;
  readonly chain: string;
}

/** Reads what {@link RuleRef.where} says. iptables' own tables are nft's too, and are changed by iptables. */
export function placeOf(where: string, family: 4 | 6): Place | undefined {
  const [, nft, tool, inner, chain] =
    /^(?:nft table (.+)|(\S+), table (\S+)), chain (\S+)$/.exec(where) ?? [];
  if (!chain) return undefined;
  const plain = family === 4 ? 'iptables' : 'ip6tables';
  if (tool !== undefined && inner !== undefined) return { tool, table: inner, chain };
  const table = nft!;
  const own = /^ip6? (filter|nat|mangle|raw|security)$/.exec(table)?.[1];
  if (own && chain === chain.toUpperCase()) return { tool: plain, table: own, chain };
  return { tool: 'nft', table, chain };
}

/** Commands that accept a prefix before all else in that chain. */
export function lettingPass(where: string, net: Prefix): string {
  const { family } = net.addr;
  const place = placeOf(where, family);
  const text = formatPrefix(net);
  if (!place) return `accept what comes from and goes to ${text} there`;
  const { tool, table, chain } = place;
  if (tool !== 'nft')
    return `${tool} -t ${table} -I ${chain} -s ${text} -j ACCEPT; ${tool} -t ${table} -I ${chain} -d ${text} -j ACCEPT`;
  const ip = family === 4 ? 'ip' : 'ip6';
  return (
    `nft insert rule ${table} ${chain} ${ip} saddr ${text} accept; nft insert rule ${table} ${chain} ${ip} daddr ${text} accept ` +
    `(and the same in the file it is loaded from)`
  );
}

/** Commands that accept a UDP port before all else in that chain. */
export function lettingPortPass(where: string, family: 4 | 6, port: number): string {
  const place = placeOf(where, family);
  if (!place) return `accept UDP port ${port} there`;
  const { tool, table, chain } = place;
  return tool === 'nft'
    ? `nft insert rule ${table} ${chain} udp dport ${port} accept (and the same in the file it is loaded from)`
    : `${tool} -t ${table} -I ${chain} -p udp --dport ${port} -j ACCEPT`;
}
