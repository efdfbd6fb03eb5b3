import { isObject } from '../../fields.ts';
import { type Commands, ownCommands } from '../../kernel/command.ts';
import { findTools, type IptablesTool, legacyTables, save } from '../../kernel/forwardTools.ts';
import { parseSave } from '../../kernel/iptablesSave.ts';
import { parseTables } from '../../kernel/nftListing.ts';
import { within } from '../world.ts';
import { iptablesBases, TABLES } from './iptables.ts';
import { type NftTableRules, nftTables, parseTexts, type RuleTexts } from './nft.ts';
import type { BaseChain, Firewall } from './rules.ts';

/** What nft and the tools of iptables say to others than root. */
const NOT_ALLOWED = /operation not permitted|permission denied|you must be root/i;
const ONLY_ROOT = "only root may see the firewall's rules";

/**
 * All rules of nftables and of both kinds of iptables. Never throws: what cannot be read is a gap. Takes at most `timeout`
 * milliseconds, and again as long for iptables.
 */
export async function readFirewall(commands: Commands = ownCommands, timeout = 4_000): Promise<Firewall> {
  const gaps: string[] = [];
  const attempt = async <T>(what: string, work: Promise<T>, fallback: T): Promise<T> => {
    try {
      return await within(timeout, work);
    } catch (error) {
      // Without the program its rules can still be there, but then somebody else's brought them: rare enough, and told.
      const message = error instanceof Error ? error.message : String(error);
      gaps.push(NOT_ALLOWED.test(message) ? ONLY_ROOT : `${what}: ${message}`);
      return fallback;
    }
  };
  const [tables, tools] = await Promise.all([
    attempt('nftables', readTables(commands, gaps), []),
    attempt('iptables', findTools(commands), []),
  ]);
  const compat = tables.filter((t) => t.xtables);
  const saved = await attempt('iptables', readSaved(commands, tools, compat, gaps), {
    bases: [],
    replaced: new Set<string>(),
  });
  const nft = tables.filter((t) => !saved.replaced.has(`${t.family} ${t.name}`));
  return { bases: [...nft.flatMap((t) => t.bases), ...saved.bases], gaps: [...new Set(gaps)] };
}

async function readTables(commands: Commands, gaps: string[]): Promise<readonly NftTableRules[]> {
  const [names, texts] = await Promise.all([
    runNft(commands, ['list', 'tables']).then(parseTables),
    // Without elements of sets, of which there may be thousands.
    runNft(commands, ['-a', '-t', 'list', 'ruleset']),
  ]);
  const ruleTexts = parseTexts(texts);
  const dormant = dormantTables(texts);
  gaps.push(...atDevices(texts));
  const wanted = [...names].filter((t) => /^(ip|ip6|inet) /.test(t) && !dormant.has(t));
  // One by one: nft 1.0.6 cuts its JSON off at a table with flags.
  const found = await Promise.all(
    wanted.map(async (table) => {
      try {
        return readTable(await runNft(commands, ['-j', 'list', 'table', ...table.split(' ')]), ruleTexts);
      } catch (error) {
        gaps.push(`nft table ${table}: ${error instanceof Error ? error.message : String(error)}`);
        return [];
      }
    }),
  );
  return found.flat();
}

async function runNft(commands: Commands, args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await commands.run(['nft', ...args]);
  if (status !== 0)
    throw new Error(`nft ${args.join(' ')}: ${stderr.trim().slice(0, 200) || `status ${status}`}`);
  return stdout;
}

function readTable(json: string, texts: RuleTexts): readonly NftTableRules[] {
  const document: unknown = JSON.parse(json);
  const objects = isObject(document) ? document.nftables : undefined;
  if (!Array.isArray(objects)) throw new Error('nft -j prints another shape');
  return nftTables(objects, texts);
}

/** What in a rule may keep a packet from going on, or change it. */
const DECIDES = /\b(?:drop|reject|queue|fwd|tproxy|synproxy|vmap|notrack)\b| set /;

/** Tables with chains on devices themselves (ingress, egress), which are not judged, unless nothing in them decides anything. */
function atDevices(text: string): readonly string[] {
  return text
    .split(/^(?=table )/m)
    .filter((table) => /^\t\ttype filter hook (?:ingress|egress) /m.test(table))
    .filter((table) => table.split('\n').some((line) => /^\t\t/.test(line) && DECIDES.test(line)))
    .map((table) => {
      const [, name] = /^table (\S+ \S+)/.exec(table) ?? [];
      return `nft table ${name}: chains at the ingress or egress of devices are not judged`;
    });
}

/** Tables switched off as a whole, by the text of a listing. */
function dormantTables(text: string): ReadonlySet<string> {
  const found = new Set<string>();
  let table = '';
  for (const line of text.split('\n')) {
    const [, name] = /^table (\S+ \S+) \{/.exec(line) ?? [];
    if (name !== undefined) table = name;
    if (/^\tflags .*\bdormant\b/.test(line)) found.add(table);
  }
  return found;
}

async function readSaved(
  commands: Commands,
  tools: readonly IptablesTool[],
  compat: readonly NftTableRules[],
  gaps: string[],
): Promise<{ bases: readonly BaseChain[]; replaced: ReadonlySet<string> }> {
  const bases: BaseChain[] = [];
  const replaced = new Set<string>();
  const take = async (tool: IptablesTool, table: string): Promise<boolean> => {
    const parsed = parseSave(await save(commands, tool, table), table);
    if (parsed) bases.push(...iptablesBases(tool.name, tool.family, table, parsed));
    return parsed !== undefined;
  };
  for (const { family, name } of compat) {
    const tool = tools.find((t) => t.backend === 'nft' && t.family === (family === 'ip6' ? 6 : 4));
    // Else its rules stay as nft lists them, those with xtables' matches unknown.
    if (tool && family !== 'inet' && TABLES.includes(name) && (await take(tool, name).catch(() => false))) {
      replaced.add(`${family} ${name}`);
    }
  }
  for (const family of [4, 6] as const) {
    const names = await legacyTables(commands, family);
    const tool = tools.find((t) => t.backend === 'legacy' && t.family === family);
    for (const name of names) {
      if (!tool) gaps.push(`table ${name} of legacy iptables (IPv${family}): its program is not installed`);
      else if (TABLES.includes(name) && !(await take(tool, name)))
        gaps.push(`table ${name} of ${tool.name} cannot be read`);
    }
  }
  return { bases, replaced };
}
