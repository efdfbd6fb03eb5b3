import { isObject } from '../../fields.ts';
import type { Family } from '../../net/addr.ts';
import { fieldsOf, numberOf } from './nftFields.ts';
import { mapPick, matchTest, type Sets } from './nftValues.ts';
import type { Hook, Packet, Tri } from './packet.ts';
import type { BaseChain, NatKind, Rule, Step, Verdict } from './rules.ts';

/** Tables of nftables as `nft -j list …` prints them (libnftables-json(5)), hostile until read here. */

type Json = Readonly<Record<string, unknown>>;

/** A table out of a listing. */
export interface NftTableRules {
  readonly family: string;
  readonly name: string;
  readonly bases: readonly BaseChain[];
  /** It has expressions of iptables-nft, which nft does not list in full. */
  readonly xtables: boolean;
}

const FAMILIES: ReadonlyMap<unknown, readonly Family[]> = new Map([
  ['ip', [4]],
  ['ip6', [6]],
  ['inet', [4, 6]],
]);
const HOOKS: ReadonlySet<string> = new Set(['prerouting', 'input', 'forward', 'output', 'postrouting']);

/** Name of a rule in {@link RuleTexts}. */
const ruleName = (family: string, table: string, chain: string, handle: unknown): string =>
  `${family} ${table} ${chain} ${handle}`;

/** What `nft -a list ruleset` says of each rule, by {@link ruleName}. */
export type RuleTexts = ReadonlyMap<string, string>;

/** Rules' own words from the text of `nft -a list ruleset`; what cannot be found is shown as JSON instead. */
export function parseTexts(text: string): RuleTexts {
  const texts = new Map<string, string>();
  let table = '';
  let chain = '';
  for (const line of text.split('\n')) {
    const [, family, name] = /^table (\S+) (\S+) \{/.exec(line) ?? [];
    if (name !== undefined) table = `${family} ${name}`;
    const [, opened] = /^\tchain (\S+) \{/.exec(line) ?? [];
    if (opened !== undefined) chain = opened;
    const [, rule, handle] = /^\t\t(.*) # handle (\d+)$/.exec(line) ?? [];
    if (handle !== undefined) texts.set(`${table} ${chain} ${handle}`, rule!.replace(/\s+/g, ' ').trim());
  }
  return texts;
}

/** Tables of the IP families that hang on hooks. `objects` is the array that `nft -j` prints. */
export function nftTables(objects: readonly unknown[], texts: RuleTexts): readonly NftTableRules[] {
  const of = (kind: string): Json[] =>
    objects.flatMap((o) => (isObject(o) && isObject(o[kind]) ? [o[kind]] : []));
  const key = (o: Json): string => `${o.family} ${o.table}`;
  const chains = Map.groupBy(of('chain'), key);
  const rules = Map.groupBy(of('rule'), (r) => `${key(r)} ${r.chain}`);
  const sets = Map.groupBy([...of('set'), ...of('map')], key);
  const changed = changedSets(of('rule'));
  return of('table').flatMap(({ family, name }) => {
    const families = FAMILIES.get(family);
    if (typeof family !== 'string' || typeof name !== 'string' || !families) return [];
    const table = `${family} ${name}`;
    const lookup: Sets = (set) => {
      if (changed.has(`${table} ${set}`)) return undefined;
      const found = sets.get(table)?.find((s) => s.name === set);
      if (!found) return undefined;
      return Array.isArray(found.elem) ? found.elem : found.elem === undefined ? [] : undefined;
    };
    const own = chains.get(table) ?? [];
    const compiled = new Map<string, Rule[]>();
    for (const chain of own) {
      const list = (rules.get(`${table} ${chain.name}`) ?? []).map((r) => ruleOf(r, lookup, texts));
      compiled.set(String(chain.name), list);
    }
    return [
      {
        family,
        name,
        bases: own.flatMap((c) => baseOf(c, families, compiled)),
        xtables: own.some((c) =>
          (rules.get(`${table} ${c.name}`) ?? []).some(
            (r) => Array.isArray(r.expr) && r.expr.some((e) => isObject(e) && 'xt' in e && !isComment(e.xt)),
          ),
        ),
      },
    ];
  });
}

/** Sets that rules add to or remove from as packets pass. */
function changedSets(rules: readonly Json[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { family, table, expr } of rules) {
    for (const e of Array.isArray(expr) ? expr : []) {
      const set = isObject(e)
        ? isObject(e.set)
          ? e.set.set
          : isObject(e.map)
            ? e.map.map
            : undefined
        : undefined;
      if (typeof set === 'string') names.add(`${family} ${table} ${set.replace(/^@/, '')}`);
    }
  }
  return names;
}

function baseOf(
  { family, table, name, type, hook, prio, policy }: Json,
  families: readonly Family[],
  chains: ReadonlyMap<string, readonly Rule[]>,
): BaseChain[] {
  if (typeof hook !== 'string' || !HOOKS.has(hook)) return [];
  return [
    {
      where: `nft table ${family} ${table}, chain ${name}`,
      families,
      hook: hook as Hook,
      priority: typeof prio === 'number' ? prio : 0,
      nat: type === 'nat',
      reroutes: type === 'route' && hook === 'output',
      policy: policy === 'drop' ? 'drop' : 'accept',
      rules: chains.get(String(name)) ?? [],
      chains,
    },
  ];
}

function ruleOf(rule: Json, sets: Sets, texts: RuleTexts): Rule {
  const { family, table, chain, handle } = rule;
  const expr: readonly unknown[] = Array.isArray(rule.expr) ? rule.expr : [{}];
  const text = texts.get(ruleName(String(family), String(table), String(chain), handle));
  return {
    ref: {
      where: `nft table ${family} ${table}, chain ${chain}`,
      text: text ?? JSON.stringify(expr).slice(0, 300),
    },
    steps: expr.flatMap((e) => stepsOf(e, sets)),
  };
}

const UNSURE: Step = { kind: 'test', test: () => undefined };
const NOBODY_KNOWS: Step = { kind: 'verdict', verdict: { to: 'unknown' } };
/** Statements that let the rule go on and change nothing a rule can look at. */
const NO_EFFECT: ReadonlySet<string> = new Set([
  ...['counter', 'log', 'last', 'flow', 'dup', 'ct helper', 'ct timeout', 'ct expectation', 'secmark'],
]);
const MAY_NOT_APPLY: ReadonlySet<string> = new Set(['limit', 'quota', 'ct count', 'set', 'map', 'meter']);
const NAT: ReadonlySet<string> = new Set(['masquerade', 'snat', 'dnat', 'redirect']);

function stepsOf(expr: unknown, sets: Sets): readonly Step[] {
  if (!isObject(expr)) return [NOBODY_KNOWS];
  const [kind, body] = Object.entries(expr)[0] ?? [''];
  if (NO_EFFECT.has(kind)) return [];
  if (MAY_NOT_APPLY.has(kind)) return [UNSURE];
  if (NAT.has(kind)) return natSteps(kind as NatKind, body);
  if (kind === 'reject') return rejectSteps(body);
  const verdict = verdictOf(expr);
  if (verdict) return [{ kind: 'verdict', verdict }];
  switch (kind) {
    case 'match':
      return isObject(body) ? [{ kind: 'test', test: matchTest(body, sets) }] : [UNSURE];
    case 'vmap':
      return isObject(body) ? [vmapStep(body, sets)] : [NOBODY_KNOWS];
    case 'mangle':
      return isObject(body) ? mangleSteps(body) : [UNSURE, { kind: 'blur', what: 'packet' }];
    case 'notrack':
      return [{ kind: 'blur', what: 'ct' }];
    case 'xt':
      return isComment(body) ? [] : isObject(body) && body.type === 'match' ? [UNSURE] : [NOBODY_KNOWS];
    default:
      return [NOBODY_KNOWS];
  }
}

const isComment = (xt: unknown): boolean => isObject(xt) && xt.type === 'match' && xt.name === 'comment';

function verdictOf(expr: Json): Verdict | undefined {
  for (const to of ['accept', 'drop', 'return'] as const) if (to in expr) return { to };
  if ('continue' in expr) return { to: 'next' };
  if ('reject' in expr) return { to: 'reject' };
  for (const to of ['jump', 'goto'] as const) {
    const body = expr[to];
    if (isObject(body)) return { to, chain: String(body.target) };
  }
  return undefined;
}

/** A kind of answer that only fits some packets: nft leaves the match that goes with it out of the listing. */
function rejectSteps(body: unknown): readonly Step[] {
  const type = isObject(body) ? body.type : undefined;
  const only: ((p: Packet) => Tri) | undefined =
    type === 'icmp'
      ? (p) => p.family === 4
      : type === 'icmpv6'
        ? (p) => p.family === 6
        : type === 'tcp reset'
          ? (p) => (p.proto === undefined ? undefined : p.proto === 6)
          : undefined;
  return [
    ...(only ? [{ kind: 'test', test: only } satisfies Step] : []),
    { kind: 'verdict', verdict: { to: 'reject' } },
  ];
}

function natSteps(kind: NatKind, body: unknown): readonly Step[] {
  const { family, addr } = isObject(body) ? body : {};
  const only: Family | undefined = family === 'ip' ? 4 : family === 'ip6' ? 6 : undefined;
  return [
    ...(only ? [{ kind: 'test', test: (p) => p.family === only } satisfies Step] : []),
    // An address out of a map that has none for this packet: the rule does not apply.
    ...(isObject(addr) && !('prefix' in addr) && !('range' in addr) ? [UNSURE] : []),
    { kind: 'nat', nat: kind },
  ];
}

function vmapStep({ key, data }: Json, sets: Sets): Step {
  const elements =
    typeof data === 'string' && data.startsWith('@')
      ? sets(data.slice(1))
      : isObject(data) && Array.isArray(data.set)
        ? data.set
        : undefined;
  if (!elements) return NOBODY_KNOWS;
  const pairs = elements.map((e): readonly [unknown, Verdict] => {
    const [element, verdict] = Array.isArray(e) ? e : [];
    return [element, (isObject(verdict) && verdictOf(verdict)) || { to: 'unknown' }];
  });
  return { kind: 'map', pick: mapPick(key, pairs), all: pairs.map(([, verdict]) => verdict) };
}

function mangleSteps({ key, value }: Json): readonly Step[] {
  // What a connection or other meta data says is nothing that is known of a packet here.
  if (isObject(key) && isObject(key.ct)) return [];
  if (!isObject(key) || !isObject(key.meta)) return [{ kind: 'blur', what: 'packet' }];
  if (key.meta.key !== 'mark') return [];
  // A map may have nothing for this packet: the rule ends there.
  const plain = typeof value === 'number' || fieldsOf(value) !== undefined;
  return [...(plain ? [] : [UNSURE]), { kind: 'mark', value: (p) => numberOf(value, p) }];
}
