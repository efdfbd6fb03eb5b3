import type { Commands } from './command.ts';
import { transaction } from './forward.ts';
import { type IptablesTool, listChain, restore } from './forwardTools.ts';
import { parseRule } from './iptablesSave.ts';
import { applyNft, type NftState } from './nftState.ts';

/** The tables flanneld makes when EnableNFTables is set. */
const TABLES = ['ip flannel-ipv4', 'ip6 flannel-ipv6'];

/** The chains flanneld makes otherwise, in both families, and the chain it jumps from. */
const CHAINS = [
  { table: 'nat', name: 'FLANNEL-POSTRTG', from: 'POSTROUTING' },
  { table: 'filter', name: 'FLANNEL-FWD', from: 'FORWARD' },
] as const;

/** flanneld's tables. */
export const flannelTables = (nft: NftState): string[] => TABLES.filter((t) => nft.tables.has(t));

/** flanneld's chains in nf_tables. */
export const flannelChains = (nft: NftState): string[] =>
  nft.chains
    .filter((c) => /^ip6?$/.test(c.family) && CHAINS.some((f) => f.table === c.table && f.name === c.name))
    .map((c) => `${c.family} ${c.table} ${c.name}`);

/** Delete flanneld's tables, as {@link flannelTables} named them, in one transaction. */
export async function removeFlannelTables(commands: Commands, tables: readonly string[]): Promise<void> {
  // Adding first makes the deletion work even when flanneld has deleted it meanwhile.
  const input = tables.map((t) => `add table ${t}\ndelete table ${t}\n`).join('');
  await applyNft(commands, input, `delete flanneld's nft tables ${tables.join(', ')}`);
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
