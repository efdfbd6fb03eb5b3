import type { SavedRule, SavedTable } from '../../kernel/iptablesSave.ts';
import type { Addr, Family } from '../../net/addr.ts';
import { parseAddr } from '../../net/addr.ts';
import { any, type CtState, type Hook, not, type Packet, type Tri } from './packet.ts';
import type { BaseChain, NatKind, Rule, Step, Verdict } from './rules.ts';
import { addressTest, fitsName, icmpTypeOf, protocolOf } from './words.ts';

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

/** The test that an option stands for; undefined: nobody knows here. */
function matchOf(option: string, value: string, extension: string, family: Family): Test | undefined {
  switch (option) {
    case '-s':
      return addressMatch(value, (p) => p.saddr);
    case '-d':
      return addressMatch(value, (p) => p.daddr);
    case '-i':
      return nameMatch(value, (p) => p.iif);
    case '-o':
      return nameMatch(value, (p) => p.oif);
    case '-p':
      return protocolMatch(value);
  }
  switch (extension) {
    case 'tcp':
    case 'udp':
      if (option === '--dport') return ports([value], (p) => [p.dport]);
      if (option === '--sport') return ports([value], (p) => [p.sport]);
      return undefined;
    case 'multiport': {
      const list = value.split(',');
      if (option === '--dports') return ports(list, (p) => [p.dport]);
      if (option === '--sports') return ports(list, (p) => [p.sport]);
      if (option === '--ports') return ports(list, (p) => [p.sport, p.dport]);
      return undefined;
    }
    case 'conntrack':
      return option === '--ctstate' ? stateMatch(value) : undefined;
    case 'state':
      return option === '--state' ? stateMatch(value) : undefined;
    case 'mark':
      return option === '--mark' ? markMatch(value) : undefined;
    case 'icmp':
    case 'icmp6':
      return icmpMatch(value, family);
    case 'addrtype':
      if (option === '--dst-type') return typeMatch(value, (p) => p.daddrType);
      if (option === '--src-type') return typeMatch(value, (p) => p.saddrType);
      return undefined;
    case 'iprange':
      if (option === '--src-range') return rangeMatch(value, (p) => p.saddr);
      if (option === '--dst-range') return rangeMatch(value, (p) => p.daddr);
      return undefined;
    case 'length':
      return option === '--length' ? ports([value], (p) => [p.length]) : undefined;
    default:
      return undefined;
  }
}

function addressMatch(text: string, of: (p: Packet) => Addr | undefined): Test | undefined {
  const test = addressTest(text);
  return (
    test &&
    ((p) => {
      const a = of(p);
      return a && test(a);
    })
  );
}

const nameMatch =
  (pattern: string, of: (p: Packet) => string | undefined): Test =>
  (p) => {
    const name = of(p);
    return name === undefined ? undefined : fitsName(name, pattern, '+');
  };

function protocolMatch(text: string): Test | undefined {
  if (text === 'all') return () => true;
  const number = protocolOf(text);
  if (number === undefined) return undefined;
  return (p) => (p.proto === undefined ? undefined : p.proto === number);
}

/** Each `80`, `80:90`, `:90` or `80:`. */
function ports(
  list: readonly string[],
  of: (p: Packet) => readonly (number | undefined)[],
): Test | undefined {
  const ranges = list.map((text) => /^(\d*)(:?)(\d*)$/.exec(text));
  if (ranges.some((r) => !r || r[0] === '')) return undefined;
  const bounds = ranges.map((r): readonly [number, number] => {
    const from = Number(r![1] || 0);
    return [from, r![2] ? Number(r![3] || 65535) : from];
  });
  return (p) =>
    any(
      of(p).map((port) => (port === undefined ? undefined : bounds.some(([a, b]) => port >= a && port <= b))),
    );
}

const STATES: ReadonlyMap<string, CtState> = new Map<string, CtState>([
  ['NEW', 'new'],
  ['ESTABLISHED', 'established'],
  ['RELATED', 'related'],
  ['INVALID', 'invalid'],
  ['UNTRACKED', 'untracked'],
]);

/** SNAT and DNAT among the states ask whether an address was translated, which is not known. */
function stateMatch(text: string): Test {
  const wanted = text.split(',').map((name) => STATES.get(name));
  return (p) => {
    if (p.ctState === undefined) return undefined;
    return any(wanted.map((w) => (w === undefined ? undefined : w === p.ctState)));
  };
}

function masked(text: string): readonly [number, number] | undefined {
  const [value, mask = '0xffffffff'] = text.split('/');
  const [v, m] = [Number(value), Number(mask)];
  return Number.isInteger(v) && Number.isInteger(m) ? [v >>> 0, m >>> 0] : undefined;
}

function markMatch(text: string): Test | undefined {
  const pair = masked(text);
  return pair && ((p) => (p.mark === undefined ? undefined : (p.mark & pair[1]) >>> 0 === pair[0]));
}

function icmpMatch(text: string, family: Family): Test | undefined {
  if (text === 'any' || text === '255') return () => true;
  if (text.includes('/')) return undefined;
  const number = icmpTypeOf(text, family === 6);
  if (number === undefined) return undefined;
  return (p) => (p.icmpType === undefined ? undefined : p.icmpType === number);
}

function typeMatch(text: string, of: (p: Packet) => string | undefined): Test {
  const wanted = text.toLowerCase().split(',');
  return (p) => {
    const type = of(p);
    return type === undefined ? undefined : wanted.includes(type);
  };
}

function rangeMatch(text: string, of: (p: Packet) => Addr | undefined): Test | undefined {
  const [from, to] = text.split('-').map(parseAddr);
  if (!from || !to) return undefined;
  return (p) => {
    const a = of(p);
    return a && a.family === from.family && a.value >= from.value && a.value <= to.value;
  };
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
