import { ROUTE_PROTOCOL, RTPROT_BOOT } from '../../contract.ts';
import { isObject } from '../../fields.ts';
import { formatAddr, sameAddr } from '../../net/addr.ts';
import { formatPrefix, samePrefix } from '../../net/prefix.ts';
import { knownValue } from '../world.ts';
import { type Expected, words } from './expect.ts';
import { answers, broken, daemonRuns, ok, putBack, showAddr, unknown, warning } from './hop.ts';
import type { IpRule } from './ipRules.ts';
import { type FoundRoute, protocolName } from './kernel.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about what the kernel has on the way to a peer. Pure. */

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

const TUNNEL = 'packets enter the tunnel through this device; a device that is down has no routes';

export function tunnelHop(seen: Seen, { link, tunnelAddr }: Expected): Hop {
  const name = link!.name;
  const found = seen.links.find((l) => l.name === name);
  const expected = `${name} up${link!.mac ? `, ${link!.mac}` : ''}${tunnelAddr ? `, ${formatPrefix(tunnelAddr)}` : ''}`;
  const make = (what: string, cause: string, fix: string): Hop =>
    broken('tunnel', { found: what, expected, why: TUNNEL, cause, fix });
  if (!found) {
    return make(
      `there is no device ${name}`,
      `the tunnel device ${name} is missing`,
      putBack(seen, '`ip link del`'),
    );
  }
  if (!found.up) {
    return make(
      `${name} is down`,
      `the tunnel device ${name} is down`,
      putBack(seen, `\`ip link set ${name} down\``),
    );
  }
  const have = found.vxlan;
  const want = link!.vxlan;
  if (
    want &&
    have &&
    (have.vni !== want.vni || have.port !== want.port || !sameAddr(have.local, want.local))
  ) {
    return make(
      `${name}: VNI ${have.vni}, port ${have.port}, local ${showAddr(have.local)}`,
      `the tunnel device ${name} has other settings than the network (VNI ${want.vni}, port ${want.port}, local ${formatAddr(want.local)})`,
      putBack(seen, '`ip link` on it'),
    );
  }
  if (want && !have) {
    return make(
      `${name} is a ${found.type ?? 'device'}, no VXLAN device`,
      `${name} is no VXLAN device`,
      `delete it: \`ip link del ${name}\``,
    );
  }
  if (link!.mac && found.mac !== link!.mac) {
    return make(
      `${name} has the MAC ${found.mac ?? 'none'}`,
      `the tunnel device ${name} has another MAC (${found.mac ?? 'none'}) than our lease tells peers (${link!.mac}): they send to that`,
      putBack(seen, `\`ip link set ${name} address …\``),
    );
  }
  const has =
    tunnelAddr && seen.addresses.some((a) => a.dev === name && sameAddr(a.addr.addr, tunnelAddr.addr));
  if (has === false) {
    return make(
      `${name} lacks the address ${formatPrefix(tunnelAddr!)}`,
      `the tunnel device ${name} has lost its address ${formatPrefix(tunnelAddr!)}`,
      putBack(seen, '`ip addr del`'),
    );
  }
  const what = `${name} up${found.mac ? `, ${found.mac}` : ''}, mtu ${found.mtu}`;
  if (found.mtu > link!.mtu) {
    return warning('tunnel', {
      found: what,
      expected: `${expected}, mtu ${link!.mtu}`,
      why: 'packets larger than the underlay takes are lost or cut in pieces',
      cause: `the tunnel device ${name} takes packets of ${found.mtu} bytes, and the uplink leaves room for ${link!.mtu}`,
      fix: putBack(seen, `\`ip link set ${name} mtu …\``),
    });
  }
  if (found.mtu < link!.mtu) {
    return warning('tunnel', {
      found: what,
      expected: `${expected}, mtu ${link!.mtu}`,
      why: 'packets are smaller than they need be',
      cause: `the tunnel device ${name} takes packets of ${found.mtu} bytes only, and the uplink leaves room for ${link!.mtu}`,
      fix: putBack(seen, `\`ip link set ${name} mtu …\``),
    });
  }
  return ok('tunnel', { found: what, expected, why: TUNNEL });
}

const ROUTE = 'the longest prefix in the routing table decides where a packet goes';

/** Who puts routes with this number there. */
function whose(protocol: number): string {
  if (protocol === RTPROT_BOOT || protocol === 4) return 'by hand or by a script';
  if (protocol === 2) return 'by the kernel, for an address on that device';
  return `by ${protocolName(protocol)}`;
}

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

const NEIGHBOUR =
  'a frame with another MAC is dropped by the peer; without one the kernel asks, and nobody answers';

export function neighbourHop(seen: Seen, { neigh }: Expected): Hop {
  const { neighbour: have } = seen;
  const expected = words(neigh!);
  const at = formatAddr(neigh!.addr);
  if (!have?.mac) {
    return broken('neighbour', {
      found: have ? `${at} dev ${neigh!.dev} ${have.state}` : `no neighbour ${at} on ${neigh!.dev}`,
      expected,
      why: NEIGHBOUR,
      cause: `the neighbour entry of ${at} on ${neigh!.dev} was removed by somebody`,
      fix: putBack(seen, '`ip neigh del` or `ip neigh flush`'),
    });
  }
  const found = `${at} lladdr ${have.mac} ${have.state}`;
  if (have.mac !== neigh!.mac) {
    return broken('neighbour', {
      found,
      expected,
      why: NEIGHBOUR,
      cause: `the neighbour ${at} on ${neigh!.dev} has the MAC ${have.mac}, and its lease says ${neigh!.mac}`,
      fix: putBack(seen, '`ip neigh replace`'),
    });
  }
  if (have.state !== 'PERMANENT') {
    return warning('neighbour', {
      found,
      expected,
      why: 'an entry that is not permanent can be forgotten',
      cause: `the neighbour ${at} is ${have.state}, not PERMANENT`,
      fix: putBack(seen, '`ip neigh`'),
    });
  }
  return ok('neighbour', { found, expected, why: NEIGHBOUR });
}

const FDB = 'without it the frame has nowhere to go, with another address it goes to another host';

export function fdbHop(seen: Seen, { fdb }: Expected): Hop {
  const { fdb: have } = seen;
  const expected = words(fdb!);
  if (!have?.dst) {
    return broken('fdb', {
      found: `no FDB entry of ${fdb!.mac} on ${fdb!.dev}`,
      expected,
      why: FDB,
      cause: `the FDB entry of ${fdb!.mac} on ${fdb!.dev} was removed by somebody`,
      fix: putBack(seen, '`bridge fdb del`'),
    });
  }
  const found = `${fdb!.mac} dst ${formatAddr(have.dst)}${have.permanent ? ' permanent' : ''}`;
  if (!sameAddr(have.dst, fdb!.dst)) {
    return broken('fdb', {
      found,
      expected,
      why: FDB,
      cause: `the FDB entry of ${fdb!.mac} sends to ${formatAddr(have.dst)}, and its lease says ${formatAddr(fdb!.dst)}`,
      fix: putBack(seen, '`bridge fdb replace`'),
    });
  }
  return ok('fdb', { found, expected, why: FDB });
}

const FORWARDER = 'the udp backend’s packets pass through the daemon’s threads';

/** Only for udp. */
export function forwarderHop(seen: Seen): Hop {
  const status = knownValue(seen.world.status);
  if (!status) {
    const why = FORWARDER;
    if (seen.world.daemon.state === 'none') {
      return broken('forwarder', {
        found: 'no loden daemon answers here',
        expected: 'a daemon that forwards',
        why,
        cause: 'no daemon runs here, and the udp backend forwards in the daemon',
        fix: 'start it by `loden run`',
      });
    }
    return unknown('forwarder', { found: seen.world.daemon.reason ?? 'the daemon does not answer', why });
  }
  const forwarder = isObject(status.forwarder) ? status.forwarder : undefined;
  if (forwarder?.running !== true) {
    return broken('forwarder', {
      found: forwarder ? 'the forwarder does not run' : 'there is no forwarder',
      expected: 'a running forwarder',
      why: FORWARDER,
      cause: 'the daemon’s forwarder does not run',
      fix: `see \`loden status\`: ${status.problems.slice(0, 2).join('; ') || 'its problems'}`,
    });
  }
  return ok('forwarder', { found: `running, ${String(forwarder.threads)} threads`, why: FORWARDER });
}

const UNDERLAY = 'the tunnel’s own packets are routed like any others, to the peer’s public address';

export function underlayHop(seen: Seen, expected: Expected): Hop {
  const { underlay } = seen;
  const endpoint = showAddr(expected.endpoint);
  if (!underlay)
    return unknown('underlay', { found: 'the peer’s public address is not known', why: UNDERLAY });
  const { way, link, hop, neighbour } = underlay;
  const uplink = seen.links.find((l) => l.name === expected.uplink);
  const make = (found: string, cause: string, fix: string): Hop =>
    broken('underlay', {
      found,
      expected: `a way to ${endpoint} by ${expected.uplink}`,
      why: UNDERLAY,
      cause,
      fix,
    });
  const device = 'route' in way ? link : uplink;
  for (const l of [uplink, device]) {
    if (l && !l.up)
      return make(
        `${l.name} is down`,
        `the uplink ${l.name} is down`,
        `find who took it down: \`ip link set ${l.name} up\``,
      );
    if (l && !l.carrier)
      return make(
        `${l.name} has no carrier`,
        `the uplink ${l.name} has no carrier`,
        'look at the cable, or at what is on its other end',
      );
  }
  if (!uplink) {
    return make(
      `there is no device ${expected.uplink}`,
      `the uplink ${expected.uplink} is gone`,
      'see why the device is missing, or choose another by --iface',
    );
  }
  if ('refused' in way) {
    return make(
      `no route to ${endpoint}: ${way.refused}`,
      `this host has no route to the peer's public address ${endpoint} (${way.refused})`,
      `put right the host's own routes: \`ip route get ${endpoint}\``,
    );
  }
  const { route } = way;
  if (route.type !== 'unicast') {
    return make(
      route.text,
      `the route to the peer's public address ${endpoint} is ${route.text}`,
      'put right the host’s own routes',
    );
  }
  if (route.dev !== undefined && (route.dev === expected.link?.name || /^(flannel|cni)/.test(route.dev))) {
    return make(
      route.text,
      `the way to the peer's public address ${endpoint} leads into the overlay itself (${route.text})`,
      'the overlay’s network covers the underlay: choose another Network, or remove that route',
    );
  }
  const by = `${route.text}${hop ? `, next ${formatAddr(hop)}` : ''}${neighbour ? ` ${neighbour.mac ?? ''} ${neighbour.state}`.replace('  ', ' ') : ''}`;
  const lost =
    neighbour &&
    (neighbour.state === 'FAILED' || (neighbour.state === 'INCOMPLETE' && answers(seen) === false));
  if (lost) {
    const which = sameAddr(hop, expected.endpoint) ? 'the peer’s host' : 'the gateway';
    return make(
      by,
      `${which} ${showAddr(hop)} does not answer on ${route.dev} (neighbour ${neighbour.state})`,
      'that host is down or unplugged, or the network between is cut: it does not even answer for its own MAC',
    );
  }
  if (route.dev !== expected.uplink) {
    return warning('underlay', {
      found: by,
      expected: `by ${expected.uplink}`,
      why: UNDERLAY,
      cause: `packets to the peer's public address leave by ${route.dev}, and the uplink is ${expected.uplink}`,
      fix: 'put right the host’s own routes, or choose the other device by --iface',
    });
  }
  return ok('underlay', { found: by, expected: `by ${expected.uplink}`, why: UNDERLAY });
}
