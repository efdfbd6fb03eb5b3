import { LodenError } from '../errors.ts';

/** A table; `flagged` when it has flags such as `dormant`. */
export interface NftTable {
  readonly family: string;
  readonly name: string;
  readonly flagged: boolean;
}

/** A chain; base chains have type, hook, prio (a number) and policy. */
export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly type?: string;
  readonly hook?: string;
  readonly prio?: number;
  readonly policy?: string;
}

export interface NftRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** Statements as libnftables-json(5) has them. */
  readonly expr: readonly unknown[];
}

/** What `nft -j list …` printed. */
export interface NftListing {
  readonly tables: readonly NftTable[];
  readonly chains: readonly NftChain[];
  readonly rules: readonly NftRule[];
  /** Sets, maps, flowtables, …: only to whom they belong. */
  readonly others: readonly { readonly family: string; readonly table: string }[];
}

type Json = Readonly<Record<string, unknown>>;
const isRecord = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);

/** The tables in the text of `nft list tables`, as `ip loden`. */
export const parseTables = (text: string): ReadonlySet<string> =>
  new Set([...text.matchAll(/^table (\S+ \S+)$/gm)].map(([, name]) => name!));

/**
 * Parse the output of `nft -j` with one or more `list` commands: one JSON document a line. Throws LodenError when it is
 * not that; objects of unknown shape are left out or counted as others.
 */
export function parseListing(text: string): NftListing {
  const tables: NftTable[] = [];
  const chains: NftChain[] = [];
  const rules: NftRule[] = [];
  const others: { family: string; table: string }[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    for (const object of documentObjects(line)) {
      const [kind, o] = Object.entries(object)[0] ?? [];
      if (!isRecord(o) || typeof o.family !== 'string') continue;
      const family = o.family;
      const table = String(o.table);
      if (kind === 'table') tables.push({ family, name: String(o.name), flagged: o.flags !== undefined });
      else if (kind === 'chain') chains.push(chain(o, family, table));
      else if (kind === 'rule' && Array.isArray(o.expr)) {
        rules.push({ family, table, chain: String(o.chain), expr: o.expr });
      } else others.push({ family, table });
    }
  }
  return { tables, chains, rules, others };
}

function documentObjects(line: string): readonly Json[] {
  let document: unknown;
  try {
    document = JSON.parse(line);
  } catch (cause) {
    throw new LodenError(
      `nft -j printed no JSON (${line.slice(0, 80)}): install nftables built with JSON support`,
      { retry: 'backoff', cause },
    );
  }
  const objects = isRecord(document) ? document.nftables : undefined;
  return Array.isArray(objects) ? objects.filter(isRecord) : [];
}

function chain(o: Json, family: string, table: string): NftChain {
  return {
    family,
    table,
    name: String(o.name),
    ...(typeof o.type === 'string' ? { type: o.type } : {}),
    ...(typeof o.hook === 'string' ? { hook: o.hook } : {}),
    ...(typeof o.prio === 'number' ? { prio: o.prio } : {}),
    ...(typeof o.policy === 'string' ? { policy: o.policy } : {}),
  };
}
