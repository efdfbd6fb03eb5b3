import type { Family } from '../net/addr.ts';
import type { Commands } from './command.ts';
import { demand } from './command.ts';
import { transaction } from './forward.ts';
import { type IptablesTool, listChain, restore } from './forwardTools.ts';
import { parseRule } from './iptablesSave.ts';
import type { NftListing } from './nftListing.ts';

/** The tables flanneld makes when EnableNFTables is set. */
const TABLES = [
  { family: 'ip', name: 'flannel-ipv4' },
  { family: 'ip6', name: 'flannel-ipv6' },
] as const;

/** The chains flanneld makes otherwise, in both families, and the chain it jumps from. */
const CHAINS = [
  { table: 'nat', name: 'FLANNEL-POSTRTG', from: 'POSTROUTING' },
  { table: 'filter', name: 'FLANNEL-FWD', from: 'FORWARD' },
] as const;

/** flanneld's tables in a listing. */
export const flannelTables = (listing: NftListing): string[] =>
  TABLES.filter((t) => listing.tables.some((l) => l.family === t.family && l.name === t.name)).map(
    (t) => `${t.family} ${t.name}`,
  );

/** flanneld's chains in a listing: those its nft variant of iptables made. */
export const flannelChains = (listing: NftListing): string[] =>
  listing.chains
    .filter((c) => c.family !== 'inet' && CHAINS.some((f) => f.table === c.table && f.name === c.name))
    .map((c) => `${c.family} ${c.table} ${c.name}`);

/** Delete flanneld's tables, as {@link flannelTables} named them, in one transaction. */
export async function removeFlannelTables(commands: Commands, tables: readonly string[]): Promise<void> {
  // Adding first makes the deletion work even when flanneld has deleted it meanwhile.
  const input = tables.map((t) => `add table ${t}\ndelete table ${t}\n`).join('');
  demand(await commands.run(['nft', '-f', '-'], input), `delete flanneld's nft tables ${tables.join(', ')}`);
}

/** Delete flanneld's chains and the jumps to them, one transaction for each table that exists. Returns what went. */
export async function removeFlannelChains(
  commands: Commands,
  tool: IptablesTool,
  exists: (table: string) => boolean,
): Promise<string[]> {
  const removed: string[] = [];
  for (const { table, name, from } of CHAINS) {
    if (!exists(table) || !(await listChain(commands, tool, table, name))) continue;
    const jumps = ((await listChain(commands, tool, table, from)) ?? []).filter(
      (line) => parseRule(line.slice(`-A ${from} `.length)).target === name,
    );
    const lines = [...jumps.map((line) => `-D${line.slice(2)}`), `-F ${name}`, `-X ${name}`];
    await restore(
      commands,
      tool,
      transaction(table, lines),
      `delete flanneld's chain ${name} in table ${table}`,
    );
    removed.push(`${tool.name} ${table} ${name}`);
  }
  return removed;
}

/** Whether nft's listing has a table of iptables' own in this family. */
export const nftHasTable = (listing: NftListing, family: Family, table: string): boolean =>
  listing.tables.some((t) => t.family === (family === 4 ? 'ip' : 'ip6') && t.name === table);
