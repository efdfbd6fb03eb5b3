import { ROUTE_PROTOCOL, RTPROT_BOOT } from '../../contract.ts';
import { formatAddr, sameAddr } from '../../net/addr.ts';
import { formatPrefix, samePrefix } from '../../net/prefix.ts';
import { type Expected, words } from './expect.ts';
import { broken, daemonRuns, ok, putBack } from './hop.ts';
import type { IpRule } from './ipRules.ts';
import { type FoundRoute, protocolName } from './kernel.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about where the kernel sends a packet to a peer: policy routing rules and routes. Pure. */

const MAIN = 254;
const LOCAL = 255;
/** Rules behind this priority ask the main table and what comes after it. */
const MAIN_PRIORITY = 32_766;

const isStop = (r: IpRule): boolean =>
  r.action === 'blackhole' || r.action === 'unreachable' || r.action === 'prohibit';

/** Does a rule before the main table keep the packet from being asked there? */
const stoppedByRule = ({ rules, way }: Seen): boolean =>
  'refused' in way && rules.some((r) => r.priority < MAIN_PRIORITY && isStop(r));

const RULES = 'a rule that asks another table first takes packets past our routes';

/** Does a rule take the packet past the main table, or stop it? */
export function rulesHop({ rules, way, question }: Seen): Hop {
  const early = rules.filter(
    (r) => r.priority < MAIN_PRIORITY && !(r.action === 'table' && r.table === LOCAL),
  );
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
  const stops = early.find(isStop);
  if ('refused' in way && stops) {
    return broken('rules', {
      found: `${stops.text}: ${way.refused}`,
      expected: 'the main table',
      why: RULES,
      cause: `a policy routing rule stops it: ${stops.text}`,
      fix: 'find who put that rule there, and exempt the overlay from it',
    });
  }
  const found =
    early.length === 0
      ? 'none'
      : early
          .map((r) => r.text)
          .slice(0, 3)
          .join('; ');
  return ok('rules', { found: early.length === 0 ? found : `${found}: none takes this packet`, why: RULES });
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
    if (bypassed || stoppedByRule(seen))
      return ok('route', { found: `in the main table: ${ours.text}`, expected: text, why: ROUTE });
    return broken('route', {
      found: `${ours.text} is there, but the kernel says: ${taken}`,
      expected: text,
      why: ROUTE,
      cause: `the kernel does not take the route to ${dst}, although it is there: ${taken}`,
      fix: 'look at rp_filter of the device it comes in by (`sysctl -a | grep rp_filter`), and at the state of the device it leaves by',
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
