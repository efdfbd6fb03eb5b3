import { isObject } from '../../fields.ts';
import { formatAddr, sameAddr } from '../../net/addr.ts';
import { formatPrefix } from '../../net/prefix.ts';
import { knownValue } from '../world.ts';
import { type Expected, words } from './expect.ts';
import { broken, ok, putBack, showAddr, unknown, warning } from './hop.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about the tunnel itself: its device, the neighbour and the FDB entry of a peer, the forwarder. Pure. */

const TUNNEL = 'packets enter the tunnel through this device; a device that is down has no routes';

/** Is the device there, up, and as our lease tells peers? */
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

const NEIGHBOUR =
  'a frame with another MAC is dropped by the peer; without one the kernel asks, and nobody answers';

/** The inner destination MAC. */
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

/** The outer destination address. */
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

const FORWARDER = "the udp backend's packets pass through the daemon's threads";

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
      cause: "the daemon's forwarder does not run",
      fix: `see \`loden status\`: ${status.problems.slice(0, 2).join('; ') || 'its problems'}`,
    });
  }
  return ok('forwarder', { found: `running, ${String(forwarder.threads)} threads`, why: FORWARDER });
}
