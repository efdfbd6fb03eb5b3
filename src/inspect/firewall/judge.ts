import type { Hook, Packet } from './packet.ts';
import type { BaseChain, Chains, Firewall, NatKind, Rule, RuleRef, Step, Verdict } from './rules.ts';

/** What becomes of a packet at a hook. */
export interface Judgment {
  /** `drop` and `reject` are sure; `unknown`: it passes or not, which depends on what cannot be judged. */
  readonly verdict: 'accept' | 'drop' | 'reject' | 'unknown';
  /** What stops it for sure. */
  readonly by?: RuleRef;
  /** What may stop it, when the verdict is `unknown`. */
  readonly doubts: readonly RuleRef[];
  /** The first rule that translates an address of it; not `sure`: that may, if it applies. */
  readonly nat?: { readonly kind: NatKind; readonly by: RuleRef; readonly sure: boolean };
  /** The packet as the next hook sees it: a rule may have set its mark; a translated address is not known. */
  readonly packet: Packet;
  /** The mark by which it is routed after this hook; undefined: it cannot be told. At `output` only some chains have it routed anew. */
  readonly routeMark: number | undefined;
}

/** Chains may call each other this deep (NFT_JUMP_STACK_SIZE). */
const DEEPEST = 16;
/** Rules looked at before an evaluation is given up: hostile or enormous rulesets. */
const MOST = 500_000;

/** A way a walk through a chain can end. */
interface End {
  readonly verdict: 'accept' | 'drop' | 'reject' | 'unknown';
  readonly by: RuleRef;
  readonly packet: Packet;
  readonly nat?: NatKind;
}

interface Walk {
  readonly ends: End[];
  /** Went on behind the chain. */
  readonly rest: Packet | undefined;
}

/** Go through all chains of a hook in the order of their priorities. */
export function judge(firewall: Firewall, hook: Hook, packet: Packet): Judgment {
  const budget = { left: MOST };
  const bases = firewall.bases
    .filter((b) => b.hook === hook && b.families.includes(packet.family))
    .sort((a, b) => a.priority - b.priority);
  const doubts: RuleRef[] = [];
  let now = packet;
  let nat: Judgment['nat'];
  let routeMark = packet.mark;
  for (const base of bases) {
    // Later packets of a connection follow the first by conntrack; only that one asks the chain.
    if (base.nat && now.ctState !== 'new' && now.ctState !== undefined) continue;
    // Once an address is translated, further chains of type nat are passed over.
    if (base.nat && nat?.sure) continue;
    const ends = walkBase(base, now, budget);
    // It may not be asked at all: for a packet that is no connection's first, or untracked, or whose address is translated already.
    if (base.nat && (now.ctState === undefined || nat)) {
      ends.push({ verdict: 'accept', by: { where: base.where, text: 'not asked' }, packet: now });
    }
    const through = ends.filter((e) => e.verdict === 'accept');
    const stops = ends.filter((e) => e.verdict !== 'accept');
    const [translated] = through.filter((e) => e.nat !== undefined);
    if (translated && !nat?.sure) {
      const sure = ends.every((e) => e.nat !== undefined);
      if (!nat || sure) nat = { kind: translated.nat!, by: translated.by, sure };
    }
    const [stop] = stops;
    if (through.length === 0 && stop && stops.every((e) => e.verdict !== 'unknown')) {
      const verdict = stops.every((e) => e.verdict === 'reject') ? 'reject' : 'drop';
      return { verdict, by: stop.by, doubts: [], packet: now, routeMark, ...(nat ? { nat } : {}) };
    }
    doubts.push(...stops.map((e) => e.by));
    // Also behind an unknown end: a later chain may stop it for sure.
    now =
      join(ends.filter((e) => e.verdict === 'accept' || e.verdict === 'unknown').map((e) => e.packet)) ?? now;
    if (hook !== 'output' || base.reroutes) routeMark = now.mark;
  }
  return {
    verdict: doubts.length > 0 || firewall.gaps.length > 0 ? 'unknown' : 'accept',
    doubts,
    packet: now,
    routeMark,
    ...(nat ? { nat } : {}),
  };
}

function walkBase(base: BaseChain, packet: Packet, budget: { left: number }): End[] {
  // Before conntrack has seen it, a packet has no state (NF_IP_PRI_CONNTRACK).
  const early = (base.hook === 'prerouting' || base.hook === 'output') && base.priority <= -200;
  const seen = early ? { ...packet, ctState: undefined } : packet;
  const { ends, rest } = walk(base.rules, seen, base.chains, 0, budget);
  if (rest) {
    const by = { where: base.where, text: `policy ${base.policy}` };
    ends.push({ verdict: base.policy, by, packet: rest });
  }
  // What conntrack will think of it is not for a rule before it to change, except by NOTRACK.
  if (!early || notracks(base.chains)) return ends;
  return ends.map((e) => ({ ...e, packet: { ...e.packet, ctState: packet.ctState } }));
}

const notracks = (chains: Chains): boolean =>
  [...chains.values()].some((rules) =>
    rules.some(({ steps }) => steps.some((s) => s.kind === 'blur' && s.what === 'ct')),
  );

function walk(
  rules: readonly Rule[],
  packet: Packet,
  chains: Chains,
  depth: number,
  budget: { left: number },
): Walk {
  const ends: End[] = [];
  const left: Packet[] = [];
  let live: Packet | undefined = packet;
  for (const rule of rules) {
    if (budget.left-- <= 0) {
      ends.push({ verdict: 'unknown', by: { ...rule.ref, text: 'too many rules' }, packet: live });
      return { ends, rest: live };
    }
    const after: Packet[] = [];
    carryOut(rule, rule.steps, live, { ends, left, after, chains, depth, budget });
    live = join(after);
    if (!live) break;
  }
  if (live) left.push(live);
  return { ends, rest: join(left) };
}

interface Course {
  readonly ends: End[];
  /** Left the chain by a return, or by a goto that came back. */
  readonly left: Packet[];
  /** Go on with the next rule. */
  readonly after: Packet[];
  readonly chains: Chains;
  readonly depth: number;
  readonly budget: { left: number };
}

function carryOut(rule: Rule, steps: readonly Step[], packet: Packet, course: Course): void {
  let now = packet;
  for (const step of steps) {
    if (step.kind === 'test') {
      const answer = step.test(now);
      if (answer !== true) course.after.push(now);
      if (answer === false) return;
    } else if (step.kind === 'mark') {
      now = { ...now, mark: step.value(now) };
    } else if (step.kind === 'blur') {
      now = blur(now, step.what);
    } else if (step.kind === 'nat') {
      course.ends.push({ verdict: 'accept', by: rule.ref, packet: translate(now, step.nat), nat: step.nat });
      return;
    } else if (step.kind === 'map') {
      const picked = step.pick(now);
      if (picked === 'none') {
        course.after.push(now);
        return;
      }
      if (picked === undefined) course.after.push(now);
      const possible = picked === undefined ? step.all : [picked];
      for (const verdict of possible) if (verdict.to !== 'next') follow(rule, verdict, now, course);
      // `continue` goes on within the rule.
      if (!possible.some((v) => v.to === 'next')) return;
    } else if (step.verdict.to !== 'next') {
      follow(rule, step.verdict, now, course);
      return;
    }
  }
  course.after.push(now);
}

function follow(rule: Rule, verdict: Verdict, now: Packet, course: Course): void {
  switch (verdict.to) {
    case 'next':
      return;
    case 'return':
      course.left.push(now);
      return;
    case 'jump':
    case 'goto': {
      const target = course.chains.get(verdict.chain);
      if (!target || course.depth >= DEEPEST) {
        course.ends.push({ verdict: 'unknown', by: rule.ref, packet: now });
        return;
      }
      const { ends, rest } = walk(target, now, course.chains, course.depth + 1, course.budget);
      course.ends.push(...distinct(ends));
      if (rest) (verdict.to === 'jump' ? course.after : course.left).push(rest);
      return;
    }
    default:
      course.ends.push({ verdict: verdict.to, by: rule.ref, packet: now });
      // It may also come back.
      if (verdict.to === 'unknown') course.after.push(now);
  }
}

/** Of ends of one kind in a chain the first says enough; the packets are joined. */
function distinct(ends: readonly End[]): End[] {
  const groups = Map.groupBy(ends, (e) => `${e.verdict} ${e.nat ?? ''}`);
  return [...groups.values()].map((group) => ({ ...group[0]!, packet: join(group.map((e) => e.packet))! }));
}

/** What chains behind a translation see: the other address is not known here. */
const translate = (p: Packet, kind: NatKind): Packet =>
  kind === 'dnat' || kind === 'redirect'
    ? { ...p, daddr: undefined, dport: undefined, daddrType: undefined }
    : { ...p, saddr: undefined, sport: undefined, saddrType: undefined };

function blur(p: Packet, what: 'mark' | 'ct' | 'packet'): Packet {
  if (what === 'mark') return { ...p, mark: undefined };
  if (what === 'ct') return { ...p, ctState: undefined };
  const { family, iif, oif, mark, ctState } = p;
  return { family, iif, oif, mark, ctState };
}

/** What is known of a packet that is one of these; undefined when there is none. */
function join(packets: readonly Packet[]): Packet | undefined {
  const [first, ...others] = packets;
  if (!first) return undefined;
  let joined = first;
  for (const other of others) {
    if (other === joined) continue;
    const { mark, ctState, saddr, daddr, proto, sport, dport, length, icmpType } = joined;
    joined = {
      ...joined,
      mark: other.mark === mark ? mark : undefined,
      ctState: other.ctState === ctState ? ctState : undefined,
      saddr: other.saddr === saddr ? saddr : undefined,
      daddr: other.daddr === daddr ? daddr : undefined,
      proto: other.proto === proto ? proto : undefined,
      sport: other.sport === sport ? sport : undefined,
      dport: other.dport === dport ? dport : undefined,
      length: other.length === length ? length : undefined,
      icmpType: other.icmpType === icmpType ? icmpType : undefined,
    };
  }
  return joined;
}
