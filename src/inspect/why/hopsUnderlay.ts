import { formatAddr, sameAddr } from '../../net/addr.ts';
import type { Expected } from './expect.ts';
import { answers, broken, ok, showAddr, unknown, warning } from './hop.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** The hop about the way to a peer's public address. Pure. */

const UNDERLAY = "the tunnel's own packets are routed like any others, to the peer's public address";

/** Uplink, route, gateway or peer on the link: the first of them that is wrong. */
export function underlayHop(seen: Seen, expected: Expected): Hop {
  const { underlay } = seen;
  const endpoint = showAddr(expected.endpoint);
  if (!underlay)
    return unknown('underlay', { found: "the peer's public address is not known", why: UNDERLAY });
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
  const byMark = underlay.rules.find((r) => r.byMark);
  if (underlay.mark === undefined && byMark) {
    return unknown('underlay', {
      found: `which mark the firewall gives the tunnel's packets cannot be told, and ${byMark.text} goes by that`,
      why: UNDERLAY,
    });
  }
  const marked = underlay.mark ? ` mark 0x${underlay.mark.toString(16)}` : '';
  const foreign = underlay.rules.filter((r) => !(r.action === 'table' && r.table >= 253 && r.table <= 255));
  const rules = foreign.length > 0 ? ` (policy routing rules: ${foreign.map((r) => r.text).join('; ')})` : '';
  if ('refused' in way) {
    const packets = marked ? `, for packets with${marked}, which the firewall gives the tunnel's` : '';
    return make(
      `no route to ${endpoint}${marked}: ${way.refused}${rules}`,
      `this host has no route to the peer's public address ${endpoint}${packets}: ${way.refused}${rules}`,
      `put right the host's own routes: \`ip route get ${endpoint}${marked}\``,
    );
  }
  const { route } = way;
  if (route.type !== 'unicast') {
    return make(
      route.text,
      `the route to the peer's public address ${endpoint} is ${route.text}`,
      "put right the host's own routes",
    );
  }
  if (route.dev !== undefined && (route.dev === expected.link?.name || /^(flannel|cni)/.test(route.dev))) {
    return make(
      route.text,
      `the way to the peer's public address ${endpoint} leads into the overlay itself (${route.text})`,
      "the overlay's network covers the underlay: choose another Network, or remove that route",
    );
  }
  const by = `${route.text}${marked}${hop ? `, next ${formatAddr(hop)}` : ''}${neighbour ? ` ${neighbour.mac ?? ''} ${neighbour.state}`.replace('  ', ' ') : ''}`;
  const lost =
    neighbour &&
    (neighbour.state === 'FAILED' || (neighbour.state === 'INCOMPLETE' && answers(seen) === false));
  if (lost) {
    const which = sameAddr(hop, expected.endpoint) ? "the peer's host" : 'the gateway';
    return make(
      by,
      `${which} ${showAddr(hop)} does not answer on ${route.dev} (neighbour ${neighbour.state})`,
      'that host is down or unplugged, or the network between is cut: it does not even answer for its own MAC',
    );
  }
  // What answers all the same is right.
  if (neighbour?.state === 'PERMANENT' && answers(seen) !== true) {
    return warning('underlay', {
      found: by,
      expected: 'a neighbour that the kernel has found itself',
      why: UNDERLAY,
      cause: `the MAC ${neighbour.mac ?? ''} of ${showAddr(hop)} on ${route.dev} was put there by somebody (PERMANENT), and may be wrong`,
      fix: `compare it with that host's, or let the kernel ask: \`ip neigh del ${showAddr(hop)} dev ${route.dev}\``,
    });
  }
  if (route.dev !== expected.uplink) {
    return warning('underlay', {
      found: by,
      expected: `by ${expected.uplink}`,
      why: UNDERLAY,
      cause: `packets to the peer's public address leave by ${route.dev}, and the uplink is ${expected.uplink}`,
      fix: "put right the host's own routes, or choose the other device by --iface",
    });
  }
  return ok('underlay', { found: by, expected: `by ${expected.uplink}`, why: UNDERLAY });
}
