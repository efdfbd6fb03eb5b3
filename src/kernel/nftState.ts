import { NFT_TABLE } from '../contract.ts';
import type { Family } from '../net/addr.ts';
import { type Commands, demand } from './command.ts';
import { listedTable, tableFamily } from './nft.ts';
import { type NftChain, type NftRule, parseListing, parseTables } from './nftListing.ts';

/** What nf_tables holds, as far as it concerns us. */
export interface NftState {
  /** As `nft list tables` names them: `ip loden`. */
  readonly tables: ReadonlySet<string>;
  /** All chains of all tables. */
  readonly chains: readonly NftChain[];
  /** Our tables that exist, in the words of {@link desiredTable}. */
  readonly ours: ReadonlyMap<Family, string>;
}

/** Look at nf_tables. Rejects with MissingCommand when nft is not installed, with a LodenError when it fails. */
export async function readNft(commands: Commands): Promise<NftState> {
  // The tables as text: nft 1.0.6 cuts its JSON off at a table with flags, anybody's.
  const [tables, chains] = await Promise.all([
    commands.run(['nft', 'list', 'tables']).then((r) => parseTables(demand(r, 'nft list tables'))),
    commands
      .run(['nft', '-j', 'list', 'chains'])
      .then((r) => parseListing(demand(r, 'nft list chains')).chains),
  ]);
  const ours = ([4, 6] as const).filter((family) => tables.has(`${tableFamily(family)} ${NFT_TABLE}`));
  // One by one: of several tables nft 1.0.6 reads only one, and says that the others do not exist.
  const texts = await Promise.all(ours.map(async (f) => [f, await readOurs(commands, f)] as const));
  return { tables, chains, ours: new Map(texts) };
}

async function readOurs(commands: Commands, family: Family): Promise<string> {
  const { status, stdout } = await commands.run([
    'nft',
    '-j',
    'list',
    'table',
    tableFamily(family),
    NFT_TABLE,
  ]);
  try {
    return (status === 0 && listedTable(parseListing(stdout), tableFamily(family))) || 'deleted meanwhile';
  } catch {
    // Cut off: somebody gave it flags. Not as we wrote it, in any case.
    return 'unreadable';
  }
}

/** The rules of somebody else's chain or table; none when it has just gone or nft cannot list it. */
export async function othersRules(
  commands: Commands,
  ...what: readonly string[]
): Promise<readonly NftRule[]> {
  const { status, stdout } = await commands.run(['nft', '-j', 'list', ...what]);
  try {
    return status === 0 ? parseListing(stdout).rules : [];
  } catch {
    return [];
  }
}

/** Apply one transaction. */
export async function applyNft(commands: Commands, input: string, what: string): Promise<void> {
  demand(await commands.run(['nft', '-f', '-'], input), what);
}
