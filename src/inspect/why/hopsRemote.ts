import { formatAddr, sameAddr } from '../../net/addr.ts';
import { knownValue } from '../world.ts';
import type { Expected } from './expect.ts';
import { broken, knownExpected, ok, peerName, unknown, warning } from './hop.ts';
import type { Echo } from './probes.ts';
import type { Seen } from './seen.ts';
import type { Hop, HopState } from './types.ts';

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
    fix: "put right the MTU of the network between, or set Backend.MTU (vxlan) or the uplinks' MTU to what passes",
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

/** What of this host no hop looks at, and what can lose packets too. */
const UNSEEN = 'tc, XDP, XFRM';

/** Which end a silence points to; `before`: the hops of this host, of which a broken one explains it. */
export function remoteHop(seen: Seen, before: readonly Hop[]): Hop {
  const { echoes, place } = seen;
  const to = formatAddr(seen.question.to);
  const expected = knownExpected(seen);
  if (typeof echoes === 'string') {
    return unknown('remote', { found: 'nothing could be sent to it', why: REMOTE });
  }
  const { tunnel, host, target, knock } = echoes;
  if (place.kind !== 'peer') {
    return target?.what === 'answered'
      ? ok('remote', { found: `${to} ${showEcho(target)}`, why: REMOTE })
      : unknown('remote', { found: `${to} ${showEcho(target)}`, why: REMOTE });
  }
  const end = expected?.probe ? formatAddr(expected.probe) : 'its end';
  const address = expected?.endpoint ? formatAddr(expected.endpoint) : 'its public address';
  const found = [
    target ? `${to} ${showEcho(target)}` : '',
    tunnel ? `${end}, its node's end, ${showEcho(tunnel)}` : '',
    host ? `${address}, its node's public address, ${showEcho(host)}` : '',
    knock?.what === 'answered' ? `${address} says that a port is closed` : '',
  ]
    .filter((t) => t !== '')
    .join('; ');
  // An answer of its service is one too, and a refusal.
  if (seen.connected === 'open' || seen.connected === 'refused' || target?.what === 'answered')
    return ok('remote', { found, why: REMOTE });
  const peerAnswers = tunnel?.what === 'answered';
  if (peerAnswers && target === undefined) return ok('remote', { found, why: REMOTE });
  const key = peerName(seen);
  const make = (expected: string, cause: string, fix: string): Hop =>
    broken('remote', { found, expected, why: REMOTE, cause, fix });
  if (peerAnswers) {
    return make(
      `a pod with ${to}`,
      `its node (${key}) answers through the overlay and the address itself does not: there is no such pod, or it drops echoes`,
      `ask there: \`loden why ${to}\` on that node`,
    );
  }
  if (tunnel === undefined && host === undefined) return unknown('remote', { found, why: REMOTE });
  const port = expected?.outer?.port;
  const life = signOfLife(seen, expected);
  const here = onThisHost(before);
  if (life === undefined) {
    return make(
      `an answer from ${address}`,
      `nothing comes back from its node (${key}), not from its public address ${address} either; ${here}perhaps it is down, unplugged or cut off, or it drops echoes`,
      'see whether that node lives; if it does, `loden why` there, back to this host',
    );
  }
  const mac = sameAddr(seen.underlay?.hop, expected?.endpoint) ? seen.underlay?.neighbour?.mac : undefined;
  const away =
    port === undefined
      ? 'it drops echoes, or what goes to its pods is lost between the hosts or there'
      : `UDP port ${port} is blocked between the hosts or on that node, its daemon has not programmed it (its lease ${key} may be stale), or another host has taken its address${mac ? ` (the MAC seen here is ${mac})` : ''}`;
  return make(
    `an answer from ${end}`,
    `nothing comes ${port === undefined ? 'back' : 'through the tunnel'}, though ${life}; ${here}perhaps ${away}`,
    `look there: \`loden status\`, \`loden why\` back to this host${port === undefined ? '' : `, firewalls for UDP port ${port}`}`,
  );
}

/** How far this host can be ruled out. */
function onThisHost(hops: readonly Hop[]): string {
  const of = (state: HopState) => hops.filter((h) => h.state === state && h.hop !== 'path').map((h) => h.hop);
  const [doubtful, unsure] = [of('warning'), of('unknown')];
  const limits = [
    ...(doubtful.length > 0 ? [`doubtful: ${doubtful.join(', ')}`] : []),
    ...(unsure.length > 0 ? [`not known: ${unsure.join(', ')}`] : []),
    `not looked at: ${UNSEEN}`,
  ];
  const or = limits.length > 1 ? 'it is one of those, or ' : '';
  return `nothing wrong was found on this host (${limits.join('; ')}): ${or}`;
}

/** What says that the peer's host lives, though it does not answer through the tunnel. */
function signOfLife({ echoes, underlay }: Seen, expected: Expected | undefined): string | undefined {
  if (typeof echoes === 'string' || !expected?.endpoint) return undefined;
  if (echoes.host?.what === 'answered') return "its node's public address answers";
  const address = formatAddr(expected.endpoint);
  if (echoes.knock?.what === 'answered')
    return `its node lives (${address} does not answer echoes, but says that a port is closed)`;
  // Who is asked by way of a gateway need not answer it himself.
  if (underlay?.neighbour?.state !== 'REACHABLE' || !sameAddr(underlay.hop, expected.endpoint))
    return undefined;
  return `a host with its public address ${address} has just answered ${expected.endpoint.family === 4 ? 'ARP' : 'neighbour discovery'}, and drops echoes`;
}

const SERVICE = 'who answers echoes need not listen, or let others connect';

/** The TCP port asked about, where it was tried. The path to it is what the other hops are about. */
export function serviceHop({ connected, question: { port } }: Seen): Hop {
  const found = `TCP port ${port!.port} is ${connected === 'silent' ? 'silent' : connected}`;
  if (connected === 'open') return ok('service', { found, why: SERVICE });
  const expected = `somebody who listens on port ${port!.port}`;
  const make = (cause: string, fix: string): Hop =>
    broken('service', { found, expected, why: SERVICE, cause, fix });
  return connected === 'refused'
    ? make(
        `its TCP port ${port!.port} is refused: nothing listens on it, or a firewall there says so`,
        'look at the program in that pod',
      )
    : make(
        `nothing comes back from its TCP port ${port!.port}: a firewall there drops what is for it, or it only lets others in`,
        'look at that pod and its node, and at network policies',
      );
}
