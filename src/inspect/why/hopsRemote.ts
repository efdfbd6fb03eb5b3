import { formatAddr } from '../../net/addr.ts';
import { knownValue } from '../world.ts';
import { broken, knownExpected, ok, peerName, unknown, warning } from './hop.ts';
import type { Echo } from './probes.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** What packets that are really sent have found, and what that says of the other end. Pure. */

const PATH = 'what the kernel would do is one thing, what arrives another';

/** errno of a packet larger than its route or device takes. */
const EMSGSIZE = 90;

function showEcho(echo: Echo | undefined): string {
  switch (echo?.what) {
    case undefined:
      return 'was not asked';
    case 'answered':
      return `answers in ${echo.rtt.toFixed(echo.rtt < 1 ? 3 : 1)} ms`;
    case 'silent':
      return 'does not answer';
    case 'not-sent':
      return `cannot be asked (errno ${echo.errno})`;
    case 'unreachable':
      return `cannot be reached (ICMP type ${echo.type}, code ${echo.code})`;
    case 'too-big':
      return `needs smaller packets (${echo.mtu} bytes)`;
  }
}

/** What echoes to the peer's end have found: time and size. */
export function pathHop(seen: Seen): Hop {
  const { echoes, pathMtu } = seen;
  if (typeof echoes === 'string')
    return unknown('path', { found: `nothing could be sent: ${echoes}`, why: PATH });
  const expected = knownExpected(seen);
  const end = expected?.probe ? formatAddr(expected.probe) : formatAddr(seen.question.to);
  const small = echoes.tunnel ?? echoes.target;
  const found = `${end} ${showEcho(small)}`;
  if (small?.what !== 'answered') return unknown('path', { found, why: PATH });
  const { full } = echoes;
  if (!expected || full === undefined || full.what === 'answered') {
    const whole = full ? `${found}; so do packets of ${expected?.mtu} bytes` : found;
    return lately(seen, whole) ?? ok('path', { found: whole, why: PATH });
  }
  const mtu = pathMtu ?? (full.what === 'too-big' ? full.mtu : undefined);
  const passes = mtu === undefined ? 'smaller ones do' : `of ${mtu} bytes do`;
  const lowered = 'route' in seen.way ? seen.way.route.mtu : undefined;
  const rest = {
    found: `${found}; packets of ${expected.mtu} bytes do not pass, ${passes}${full.what === 'not-sent' && full.errno === EMSGSIZE ? ' (EMSGSIZE)' : ''}`,
    expected: `packets of ${expected.mtu} bytes pass`,
    why: 'connections open, and hang as soon as they carry much',
  };
  const narrow = `the path MTU to its node is ${mtu ?? `less than ${expected.mtu}`} bytes, where the uplink's MTU leaves ${expected.mtu}`;
  if (lowered !== undefined && (mtu === undefined || lowered <= mtu)) {
    return warning('path', {
      ...rest,
      cause: `${narrow}; the route was lowered to ${lowered} bytes by loden's probes, so packets that fit are sent`,
      fix: 'put right the MTU of the network between, or of the uplinks: the route is raised again by itself',
    });
  }
  return broken('path', {
    ...rest,
    cause: `${narrow}: large packets are lost`,
    fix: 'put right the MTU of the network between, or set Backend.MTU (vxlan) or the uplinks’ MTU to what passes',
  });
}

/** What the daemon's probes of the last time say, if that is worse than what was seen just now. */
function lately(seen: Seen, found: string): Hop | undefined {
  const probes = knownValue(seen.world.probes);
  const path = probes?.paths.find((p) => p.key === peerName(seen) && p.family === seen.question.to.family);
  if (path?.checksum === 'corrupted' && probes?.checksumOffload?.state !== 'off') {
    return broken('path', {
      found: `${found}; checksums that ${probes?.checksumOffload?.device ?? 'the device'} fills in arrive wrong`,
      expected: 'checksums that hold',
      why: 'the peer drops TCP and UDP whose checksum does not hold; echoes pass',
      cause: 'packets whose checksum is left to the device arrive corrupted',
      fix: `turn its tx checksum offload off: \`ethtool -K ${probes?.checksumOffload?.device ?? 'DEVICE'} tx-checksum-ip-generic off\``,
    });
  }
  if (path?.health !== 'lossy') return undefined;
  return warning('path', {
    found: `${found}; of the last ${path.sent} probes of the daemon ${path.lost} were lost`,
    expected: 'no loss',
    why: 'some packets get there, and some do not',
    cause: `${path.lost} of the last ${path.sent} probes to its node were lost`,
    fix: 'look for loss on the underlay: errors and drops of the uplinks, a switch between, an overloaded host',
  });
}

const REMOTE = 'the rest of the path is on the other host';

/** Which end a silence points to. */
export function remoteHop(seen: Seen): Hop {
  const { echoes, place } = seen;
  const to = formatAddr(seen.question.to);
  const expected = knownExpected(seen);
  const key = peerName(seen);
  if (typeof echoes === 'string') {
    return unknown('remote', { found: 'nothing could be sent to it', why: REMOTE });
  }
  if (place.kind !== 'peer') {
    const { target } = echoes;
    return target?.what === 'answered'
      ? ok('remote', { found: `${to} ${showEcho(target)}`, why: REMOTE })
      : unknown('remote', { found: `${to} ${showEcho(target)}`, why: REMOTE });
  }
  const { tunnel, host, target } = echoes;
  const end = expected?.probe ? formatAddr(expected.probe) : 'its end';
  const found = [
    target ? `${to} ${showEcho(target)}` : '',
    tunnel ? `${end}, its node's end, ${showEcho(tunnel)}` : '',
    host && expected?.endpoint
      ? `${formatAddr(expected.endpoint)}, its node's public address, ${showEcho(host)}`
      : '',
  ]
    .filter((t) => t !== '')
    .join('; ');
  if (seen.connected === 'open')
    return ok('remote', { found: `port ${seen.question.port?.port} is open; ${found}`, why: REMOTE });
  if (seen.connected === 'refused') {
    const port = seen.question.port?.port;
    return broken('remote', {
      found: `port ${port} is refused; ${found}`,
      expected: `somebody who listens on port ${port}`,
      why: REMOTE,
      cause: `nothing listens on TCP port ${port} there: the path is whole`,
      fix: 'look at the program in that pod',
    });
  }
  if (target?.what === 'answered') return ok('remote', { found, why: REMOTE });
  const peerAnswers = tunnel?.what === 'answered';
  if (peerAnswers && target === undefined) return ok('remote', { found, why: REMOTE });
  if (peerAnswers) {
    return broken('remote', {
      found,
      expected: `a pod with ${to}`,
      why: REMOTE,
      cause: `its node (${key}) answers through the overlay and the address itself does not: there is no such pod, or it drops echoes`,
      fix: `ask there: \`loden why ${to}\` on that node`,
    });
  }
  if (tunnel === undefined && host === undefined) return unknown('remote', { found, why: REMOTE });
  const port = expected?.outer?.port;
  if (host?.what === 'answered' && port !== undefined) {
    return broken('remote', {
      found,
      expected: `an answer from ${end}`,
      why: REMOTE,
      cause: `all is right on this host and its node's public address answers, but nothing comes through the tunnel: UDP port ${port} is blocked between the hosts or on that node, or its daemon has not programmed it (its lease ${key} may be stale)`,
      fix: `look there: \`loden status\`, \`loden why\` back to this host, firewalls for UDP port ${port}`,
    });
  }
  const address = expected?.endpoint ? formatAddr(expected.endpoint) : 'its public address';
  return broken('remote', {
    found,
    expected: `an answer from ${address}`,
    why: REMOTE,
    cause: `its node does not answer at all, not at its public address ${address} either: it is down, unplugged or cut off, or gone for good (its lease ${key} is then stale)`,
    fix: 'see whether that node lives; if it is gone, its lease runs out by itself (`loden leases release` is quicker)',
  });
}
