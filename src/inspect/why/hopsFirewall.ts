import { NFT_TABLE } from '../../contract.ts';
import { formatAddr } from '../../net/addr.ts';
import { type Hook, type Judgment, judge, type Packet, type RuleRef } from '../firewall/index.ts';
import { knownValue } from '../world.ts';
import type { Expected } from './expect.ts';
import { broken, ok, unknown, warning } from './hop.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about the rules of firewalls on this host. Pure. */

/** One hook that a packet goes through, and what becomes of it there. */
interface Passage {
  /** Which packet: `out`, `the answer`, … */
  readonly what: string;
  readonly hook: Hook;
  readonly judgment: Judgment;
}

/** Go through hooks one after the other, for as long as nothing stops the packet. */
function passages(
  seen: Seen,
  what: string,
  packet: Packet,
  hooks: readonly {
    readonly hook: Hook;
    readonly iif: string | undefined;
    readonly oif: string | undefined;
  }[],
): Passage[] {
  const out: Passage[] = [];
  let now = packet;
  for (const { hook, iif, oif } of hooks) {
    const judgment = judge(seen.firewall, hook, { ...now, iif, oif });
    out.push({ what, hook, judgment });
    if (judgment.verdict === 'drop' || judgment.verdict === 'reject') break;
    now = judgment.packet;
  }
  return out;
}

const show = (ref: RuleRef | undefined): string => (ref ? `${ref.where}: ${ref.text}` : 'some rule');

/** Out of this host, through it, or to it. */
function outward(seen: Seen): Passage[] {
  const { packet, way } = seen;
  const oif = packet.oif;
  const local = 'route' in way && way.route.type === 'local';
  const iif = packet.iif;
  if (iif === '') {
    return passages(seen, 'the packet', packet, [
      { hook: 'output', iif: '', oif },
      { hook: 'postrouting', iif: '', oif },
    ]);
  }
  return passages(seen, 'the packet', packet, [
    { hook: 'prerouting', iif, oif: '' },
    ...(local
      ? [{ hook: 'input', iif, oif: '' } as const]
      : ([
          { hook: 'forward', iif, oif },
          // Linux tells a forwarded packet's device there too, since 5.7.
          { hook: 'postrouting', iif, oif },
        ] as const)),
  ]);
}

/** The answer on its way back. Conntrack knows the connection by then. */
function inward(seen: Seen): Passage[] {
  const { packet } = seen;
  const answer: Packet = {
    family: packet.family,
    saddr: packet.daddr,
    daddr: packet.saddr,
    proto: packet.proto,
    ...(packet.dport === undefined ? {} : { sport: packet.dport }),
    ...(packet.icmpType === undefined ? {} : { icmpType: packet.family === 4 ? 0 : 129 }),
    ctState: 'established',
    mark: 0,
    saddrType: packet.daddrType,
    daddrType: packet.iif === '' ? 'local' : 'unicast',
  };
  const iif = packet.oif;
  return passages(seen, 'its answer', answer, [
    { hook: 'prerouting', iif, oif: '' },
    packet.iif === '' ? { hook: 'input', iif, oif: '' } : { hook: 'forward', iif, oif: packet.iif },
  ]);
}

const FIREWALL = 'each rule of nftables and iptables on the way can drop the packet or its answer';

/** The packet and its answer through this host's hooks. */
export function firewallHop(seen: Seen): Hop {
  return judged(seen, 'firewall', [...outward(seen), ...inward(seen)], FIREWALL);
}

function judged(
  seen: Seen,
  hop: 'firewall' | 'tunnel port',
  list: readonly Passage[],
  why: string,
  hint = '',
): Hop {
  const stopped = list.find((p) => p.judgment.verdict === 'drop' || p.judgment.verdict === 'reject');
  const hooks = [...new Set(list.map((p) => p.hook))].join(', ');
  if (stopped) {
    const { what, hook, judgment } = stopped;
    const verb = judgment.verdict === 'reject' ? 'rejects' : 'drops';
    return broken(hop, {
      found: `${hook}: ${show(judgment.by)}`,
      expected: `accepted at ${hooks}`,
      why,
      cause: `a firewall rule on this host ${verb} ${what} at the ${hook} hook: ${show(judgment.by)}`,
      fix: `allow it in that chain, before that rule${hint}`,
    });
  }
  const { gaps } = seen.firewall;
  if (gaps.length > 0) {
    return unknown(hop, { found: `not all rules could be read: ${gaps.slice(0, 2).join('; ')}`, why });
  }
  const doubts = list.flatMap((p) => p.judgment.doubts.map((d) => `${p.hook}: ${show(d)}`));
  if (doubts.length > 0) {
    return unknown(hop, {
      found: `it depends on what cannot be told here: ${doubts.slice(0, 2).join('; ')}`,
      expected: `accepted at ${hooks}`,
      why,
    });
  }
  return ok(hop, { found: `accepted at ${hooks}`, why });
}

const TRANSLATION = 'inside the overlay pods should see each other’s own addresses';

/** Would the packet leave with other addresses? */
export function translationHop(seen: Seen): Hop {
  const found = outward(seen).find((p) => p.judgment.nat !== undefined);
  if (!found) return ok('translation', { found: 'none', why: TRANSLATION });
  const { nat } = found.judgment;
  const by = show(nat!.by);
  const what = nat!.kind === 'dnat' || nat!.kind === 'redirect' ? 'destination' : 'source';
  const rest = { found: `${found.hook}: ${by}`, expected: 'no translation', why: TRANSLATION };
  const fix = nat!.by.where.includes(` ${NFT_TABLE},`)
    ? 'this is loden’s own rule, which should not match here: report it'
    : 'exempt the overlay’s network in that chain, before that rule';
  const cause = `a rule changes its ${what} address (${nat!.kind}): ${by}`;
  // A host's own packets have the tunnel's address anyhow.
  if (!nat!.sure || (seen.packet.iif === '' && what === 'source'))
    return nat!.sure
      ? warning('translation', { ...rest, cause, fix })
      : unknown('translation', { ...rest, found: `perhaps, ${rest.found}` });
  return broken('translation', { ...rest, cause, fix });
}

const PORT = 'outer packets are UDP, and pass the host’s own input and output rules';

/** Outer packets: out to the peer's port, and in from the peer to ours. */
export function tunnelPortHop(seen: Seen, expected: Expected): Hop {
  const { endpoint, port } = expected.outer!;
  const way = seen.underlay?.way;
  const oif = way && 'route' in way ? way.route.dev : expected.uplink;
  const local = seen.addresses.find((a) => a.dev === oif && a.addr.addr.family === endpoint.family)?.addr
    .addr;
  const src = (way && 'route' in way ? way.route.src : undefined) ?? local;
  // A flow of its own for each inner one: sent and received datagrams are connections of their own, but for udp's one pair of ports.
  const udp = expected.backend === 'udp';
  const out: Packet = {
    family: endpoint.family,
    saddr: src,
    daddr: endpoint,
    proto: 17,
    ...(udp ? { sport: port } : {}),
    dport: port,
    ctState: udp ? undefined : 'new',
    // An encapsulated packet keeps its mark; udp's forwarder sends packets of its own.
    mark: udp ? 0 : outward(seen).at(-1)?.judgment.packet.mark,
    saddrType: 'local',
    daddrType: 'unicast',
  };
  const into: Packet = {
    ...out,
    mark: 0,
    saddr: endpoint,
    daddr: src,
    saddrType: 'unicast',
    daddrType: 'local',
  };
  const list = [
    ...passages(seen, 'the tunnel’s outgoing packets', out, [
      { hook: 'output', iif: '', oif },
      // Some kernels take the tunnel's device for where it came in.
      { hook: 'postrouting', iif: undefined, oif },
    ]),
    ...passages(seen, 'the tunnel’s incoming packets', into, [
      { hook: 'prerouting', iif: oif, oif: '' },
      { hook: 'input', iif: oif, oif: '' },
    ]),
  ];
  const hop = judged(seen, 'tunnel port', list, PORT, ` (UDP port ${port}, ${formatAddr(endpoint)})`);
  const status = knownValue(seen.world.status);
  return hop.state === 'ok'
    ? { ...hop, found: `UDP port ${port}: ${hop.found}${status?.uplink ? ` on ${status.uplink.name}` : ''}` }
    : hop;
}
