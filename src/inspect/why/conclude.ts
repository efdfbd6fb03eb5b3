import { formatAddr } from '../../net/addr.ts';
import { knownExpected, ok, unknown } from './hop.ts';
import { firewallHop, translationHop, tunnelPortHop } from './hopsFirewall.ts';
import { forwardingHop, leaseHop, peerHop } from './hopsPlace.ts';
import { podHop } from './hopsPods.ts';
import { pathHop, remoteHop, serviceHop } from './hopsRemote.ts';
import { routeHop, rulesHop } from './hopsRouting.ts';
import { fdbHop, forwarderHop, neighbourHop, tunnelHop } from './hopsTunnel.ts';
import { underlayHop } from './hopsUnderlay.ts';
import type { Seen } from './seen.ts';
import { HOPS, type Hop, type HopName, type Why } from './types.ts';

/** From all that was seen to the answer. Pure. */
export function answer(seen: Seen): Why {
  const hops = settle(hopsOf(seen), seen);
  const { to, from, port } = seen.question;
  return {
    to: formatAddr(to),
    from: from ? formatAddr(from) : null,
    port: port ? `${port.proto}:${port.port}` : null,
    whole: hops.every((h) => h.state !== 'broken'),
    conclusion: concludeFrom(hops, seen),
    hops,
  };
}

/** Each stage judged by itself, in the order of {@link HOPS}. */
function hopsOf(seen: Seen): readonly Hop[] {
  const hops: Hop[] = [leaseHop(seen)];
  const { place, source, pod } = seen;
  if (source) hops.push(podHop(seen, 'source', source), forwardingHop(seen));
  const expected = knownExpected(seen);
  if (place.kind === 'peer') {
    hops.push(peerHop(seen));
    if (expected?.link) hops.push(tunnelHop(seen, expected));
    if (expected?.route) hops.push(routeHop(seen, expected));
    if (expected?.neigh) hops.push(neighbourHop(seen, expected));
    if (expected?.fdb) hops.push(fdbHop(seen, expected));
    if (expected?.backend === 'udp') hops.push(forwarderHop(seen));
    if (expected?.endpoint) hops.push(underlayHop(seen, expected));
    if (expected?.outer) hops.push(tunnelPortHop(seen, expected));
  } else {
    const { way } = seen;
    const found = 'route' in way ? way.route.text : way.refused;
    // Whether that is right for a pod of this host, the hop of the pod says.
    const make = place.kind === 'own' && 'route' in way ? ok : unknown;
    hops.push(make('route', { found, why: 'what the kernel does with such a packet' }));
    if (pod) hops.push(podHop(seen, 'pod', pod));
  }
  hops.push(rulesHop(seen), firewallHop(seen), translationHop(seen));
  const isSent = place.kind === 'peer' || place.kind === 'unknown';
  if (isSent) hops.push(pathHop(seen));
  const order = Object.keys(HOPS);
  hops.sort((a, b) => order.indexOf(a.hop) - order.indexOf(b.hop));
  if (isSent) hops.push(remoteHop(seen, hops));
  if (seen.connected !== undefined) hops.push(serviceHop(seen));
  return hops;
}

/** What is bound to be wrong when another hop is; `all`: anything before it. */
const FOLLOWS: Readonly<Partial<Record<HopName, readonly HopName[] | 'all'>>> = {
  route: ['source', 'peer', 'forwarding', 'tunnel'],
  neighbour: ['peer', 'tunnel'],
  fdb: ['peer', 'tunnel'],
  forwarder: ['peer'],
  underlay: ['peer'],
  'tunnel port': ['peer'],
  path: 'all',
  remote: 'all',
  service: 'all',
};

/** What packets that were really sent tell, which is of all hops together. */
const SENT: ReadonlySet<HopName> = new Set(['path', 'remote', 'service']);

/** A hop that is broken only because another is says so, and is a warning: one cause remains. */
function settle(hops: readonly Hop[], seen: Seen): readonly Hop[] {
  const expected = knownExpected(seen);
  // Without a tunnel our route stands on the uplink itself, and goes when that goes down.
  const direct = expected?.route !== undefined && expected.route.dev === expected.uplink;
  const bad = new Set(hops.filter((h) => h.state === 'broken').map((h) => h.hop));
  return hops.map((h) => {
    if (h.state !== 'broken') return h;
    const rule = FOLLOWS[h.hop];
    const others = [...bad].filter((b) => (h.hop === 'service' ? b !== h.hop : !SENT.has(b)));
    const causes = rule === 'all' ? others : (rule ?? []);
    const all = direct && h.hop === 'route' ? [...causes, 'underlay' as const] : causes;
    const of = all.find((c) => bad.has(c));
    if (of === undefined) return h;
    return {
      ...h,
      state: 'warning' as const,
      found: `${h.found} (follows from: ${of})`,
      cause: null,
      fix: null,
    };
  });
}

function concludeFrom(hops: readonly Hop[], { question, place }: Seen): string {
  const to = formatAddr(question.to);
  const first = hops.find((h) => h.state === 'broken');
  if (first && place.kind === 'outside')
    return `${to} is not an address of the overlay: ${first.cause}; ${first.fix}.`;
  const warned = hops.filter((h) => h.state === 'warning' && h.cause !== null);
  const notes = warned.map((h) => `${h.cause}; ${h.fix}`).join('. Also: ');
  // A port that is refused, large packets that are lost, rules that only catch new connections.
  if (first && hops.some((h) => h.hop === 'remote' && h.state === 'ok'))
    return `${to} is reached, but ${first.cause}; ${first.fix}.`;
  if (first) {
    // Where all that is left is the other end, what is doubtful here comes first.
    const doubts = first.hop === 'remote' && notes ? ` Look at this first: ${notes}.` : '';
    return `${to} does not answer because ${first.cause}; ${first.fix}.${doubts}`;
  }
  const answered = hops.some(
    (h) => (h.hop === 'remote' || h.hop === 'path' || h.hop === 'pod') && h.state === 'ok',
  );
  const whole = answered
    ? `The path to ${to} is whole: it answers`
    : place.kind === 'own'
      ? `The path to ${to}, a pod of this host, is whole`
      : `Nothing that is wrong was found on the way to ${to}`;
  const unsure = hops.filter((h) => h.state === 'unknown').map((h) => h.hop);
  const limits = !answered && unsure.length > 0 ? `; not known: ${unsure.join(', ')}` : '';
  return `${whole}${limits}.${notes ? ` But ${notes}.` : ''}`;
}
