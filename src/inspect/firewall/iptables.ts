import type { SavedRule, SavedTable } from '../../kernel/iptablesSave.ts';
import type { Family } from '../../net/addr.ts';
import { masked, matchOf } from './iptablesMatches.ts';
import { type Hook, not, type Packet, type Tri } from './packet.ts';
import type { BaseChain, NatKind, Rule, Step, Verdict } from './rules.ts';

/** Tables of iptables as `iptables-save` prints them, in the form of {@link ./rules.ts}. */

/** enum nf_ip_hook_priorities, of each table's built-in chains. */
const PRIORITY: Readonly<Record<string, Partial<Record<Hook, number>>>> = {
  raw: { prerouting: -300, output: -300 },
  mangle: { prerouting: -150, input: -150, forward: -150, output: -150, postrouting: -150 },
  nat: { prerouting: -100, input: 100, output: -100, postrouting: 100 },
  filter: { input: 0, forward: 0, output: 0 },
  security: { input: 50, forward: 50, output: 50 },
};

/** Names of all tables there can be. */
export const TABLES: readonly string[] = Object.keys(PRIORITY);

/** The built-in chains of a table. `tool` is shown, e.g. `iptables-legacy`. */
export function iptablesBases(
  tool: string,
  family: Family,
  name: string,
  table: SavedTable,
): readonly BaseChain[] {
  const chains = new Map<string, readonly Rule[]>();
  const where = (chain: string): string => `${tool}, table ${name}, chain ${chain}`;
  for (const [chain, { rules }] of table) {
    chains.set(
      chain,
      rules.map((rule) => ({
        ref: { where: where(chain), text: `-A ${chain} ${rule.text}` },
        steps: stepsOf(rule, family),
      })),
    );
  }
  return Object.entries(PRIORITY[name] ?? {}).flatMap(([hook, priority]) => {
    const chain = hook.toUpperCase();
    const saved = table.get(chain);
    if (!saved) return [];
    return [
      {
        where: where(chain),
        families: [family],
        hook: hook as Hook,
        priority,
        nat: name === 'nat',
        reroutes: name === 'mangle' && hook === 'output',
        policy: saved.policy === 'DROP' ? ('drop' as const) : ('accept' as const),
        rules: chains.get(chain) ?? [],
        chains,
      },
    ];
  });
}

type Test = (p: Packet) => Tri;

/** What a rule's words are read into. */
interface Reading {
  readonly tests: Test[];
  target: Step[];
}

function stepsOf(rule: SavedRule, family: Family): Step[] {
  const reading: Reading = { tests: [], target: [] };
  read(rule.args, family, reading);
  return [...reading.tests.map((test): Step => ({ kind: 'test', test })), ...reading.target];
}

const UNSURE: Test = () => undefined;

function read(args: readonly string[], family: Family, reading: Reading): void {
  let negated = false;
  let extension = '';
  for (let i = 0; i < args.length; i++) {
    const word = args[i]!;
    if (word === '!') {
      negated = true;
      continue;
    }
    if (word === '-j' || word === '-g') {
      reading.target = targetSteps(args[i + 1] ?? '', word === '-g', args.slice(i + 2));
      return;
    }
    if (word === '-m') {
      extension = args[++i] ?? '';
      continue;
    }
    const value = args[i + 1] ?? '';
    if (word === '--comment') {
      // It may begin like an option.
      i++;
      continue;
    }
    const test = matchOf(word, value, extension, family);
    const bare = test ?? UNSURE;
    reading.tests.push(negated ? (p) => not(bare(p)) : bare);
    negated = false;
    // Options of unknown matches may have no value or several: all that follows up to the next option is theirs.
    while (i + 1 < args.length && !args[i + 1]!.startsWith('-') && args[i + 1] !== '!') i++;
  }
}

/** Targets that let the next rule have the packet, as it was for all that is known of it. */
const NO_EFFECT: ReadonlySet<string> = new Set([
  ...[
    'LOG',
    'NFLOG',
    'TCPMSS',
    'CLASSIFY',
    'CHECKSUM',
    'AUDIT',
    'TRACE',
    'CONNSECMARK',
    'SECMARK',
    'IDLETIMER',
  ],
  ...['TTL', 'HL', 'DSCP', 'TOS', 'ECN', 'TEE', 'RATEEST', 'LED', ''],
]);

const NAT: ReadonlyMap<string, NatKind> = new Map<string, NatKind>([
  ['MASQUERADE', 'masquerade'],
  ['SNAT', 'snat'],
  ['DNAT', 'dnat'],
  ['REDIRECT', 'redirect'],
  ['NETMAP', 'netmap'],
]);

function targetSteps(target: string, isGoto: boolean, options: readonly string[]): Step[] {
  const verdict = (v: Verdict): Step[] => [{ kind: 'verdict', verdict: v }];
  if (NO_EFFECT.has(target)) return [];
  const nat = NAT.get(target);
  if (nat) return [{ kind: 'nat', nat }];
  switch (target) {
    case 'ACCEPT':
      return verdict({ to: 'accept' });
    case 'DROP':
      return verdict({ to: 'drop' });
    case 'REJECT':
      return verdict({ to: 'reject' });
    case 'RETURN':
      return verdict({ to: 'return' });
    case 'MARK':
      return markSteps(options);
    case 'CONNMARK':
      return options.includes('--restore-mark') ? [{ kind: 'blur', what: 'mark' }] : [];
    case 'NOTRACK':
    case 'CT':
      return [{ kind: 'blur', what: 'ct' }];
  }
  // What iptables knows and we do not is in capitals, as chains of users may be: those are found in the table.
  return verdict({ to: isGoto ? 'goto' : 'jump', chain: target });
}

function markSteps(options: readonly string[]): Step[] {
  const [option, text = ''] = options;
  const pair = masked(text);
  if (!pair || (option !== '--set-xmark' && option !== '--set-mark')) return [{ kind: 'blur', what: 'mark' }];
  const [value, mask] = pair;
  const keep = option === '--set-xmark' ? ~mask : ~(mask | value);
  return [
    {
      kind: 'mark',
      value: (p) =>
        p.mark === undefined
          ? mask === 0xffffffff
            ? value
            : undefined
          : option === '--set-xmark'
            ? ((p.mark & keep) ^ value) >>> 0
            : ((p.mark & keep) | value) >>> 0,
    },
  ];
}
