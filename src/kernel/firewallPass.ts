import { FORWARD_COMMENT, NFT_TABLE } from '../contract.ts';
import type { Family } from '../net/addr.ts';
import type { Prefix } from '../net/prefix.ts';
import { type Commands, MissingCommand } from './command.ts';
import { flannelChains, flannelTables, removeFlannelChains, removeFlannelTables } from './flannelRules.ts';
import { forwardChanges } from './forward.ts';
import {
  forwardHooks,
  jumpProblem,
  letsPass,
  nftProblem,
  refusedBeforeOurs,
  refuses,
} from './forwardRefusals.ts';
import {
  type Backend,
  findTools,
  type IptablesTool,
  legacyTables,
  plainName,
  restore,
  save,
} from './forwardTools.ts';
import { parseSave, type SavedTable } from './iptablesSave.ts';
import { desiredTable, type Masquerade, replaceTable, tableFamily } from './nft.ts';
import type { NftChain } from './nftListing.ts';
import { applyNft, type NftState, othersRules, readNft } from './nftState.ts';

const FAMILIES = [4, 6] as const;

/** What the firewall should hold for us. An absent family has none. */
export interface FirewallDesired {
  /** Empty without --ip-masq. */
  readonly masquerade: ReadonlyMap<Family, Masquerade>;
  /** The overlay's prefix; empty with --iptables-forward-rules=false. */
  readonly forward: ReadonlyMap<Family, Prefix>;
}

export const NOTHING: FirewallDesired = { masquerade: new Map(), forward: new Map() };

/** What one look at the kernel found and did. */
export interface PassReport {
  /** What was written, e.g. `table ip loden`, `iptables-nft FORWARD`. */
  readonly masquerade: readonly string[];
  readonly forward: readonly string[];
  /** What of flanneld's was removed. */
  readonly removed: readonly string[];
  /** What only the operator can put right; see docs/firewall.md. */
  readonly problems: readonly string[];
  readonly errors: readonly Error[];
}

/** What to do about rules of flanneld's: remove them, say that they are there, or nothing of that kind, as a cleanup does. */
export type FlannelMode = 'remove' | 'tell' | 'cleanup';

/** What one pass knows and collects. */
interface Look {
  readonly desired: FirewallDesired;
  readonly mode: FlannelMode;
  /** Undefined when nft is missing or failed. */
  readonly nft: NftState | undefined;
  readonly report: { [K in keyof PassReport]: PassReport[K][number][] };
  /** Chains in nf_tables that are iptables' and have been seen to. */
  readonly handled: Set<NftChain>;
}

/** Looks at the kernel's rules and puts ours right: masquerade, forward rules, then flanneld's leftovers, then refusals. */
export class FirewallPass {
  readonly #commands: Commands;
  #tools: readonly IptablesTool[] | undefined;

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  /** One look; nothing is written when all is as desired. Never rejects: each part is tried, its error reported. */
  async run(desired: FirewallDesired, mode: FlannelMode): Promise<PassReport> {
    const report: Look['report'] = { masquerade: [], forward: [], removed: [], problems: [], errors: [] };
    const attempt = <T>(work: Promise<T>): Promise<T | undefined> =>
      work.catch((error: Error) => {
        report.errors.push(error);
        return undefined;
      });
    const nft = await attempt(this.#readNft(desired.masquerade.size > 0));
    const look: Look = { desired, mode, nft, report, handled: new Set() };
    await attempt(this.#masquerade(look));
    for (const family of FAMILIES) {
      await attempt(this.#forward(look, family, 'nft'));
      await attempt(this.#forward(look, family, 'legacy'));
    }
    if (mode === 'remove' && report.errors.length === 0) await attempt(this.#removeFlannel(look));
    if (mode === 'tell' && nft) {
      report.problems.push(...[...flannelTables(nft), ...flannelChains(nft)].map(besideProblem));
    }
    await attempt(this.#refusals(look));
    return report;
  }

  /** Does legacy iptables filter here? Nobody is notified of its changes. */
  async legacyInUse(): Promise<boolean> {
    const tables = await Promise.all(FAMILIES.map((family) => legacyTables(this.#commands, family)));
    return tables.some((t) => t.has('filter'));
  }

  /** Undefined when nft is missing and not needed. */
  async #readNft(needed: boolean): Promise<NftState | undefined> {
    try {
      return await readNft(this.#commands);
    } catch (error) {
      if (error instanceof MissingCommand && !needed) return undefined;
      throw error;
    }
  }

  async #masquerade({ nft, desired, report }: Look): Promise<void> {
    if (!nft) return;
    const wrong = FAMILIES.filter((family) => {
      const want = desired.masquerade.get(family);
      return nft.ours.get(family) !== (want && desiredTable(want));
    });
    if (wrong.length === 0) return;
    const input = wrong.map((family) => replaceTable(family, desired.masquerade.get(family))).join('');
    const tables = wrong.map((family) => `table ${tableFamily(family)} ${NFT_TABLE}`);
    await applyNft(this.#commands, input, `write nft ${tables.join(' and ')}`);
    report.masquerade.push(...tables);
  }

  /** Our rules in one of the up to four FORWARD chains. */
  async #forward(
    { nft, desired, mode, report, handled }: Look,
    family: Family,
    backend: Backend,
  ): Promise<void> {
    const net = desired.forward.get(family);
    const chain = nft?.chains.find((c) => isIptables(c, family));
    if (backend === 'nft' && nft && !chain) return;
    if (backend === 'legacy' && !(await legacyTables(this.#commands, family)).has('filter')) return;
    const tool = await this.#tool(family, backend);
    if (!tool) {
      // In nft the chain is told of like any other that refuses; in legacy nothing else shows what it does.
      if (net && backend === 'legacy') report.problems.push(blindProblem(family));
      return;
    }
    const filter = parseSave(await save(this.#commands, tool, 'filter'), 'filter');
    if (!filter) {
      if (mode === 'cleanup') report.problems.push(unreadableProblem(tool.name));
      return;
    }
    if (backend === 'nft' && !nft && untouched(filter)) return;
    if (chain) handled.add(chain);
    const change = forwardChanges(filter, net);
    if (change) {
      const what = `${net ? 'put' : 'remove'} loden's rules in filter FORWARD`;
      await restore(this.#commands, tool, change, what);
      report.forward.push(`${tool.name} FORWARD`);
    }
    const refusing = net && refusedBeforeOurs(filter, net);
    if (refusing) report.problems.push(jumpProblem(tool.name, refusing, net));
  }

  async #tool(family: Family, backend: Backend): Promise<IptablesTool | undefined> {
    const find = () => this.#tools?.find((t) => t.family === family && t.backend === backend);
    if (find()) return find();
    this.#tools = await findTools(this.#commands);
    return find();
  }

  async #removeFlannel({ nft, report }: Look): Promise<void> {
    const tables = nft ? flannelTables(nft) : [];
    if (tables.length > 0) {
      await removeFlannelTables(this.#commands, tables);
      report.removed.push(...tables);
    }
    for (const family of FAMILIES) {
      const legacy = await legacyTables(this.#commands, family);
      const inNft = (table: string) => !nft || nft.tables.has(`${tableFamily(family)} ${table}`);
      for (const backend of ['nft', 'legacy'] as const) {
        const exists = backend === 'nft' ? inNft : (table: string) => legacy.has(table);
        const tool = ['nat', 'filter'].some(exists) ? await this.#tool(family, backend) : undefined;
        if (tool) report.removed.push(...(await removeFlannelChains(this.#commands, tool, exists)));
      }
    }
  }

  /** Tell of nft chains that refuse forwarded packets and are not iptables'. */
  async #refusals({ nft, desired, report, handled }: Look): Promise<void> {
    for (const [family, net] of desired.forward) {
      for (const chain of forwardHooks(nft?.chains ?? [], family).filter((c) => !handled.has(c))) {
        const own = await othersRules(this.#commands, 'chain', chain.family, chain.table, chain.name);
        if (!refuses(chain, own)) continue;
        // The accept may stand in a chain that this one jumps to.
        const all = await othersRules(this.#commands, 'table', chain.family, chain.table);
        if (!letsPass(all, net)) report.problems.push(nftProblem(chain, net));
      }
    }
  }
}

/** Is this the chain that iptables-nft calls FORWARD in table filter? */
const isIptables = (c: NftChain, family: Family): boolean =>
  c.family === tableFamily(family) && c.table === 'filter' && c.name === 'FORWARD';

const besideProblem = (what: string): string =>
  `${what} is there again: flanneld seems to run beside loden; stop it (systemctl disable --now flanneld)`;

/** Told by a cleanup that cannot see whether rules of ours are left. */
const unreadableProblem = (tool: string): string =>
  `${tool} cannot read its table filter, for somebody wrote to it by nft: if rules with the comment "${FORWARD_COMMENT}" ` +
  'are left in its chain FORWARD, delete them by hand';

/** Told when legacy iptables has rules here and the program to read them is not installed. */
const blindProblem = (family: Family): string =>
  `${plainName(family)}: legacy iptables has a filter table here, which may refuse forwarded packets, and ${plainName(family)}-legacy ` +
  `is not installed to let the overlay pass: install the package iptables`;

/** A FORWARD chain as iptables shows it when the kernel has none. */
const untouched = (filter: SavedTable): boolean => {
  const forward = filter.get('FORWARD');
  return forward?.policy === 'ACCEPT' && forward.rules.length === 0;
};
