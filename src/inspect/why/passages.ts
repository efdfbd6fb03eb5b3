import type { Addr } from '../../net/addr.ts';
import { type Hook, type Judgment, judge, type Packet } from '../firewall/index.ts';
import type { Expected } from './expect.ts';
import type { Seen } from './seen.ts';

/** Which hooks of this host packets go through, and what becomes of them there. Pure. */

/** One hook that a packet goes through, and what becomes of it there. */
export interface Passage {
  /** Which packet: `the packet`, `its answer`, … */
  readonly what: string;
  readonly hook: Hook;
  readonly judgment: Judgment;
}

/** What it takes to tell the way of the packet itself. */
export type Inner = Pick<Seen, 'firewall' | 'packet' | 'way'>;

/** Go through hooks one after the other, for as long as nothing stops the packet. */
function passages(
  { firewall }: Pick<Seen, 'firewall'>,
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
    const judgment = judge(firewall, hook, { ...now, iif, oif });
    out.push({ what, hook, judgment });
    if (judgment.verdict === 'drop' || judgment.verdict === 'reject') break;
    now = judgment.packet;
  }
  return out;
}

/** Out of this host, through it, or to it. */
export function outward(seen: Inner): Passage[] {
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
export function inward(seen: Inner): Passage[] {
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

/** The mark an outer packet begins with: that of the inner one, which it wraps; udp's forwarder sends packets of its own. Undefined: it cannot be told. */
export const firstMark = (seen: Inner, { backend, outer }: Expected): number | undefined =>
  backend === 'udp' || !outer ? 0 : outward(seen).at(-1)?.judgment.packet.mark;

/** Outer packets on their way out, from `src` by `oif`, as the first chain sees them. */
export function outerPacket(
  { backend, outer }: Expected,
  src: Addr | undefined,
  mark: number | undefined,
): Packet {
  const { endpoint, port } = outer!;
  // A flow of its own for each inner one: sent and received datagrams are connections of their own, but for udp's one pair of ports.
  const udp = backend === 'udp';
  return {
    family: endpoint.family,
    saddr: src,
    daddr: endpoint,
    proto: 17,
    ...(udp ? { sport: port } : {}),
    dport: port,
    ctState: udp ? undefined : 'new',
    mark,
    saddrType: 'local',
    daddrType: 'unicast',
  };
}

/** Outer packets both ways: to the peer's port, and from the peer to ours. */
export function outerPassages(
  seen: Seen,
  expected: Expected,
): { readonly out: Passage[]; readonly into: Passage[] } {
  const { endpoint } = expected.outer!;
  const way = seen.underlay?.way;
  const oif = way && 'route' in way ? way.route.dev : expected.uplink;
  const local = seen.addresses.find((a) => a.dev === oif && a.addr.addr.family === endpoint.family)?.addr
    .addr;
  const src = (way && 'route' in way ? way.route.src : undefined) ?? local;
  const out = outerPacket(expected, src, firstMark(seen, expected));
  const into: Packet = {
    ...out,
    mark: 0,
    saddr: endpoint,
    daddr: src,
    saddrType: 'unicast',
    daddrType: 'local',
  };
  return {
    out: passages(seen, "the tunnel's outgoing packets", out, [
      { hook: 'output', iif: '', oif },
      // Some kernels take the tunnel's device for where it came in.
      { hook: 'postrouting', iif: undefined, oif },
    ]),
    into: passages(seen, "the tunnel's incoming packets", into, [
      { hook: 'prerouting', iif: oif, oif: '' },
      { hook: 'input', iif: oif, oif: '' },
    ]),
  };
}
