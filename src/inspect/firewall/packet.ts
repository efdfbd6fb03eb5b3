import type { Addr, Family } from '../../net/addr.ts';

/** The hooks of netfilter that packets of the IP families go through. */
export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

/** What conntrack thinks of a packet (one bit of `ct state`). */
export type CtState = 'new' | 'established' | 'related' | 'invalid' | 'untracked';

/** What the routing table says of an address (fib … type, -m addrtype). */
export type AddrType = 'local' | 'unicast' | 'broadcast' | 'anycast' | 'multicast';

/**
 * A packet as a rule may look at it. What is undefined is not known, and a rule that asks for it cannot be judged. It is
 * taken to be whole: no fragment, no options, no extension headers.
 */
export interface Packet {
  readonly family: Family;
  /** Where it came in; `''`: it is sent by this host. */
  readonly iif?: string | undefined;
  /** Where it leaves; `''`: it is for this host, or not yet routed. */
  readonly oif?: string | undefined;
  readonly saddr?: Addr | undefined;
  readonly daddr?: Addr | undefined;
  /** IP protocol: 1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6. */
  readonly proto?: number | undefined;
  readonly sport?: number | undefined;
  readonly dport?: number | undefined;
  /** Of ICMP and ICMPv6. */
  readonly icmpType?: number | undefined;
  readonly ctState?: CtState | undefined;
  /** 0 unless something has set it. */
  readonly mark?: number | undefined;
  /** Bytes, with the IP header. */
  readonly length?: number | undefined;
  readonly saddrType?: AddrType | undefined;
  readonly daddrType?: AddrType | undefined;
}

/** Yes, no, or not to be told. */
export type Tri = boolean | undefined;

export const not = (t: Tri): Tri => (t === undefined ? undefined : !t);

/** Yes if all are; no as soon as one is not. */
export function all(list: Iterable<Tri>): Tri {
  let sure: Tri = true;
  for (const t of list) {
    if (t === false) return false;
    if (t === undefined) sure = undefined;
  }
  return sure;
}

/** Yes as soon as one is; no if none is. */
export function any(list: Iterable<Tri>): Tri {
  let sure: Tri = false;
  for (const t of list) {
    if (t) return true;
    if (t === undefined) sure = undefined;
  }
  return sure;
}
