import { ROUTE_PROTOCOL, RTPROT_BOOT } from '../../contract.ts';
import { formatAddr, sameAddr } from '../../net/addr.ts';
import { containsAddr, formatPrefix, samePrefix } from '../../net/prefix.ts';
import { type Expected, words } from './expect.ts';
import { broken, daemonRuns, ok, putBack, unknown } from './hop.ts';
import type { IpRule } from './ipRules.ts';
import { type FoundRoute, protocolName } from './kernelWords.ts';
import type { Seen } from './seen.ts';
import type { Hop, Question } from './types.ts';

/** Hops about where the kernel sends a packet to a peer: policy routing rules and routes. Pure. */

const MAIN = 254;
const LOCAL = 255;
/** Rules behind this priority ask the main table and what comes after it. */
const MAIN_PRIORITY = 32_766;

const isStop = (action: string): boolean =>
  action === 'blackhole' || action === 'unreachable' || action === 'prohibit';

/** Rules that are asked before the main table. */
const earlyRules = ({ rules }: Pick<Seen, 'rules'>): readonly IpRule[] =>
  rules.filter((r) => r.priority < MAIN_PRIORITY && !(r.action === 'table' && r.table === LOCAL));

/** Could the rule be asked for this packet, as far as its prefixes tell? */
const fits = ({ src, dst, inverted }: IpRule, { to, from }: Question): boolean =>
  inverted || (!(dst && !containsAddr(dst, to)) && !(src && from && !containsAddr(src, from)));

/**
 * Rules before the main table of which one has stopped a packet, by itself or by the table it leads to: the main table would have let it go.
 * In words; empty: none, or it cannot be told.
 */
function stoppers(seen: Seen): readonly string[] {
  if (!('refused' in seen.way)) return [];
  // Of each table, the longest prefix decides.
  const inTable = (table: number) => seen.routes.find((r) => r.table === table);
  if (inTable(MAIN)?.type !== 'unicast') return [];
  return earlyRules(seen)
    .filter((rule) => fits(rule, seen.question))
    .flatMap((rule) => {
      if (isStop(rule.action)) return [rule.text];
      const there = rule.action === 'table' && rule.table !== MAIN ? inTable(rule.table) : undefined;
      return there && isStop(there.type) ? [`${rule.text}; there: ${there.text}`] : [];
    });
}

const RULES = 'a rule that asks another table first takes packets past our routes';

/** Does a rule take the packet past the main table, or stop it? */
export function rulesHop(seen: Seen): Hop {
  const { rules, way, question, mark } = seen;
  const early = earlyRules(seen);
  const byMark = early.find((r) => r.byMark);
  if (mark === undefined && byMark) {
    return unknown('rules', {
      found: `which mark the firewall gives it cannot be told, and ${byMark.text} goes by that`,
      expected: 'the main table',
      why: RULES,
    });
  }
  if ('route' in way && way.route.table !== MAIN && way.route.table !== LOCAL) {
    const { table, text } = way.route;
    const by = early.find((r) => r.table === table) ?? rules.find((r) => r.table === table);
    return broken('rules', {
      found: `${by?.text ?? 'some rule'}; there: ${text}`,
      expected: 'the main table',
      why: RULES,
      cause: `a policy routing rule (${by?.text ?? `to table ${table}`}) sends it past the main table, by ${text}`,
      fix: `exempt the overlay from it, e.g. by a rule before it: \`ip rule add to ${formatAddr(question.to)} lookup main priority ${Math.max(1, (by?.priority ?? MAIN_PRIORITY) - 1)}\``,
    });
  }
  const stops = stoppers(seen);
  if (stops.length > 0 && 'refused' in way) {
    const words = stops.join(' | ');
    return broken('rules', {
      found: `${words}: ${way.refused}`,
      expected: 'the main table',
      why: RULES,
      cause: `${stops.length === 1 ? 'a policy routing rule stops it' : 'one of these policy routing rules stops it'}: ${words}`,
      fix: 'find who put that rule there, and exempt the overlay from it',
    });
  }
  if (early.length === 0) return ok('rules', { found: 'none', why: RULES });
  const found = early
    .map((r) => r.text)
    .slice(0, 3)
    .join('; ');
  // None of those that are known to stop packets has: but one of these may.
  if ('refused' in way) return unknown('rules', { found, expected: 'the main table', why: RULES });
  return ok('rules', { found: `${found}: none takes this packet`, why: RULES });
}

const ROUTE = 'the longest prefix in the routing table decides where a packet goes';

/** Who puts routes with this number there. */
function whose(protocol: number): string {
  if (protocol === RTPROT_BOOT || protocol === 4) return 'by hand or by a script';
  if (protocol === 2) return 'by the kernel, for an address on that device';
  return `by ${protocolName(protocol)}`;
}

/** Is our route there, and is it the one that is taken? */
export function routeHop(seen: Seen, expected: Expected): Hop {
  const wanted = expected.route!;
  const text = words(wanted);
  const dst = formatPrefix(wanted.dst);
  const main = seen.routes.filter((r) => r.table === MAIN);
  const ours = main.find((r) => isWanted(r, expected));
  const { way } = seen;
  const taken = 'route' in way ? way.route.text : way.refused;
  const right = 'route' in way && way.route.dev === wanted.dev && sameAddr(way.route.via, wanted.via);
  if (ours && right) {
    const lowered = ours.mtu === undefined ? '' : ` (its MTU was lowered to ${ours.mtu} bytes)`;
    return ok('route', { found: `${way.route.text}${lowered}`, expected: text, why: ROUTE });
  }
  const bypassed = 'route' in way && way.route.table !== MAIN && way.route.table !== LOCAL;
  if (ours && (bypassed || main[0] === ours)) {
    // Not asked because of a rule, which is another hop: what the main table has is right.
    if (bypassed || stoppers(seen).length > 0)
      return ok('route', { found: `in the main table: ${ours.text}`, expected: text, why: ROUTE });
    const rules = earlyRules(seen);
    return broken('route', {
      found: `${ours.text} is there, but the kernel says: ${taken}`,
      expected: text,
      why: ROUTE,
      cause: `the kernel does not take the route to ${dst}, although it is there: ${taken}`,
      fix: `look at ${[
        ...(rules.length > 0 ? [`the policy routing rules (${rules.map((r) => r.text).join('; ')})`] : []),
        ...(seen.question.from
          ? ['rp_filter of the device it comes in by (`sysctl -a | grep rp_filter`)']
          : []),
        'the state of the device it leaves by',
      ].join(', ')}`,
    });
  }
  const foreign = main.find((r) => r !== ours && r.dst.len >= wanted.dst.len && !isWanted(r, expected));
  if (foreign && foreign.protocol !== ROUTE_PROTOCOL) {
    return broken('route', {
      found: foreign.text,
      expected: text,
      why: ROUTE,
      cause: `a route that is not loden's, ${foreign.text}, was put there ${whose(foreign.protocol)} and takes its packets`,
      fix: `remove it (\`ip route del ${foreign.text.replace(/ proto .*/, '')}\`) and find who put it there; loden does not fight over routes of others`,
    });
  }
  if (foreign) {
    return broken('route', {
      found: foreign.text,
      expected: text,
      why: ROUTE,
      cause: `the route to ${dst} leads elsewhere (${foreign.text})`,
      fix: putBack(seen, '`ip route`'),
    });
  }
  return broken('route', {
    found: 'route' in way ? `no route to ${dst}; the kernel takes ${taken}` : `no route to ${dst}: ${taken}`,
    expected: text,
    why: ROUTE,
    cause: `the route to ${dst} ${daemonRuns(seen) ? 'was removed by somebody' : 'is missing'}`,
    fix: putBack(seen, '`ip route del`'),
  });
}

function isWanted(r: FoundRoute, { route }: Expected): boolean {
  return (
    route !== undefined &&
    r.type === route.type &&
    samePrefix(r.dst, route.dst) &&
    r.dev === route.dev &&
    sameAddr(r.via, route.via) &&
    (r.protocol === ROUTE_PROTOCOL || r.protocol === RTPROT_BOOT)
  );
}
