import type { Addr } from '../../net/addr.ts';

/** What is asked: the way of a packet from this host, or from a pod on it, to an address. */
export interface Question {
  readonly to: Addr;
  /** A pod's address on this host; undefined: this host itself. */
  readonly from: Addr | undefined;
  /** What the firewall is asked about, and tried; undefined: an ICMP echo. */
  readonly port: { readonly proto: 'tcp' | 'udp'; readonly port: number } | undefined;
}

export type HopState = 'ok' | 'broken' | 'warning' | 'unknown';

/**
 * Every stage there is, in the order in which a packet meets them, with what it is about. Which of them a path has depends on the backend
 * and on where the address is. docs/why.md has the same list, held to this one by a test.
 */
export const HOPS = {
  lease: 'whose the address is: the lease that covers it',
  source: 'the pod it comes from: its address, its link to the bridge',
  peer: 'whether the node that holds the lease can be served',
  forwarding: 'the settings by which this host lets packets through',
  rules: 'policy routing: rules that ask another table than the main one',
  tunnel: 'the tunnel device: up, its address, the MAC we advertise',
  route: "the kernel's own answer, and the route that should be there",
  neighbour: "the MAC of the peer's end of the tunnel",
  fdb: "the peer's address, by that MAC",
  forwarder: 'the process that carries packets (udp)',
  pod: 'the pod on this host: its address, its link to the bridge',
  firewall: 'the rules that the packet and its answer pass on this host',
  translation: 'rules that would change its addresses',
  underlay: "the way to the peer's public address: route, uplink, gateway",
  'tunnel port': 'the rules that outer packets pass, out and in',
  path: 'what packets that are really sent find: time, loss, size',
  remote: 'the other end, as far as it can be told from here',
  service: 'the TCP port asked about, on the other end',
} as const;

export type HopName = keyof typeof HOPS;

/** One stage, judged. */
export interface Hop {
  readonly hop: HopName;
  readonly state: HopState;
  /** What there is, in the words of the kernel or of whoever said it. */
  readonly found: string;
  /** What should be there; null: nothing in particular. */
  readonly expected: string | null;
  /** What happens to packets because of it. */
  readonly why: string;
  /** Completes "…does not answer because"; null unless something is wrong. */
  readonly cause: string | null;
  readonly fix: string | null;
}

/** The answer to a {@link Question}. */
export interface Why {
  readonly to: string;
  readonly from: string | null;
  readonly port: string | null;
  /** No hop is broken. */
  readonly whole: boolean;
  readonly conclusion: string;
  readonly hops: readonly Hop[];
}
