import type { HostFacts } from '../backends/backend.ts';
import type { NodeState } from '../cni/types.ts';
import { type Lease, type LeaseState, subnetOf } from '../subnet/types.ts';
import type { NetworkInForce } from './networkSource.ts';

/** What tells whether pods can have addresses. */
export interface NodeFacts {
  readonly network: NetworkInForce | undefined;
  readonly host: HostFacts | undefined;
  readonly lease: LeaseState | undefined;
  readonly held: Lease | undefined;
  readonly ipMasq: boolean;
  /** What the daemon waits for, in words. */
  readonly waitingFor: () => string | undefined;
}

/**
 * The node's part of the overlay for pods. A lease that is held is enough: neither etcd nor peers are needed to attach a pod.
 * A lease that has run out is not: the subnet may be another node's by now.
 */
export function nodeState(facts: NodeFacts): NodeState {
  const { network, host, lease, held } = facts;
  if (lease?.state === 'fenced')
    return { ready: false, reason: `the subnet lease has run out and cannot be renewed: ${lease.reason}` };
  if (!network || !host || lease?.state !== 'held' || !held)
    return { ready: false, reason: `this node has no subnet yet: ${facts.waitingFor() ?? 'starting'}` };
  const families = [...network.network.families];
  return {
    ready: true,
    network: {
      subnets: families.flatMap(([family, range]) => {
        const subnet = subnetOf(held, family);
        return subnet ? [{ subnet, network: range.network }] : [];
      }),
      mtu: network.backend.mtu(
        network.config,
        families.map(([family]) => family),
        host,
      ),
      ipMasq: facts.ipMasq,
    },
  };
}
