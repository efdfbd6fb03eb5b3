import { NFT_TABLE } from '../contract.ts';
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

/** Looks at the kernel's rules and puts ours right: masquerade, forward rules, then flanneld's leftovers, then refusals. */
export class FirewallPass {
  readonly #commands: Commands;
  #tools: readonly IptablesTool[] | undefined;

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  /**
   * One look. Nothing is written when all is as desired. What flanneld left is removed (`flannel: 'remove'`), told as
   * a problem, or left alone. Never rejects: each part is tried, its error reported.
   */
  async run(desired: FirewallDesired, flannel: 'remove' | 'tell' | 'leave'): Promise<PassReport> {
    const report: { [K in keyof PassReport]: PassReport[K][number][] } = {
      masquerade: [],
      forward: [],
      removed: [],
      problems: [],
      errors: [],
    };
    const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await work();
      } catch (error) {
        report.errors.push(error as Error);
        return undefined;
      }
    };
    const nft = await attempt(() => this.#readNft(desired.masquerade.size > 0));
    if (nft) await attempt(() => this.#masquerade(nft, desired, report.masquerade));
    const iptables = new Set<NftChain>();
    for (const family of FAMILIES) {
      for (const backend of ['nft', 'legacy'] as const) {
        await attempt(() => this.#forward(family, backend, nft, desired, report, iptables));
      }
    }
    if (flannel === 'remove' && report.errors.length === 0)
      await attempt(() => this.#flannel(nft, report.removed));
    if (flannel === 'tell' && nft) {
      for (const what of [...flannelTables(nft), ...flannelChains(nft)]) {
        report.problems.push(
          `${what} is there again: flanneld seems to run beside loden; stop it (systemctl disable --now flanneld)`,
        );
      }
    }
    if (nft) await attempt(() => this.#refusals(nft, desired, report.problems, iptables));
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

  async #masquerade(nft: NftState, desired: FirewallDesired, done: string[]): Promise<void> {
    const wrong = FAMILIES.filter((family) => {
      const want = desired.masquerade.get(family);
      return nft.ours.get(family) !== (want && desiredTable(want));
    });
    if (wrong.length === 0) return;
    const input = wrong.map((family) => replaceTable(family, desired.masquerade.get(family))).join('');
    const tables = wrong.map((family) => `table ${tableFamily(family)} ${NFT_TABLE}`);
    await applyNft(this.#commands, input, `write nft ${tables.join(' and ')}`);
    done.push(...tables);
  }

  /** Our rules in one of the up to four FORWARD chains. `iptables` collects the nft chains that are iptables'. */
  async #forward(
    family: Family,
    backend: Backend,
    nft: NftState | undefined,
    desired: FirewallDesired,
    report: { forward: string[]; problems: string[] },
    iptables: Set<NftChain>,
  ): Promise<void> {
    const net = desired.forward.get(family);
    const chain = nft && forwardHooks(nft.chains, family).find((c) => isIptables(c, family));
    if (backend === 'nft' && nft && !chain) return;
    if (backend === 'legacy' && !(await legacyTables(this.#commands, family)).has('filter')) return;
    const tool = await this.#tool(family, backend);
    if (!tool) {
      // In nft the chain is told of like any other that refuses; in legacy nothing else shows what it does.
      if (net && backend === 'legacy') report.problems.push(blindProblem(family));
      return;
    }
    const filter = parseSave(await save(this.#commands, tool, 'filter'), 'filter');
    if (!filter || (backend === 'nft' && !nft && untouched(filter))) return;
    if (chain) iptables.add(chain);
    const change = forwardChanges(filter, net);
    if (change) {
      await restore(
        this.#commands,
        tool,
        change,
        `${net ? 'put' : 'remove'} loden's rules in filter FORWARD`,
      );
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

  async #flannel(nft: NftState | undefined, removed: string[]): Promise<void> {
    const tables = nft ? flannelTables(nft) : [];
    if (tables.length > 0) {
      await removeFlannelTables(this.#commands, tables);
      removed.push(...tables);
    }
    for (const family of FAMILIES) {
      const legacy = await legacyTables(this.#commands, family);
      const inNft = (table: string) => !nft || nft.tables.has(`${tableFamily(family)} ${table}`);
      for (const backend of ['nft', 'legacy'] as const) {
        const exists = backend === 'nft' ? inNft : (table: string) => legacy.has(table);
        const tool = ['nat', 'filter'].some(exists) ? await this.#tool(family, backend) : undefined;
        if (tool) removed.push(...(await removeFlannelChains(this.#commands, tool, exists)));
      }
    }
  }

  /** Tell of nft chains that refuse forwarded packets and are not iptables'. */
  async #refusals(
    nft: NftState,
    desired: FirewallDesired,
    problems: string[],
    iptables: ReadonlySet<NftChain>,
  ): Promise<void> {
    for (const [family, net] of desired.forward) {
      for (const chain of forwardHooks(nft.chains, family).filter((c) => !iptables.has(c))) {
        const own = await othersRules(this.#commands, 'chain', chain.family, chain.table, chain.name);
        if (!refuses(chain, own)) continue;
        // The accept may stand in a chain that this one jumps to.
        const all = await othersRules(this.#commands, 'table', chain.family, chain.table);
        if (!letsPass(all, net)) problems.push(nftProblem(chain, net));
      }
    }
  }
}

/** Is this the chain that iptables-nft calls FORWARD in table filter? */
const isIptables = (c: NftChain, family: Family): boolean =>
  c.family === tableFamily(family) && c.table === 'filter' && c.name === 'FORWARD';

/** Told when legacy iptables has rules here and the program to read them is not installed. */
const blindProblem = (family: Family): string =>
  `${plainName(family)}: legacy iptables has a filter table here, which may refuse forwarded packets, and ${plainName(family)}-legacy ` +
  `is not installed to let the overlay pass: install the package iptables`;

/** A FORWARD chain as iptables shows it when the kernel has none. */
const untouched = (filter: SavedTable): boolean => {
  const forward = filter.get('FORWARD');
  return forward?.policy === 'ACCEPT' && forward.rules.length === 0;
};
