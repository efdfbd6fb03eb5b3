import type { Family } from '../../net/addr.ts';
import type { Hook, Packet, Tri } from './packet.ts';

/** Rules of nftables and iptables in one form: what {@link ./judge.ts} goes through. */

/** Where a rule stands and what it says. */
export interface RuleRef {
  /** `table inet filter, chain forward`, or `iptables-legacy, table filter, chain FORWARD`. */
  readonly where: string;
  /** In the words of the tool that lists it; of a policy `policy drop`. */
  readonly text: string;
}

export type Verdict =
  | { readonly to: 'accept' | 'drop' | 'reject' | 'return' | 'next' }
  /** Somebody in user space decides, or something this evaluator does not know. */
  | { readonly to: 'unknown' }
  | { readonly to: 'jump' | 'goto'; readonly chain: string };

/** What of a packet something may have changed to something unknown. */
export type Blurred = 'mark' | 'ct' | 'packet';

export type Step =
  | { readonly kind: 'test'; readonly test: (p: Packet) => Tri }
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
  /** A verdict map; 'none': nothing in it fits; undefined: any of `all`, or nothing. */
  | {
      readonly kind: 'map';
      readonly pick: (p: Packet) => Verdict | 'none' | undefined;
      readonly all: readonly Verdict[];
    }
  | { readonly kind: 'mark'; readonly value: (p: Packet) => number | undefined }
  | { readonly kind: 'blur'; readonly what: Blurred }
  /** An address is translated: ends the chain. */
  | { readonly kind: 'nat'; readonly nat: NatKind };

export type NatKind = 'masquerade' | 'snat' | 'dnat' | 'redirect' | 'netmap';

export interface Rule {
  readonly ref: RuleRef;
  readonly steps: readonly Step[];
}

/** The chains of one table, by name. */
export type Chains = ReadonlyMap<string, readonly Rule[]>;

/** A chain that hangs on a hook. */
export interface BaseChain {
  readonly where: string;
  /** Whose packets it sees. */
  readonly families: readonly Family[];
  readonly hook: Hook;
  /** Low ones first. */
  readonly priority: number;
  /** Chains of type nat see only the first packet of a connection. */
  readonly nat: boolean;
  /** At `output`: a packet whose mark it changes is routed anew (type route; iptables' mangle). */
  readonly reroutes: boolean;
  readonly policy: 'accept' | 'drop';
  readonly rules: readonly Rule[];
  /** Of its table, for jumps. */
  readonly chains: Chains;
}

/** All rules of a host, as far as they could be read. */
export interface Firewall {
  readonly bases: readonly BaseChain[];
  /** What could not be read, and why: verdicts hold only without it. */
  readonly gaps: readonly string[];
}
