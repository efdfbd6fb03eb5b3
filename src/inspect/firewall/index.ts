/** What the rules of this host's firewalls do with a packet, without sending one. */
export { type Judgment, judge } from './judge.ts';
export { all, any, type CtState, type Hook, not, type Packet, type Tri } from './packet.ts';
export { readFirewall } from './read.ts';
export type { BaseChain, Firewall, NatKind, Rule, RuleRef } from './rules.ts';
