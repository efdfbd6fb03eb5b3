import type { Family } from '../net/addr.ts';
import { type Commands, demand, MissingCommand } from './command.ts';

/** iptables speaks to the kernel in two ways that do not see each other; a host may have rules in both. */
export type Backend = 'nft' | 'legacy';

/** One of the iptables programs of this host. */
export interface IptablesTool {
  readonly family: Family;
  readonly backend: Backend;
  /** E.g. `iptables-nft`; `-save` and `-restore` are appended. */
  readonly name: string;
}

/** Seconds to wait for the xtables lock, which kube-proxy and Docker take too. */
const LOCK_WAIT = '5';

/** The plain name of a family's program, for messages. */
export const plainName = (family: Family): string => (family === 4 ? 'iptables' : 'ip6tables');

/** The iptables programs installed here: at most one for each family and backend. */
export async function findTools(commands: Commands): Promise<IptablesTool[]> {
  const tools: IptablesTool[] = [];
  for (const family of [4, 6] as const) {
    const plain = plainName(family);
    for (const name of [`${plain}-nft`, plain, `${plain}-legacy`]) {
      const backend = await backendOf(commands, name);
      const known = tools.some((t) => t.family === family && t.backend === backend);
      if (backend && !known) tools.push({ family, backend, name });
    }
  }
  return tools;
}

/** `iptables v1.8.9 (nf_tables)`; before 1.8 there was only legacy, and no word about it. */
async function backendOf(commands: Commands, name: string): Promise<Backend | undefined> {
  try {
    const { status, stdout } = await commands.run([name, '-V']);
    if (status !== 0) return undefined;
    return stdout.includes('nf_tables') ? 'nft' : 'legacy';
  } catch (error) {
    if (error instanceof MissingCommand) return undefined;
    throw error;
  }
}

/**
 * The tables of legacy iptables that exist in this namespace. Asking the program itself would make them, and packets
 * would go through them from then on.
 */
export async function legacyTables(commands: Commands, family: Family): Promise<ReadonlySet<string>> {
  const names = await commands.read(`/proc/net/${family === 4 ? 'ip' : 'ip6'}_tables_names`);
  return new Set((names ?? '').split('\n').filter(Boolean));
}

/** `iptables-save -t <table>`. */
export async function save(commands: Commands, tool: IptablesTool, table: string): Promise<string> {
  return demand(
    await commands.run([`${tool.name}-save`, '-t', table]),
    `list table ${table} by ${tool.name}-save`,
  );
}

/** The rules of one chain as `iptables -S` prints them (`-A CHAIN …`); undefined when there is no such chain. */
export async function listChain(
  commands: Commands,
  tool: IptablesTool,
  table: string,
  chain: string,
): Promise<string[] | undefined> {
  const { status, stdout } = await commands.run([tool.name, '-w', LOCK_WAIT, '-t', table, '-S', chain]);
  return status === 0 ? stdout.split('\n').filter((line) => line.startsWith('-A ')) : undefined;
}

/** `iptables-restore -n`: apply one transaction, leaving all else as it is. */
export async function restore(
  commands: Commands,
  tool: IptablesTool,
  input: string,
  what: string,
): Promise<void> {
  demand(
    await commands.run([`${tool.name}-restore`, '-w', LOCK_WAIT, '-n'], input),
    `${what} by ${tool.name}-restore`,
  );
}
