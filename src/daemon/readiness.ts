import type { FirewallStatus } from '../kernel/firewall.ts';
import type { StoreStatus } from '../subnet/api.ts';
import type { LeaseState } from '../subnet/types.ts';

/** What readiness is judged by. */
export interface Situation {
  /** The kernel has been listed once. */
  readonly kernelSeen: boolean;
  readonly store: StoreStatus | undefined;
  /** Why no network config is in force, or none newer. */
  readonly network: { readonly inForce: boolean; readonly problem: string | undefined };
  /** Why the uplink or the backend cannot be used, undefined when it can. */
  readonly host: string | undefined;
  readonly lease: LeaseState | undefined;
  /** The first whole view is in the kernel. */
  readonly applied: boolean;
  /** The kernel's own words for the first objects that fail. */
  readonly failing: readonly string[];
  /** What keeps the forwarder of the backend from its work; undefined when it has none. */
  readonly forwarder: readonly string[] | undefined;
  readonly firewall: FirewallStatus | undefined;
  readonly subnetFile: { readonly written: boolean; readonly error: string | undefined };
}

/** The first thing that keeps the daemon from being ready, in words; undefined when nothing does. */
export function waitingFor(s: Situation): string | undefined {
  if (!s.kernelSeen) return 'reading the kernel';
  if (s.store?.error && !s.network.inForce) return s.store.error;
  if (!s.network.inForce) return s.network.problem ?? 'waiting for the network config';
  if (s.host !== undefined) return s.host;
  if (!s.lease || s.lease.state === 'waiting') {
    return s.store?.error ?? (s.lease?.state === 'waiting' ? s.lease.reason : 'waiting for a subnet lease');
  }
  if (s.failing.length > 0) return `the kernel refuses: ${s.failing.join('; ')}`;
  if (!s.applied) return 'programming the kernel';
  if (s.forwarder?.[0] !== undefined) return s.forwarder[0];
  if (s.firewall && !s.firewall.inSync) return `the firewall: ${s.firewall.error ?? 'being set up'}`;
  if (s.subnetFile.error) return s.subnetFile.error;
  if (!s.subnetFile.written) return 'writing the subnet file';
  return undefined;
}

/** Everything an operator should look at, whether or not the daemon is ready. */
export function problems(s: Situation, peers: readonly string[], conflicts: readonly string[]): string[] {
  const found: (string | undefined)[] = [
    s.store?.error ?? undefined,
    s.network.problem,
    s.host,
    s.lease?.state === 'fenced' ? s.lease.reason : undefined,
    ...s.failing,
    ...(s.forwarder ?? []),
    s.firewall?.error ?? undefined,
    ...(s.firewall?.problems ?? []),
    s.subnetFile.error,
    ...conflicts,
    ...peers,
  ];
  return [...new Set(found.filter((p): p is string => p !== undefined))];
}
