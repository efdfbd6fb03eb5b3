import type { Desired, HostFacts, PeerProblem } from '../backends/backend.ts';
import { blackholes } from '../backends/blackhole.ts';
import type { RunOptions } from '../config/run.ts';
import { ConfigError } from '../errors.ts';
import type { FirewallDesired, Masquerade } from '../kernel/firewall.ts';
import type { KernelObject } from '../kernel/types.ts';
import type { Family } from '../net/addr.ts';
import type { Prefix } from '../net/prefix.ts';
import type { Identity } from '../subnet/api.ts';
import type { Lease, LeaseRequest, LeaseSnapshot, LeaseView, SubnetKey } from '../subnet/types.ts';
import { subnetOf } from '../subnet/types.ts';
import { isUnclaimed } from '../subnet/unclaimed.ts';
import type { NetworkInForce } from './networkSource.ts';
import { type Adjustments, adjusted } from './reactions/adjust.ts';

/**
 * What follows from what is known, as pure functions: the lease we want, the view backends get, the firewall,
 * subnet.env. The daemon feeds them and carries the results out.
 */

/** The lease that says what peers must know of this host. */
export function leaseRequest(
  inForce: NetworkInForce,
  host: HostFacts,
  identity: Identity,
  options: Pick<RunOptions, 'leaseTtl'>,
  previous: readonly Prefix[],
): LeaseRequest {
  const { network, backend, config } = inForce;
  const families = [...network.families.keys()];
  const { type, data } = backend.advertise(config, families, host);
  const endpoints = new Map([...host.publicAddrs].filter(([family]) => network.families.has(family)));
  return {
    network,
    attrs: {
      endpoints,
      data,
      node: identity.node,
      instance: identity.instance,
      ...(type === undefined ? {} : { backend: type }),
    },
    previous,
    ttl: options.leaseTtl,
  };
}

/** Is a lease somebody else's? */
export const isPeer = (lease: Lease, self: Lease): boolean =>
  lease.key !== self.key && (lease.node === undefined || lease.node !== self.node);

/**
 * The view of the leases as backends see it: our own lease as we hold it, everybody else's as it is served. A further
 * lease with our node id (one that is about to be deleted after a move) is nobody's peer, and so is a reservation that no node has taken up.
 */
export function leaseView(
  inForce: NetworkInForce,
  self: Lease,
  snapshot: Pick<LeaseSnapshot, 'revision' | 'leases'>,
): LeaseView {
  const peers = new Map<SubnetKey, Lease>();
  for (const [key, lease] of snapshot.leases) {
    if (isPeer(lease, self) && !isUnclaimed(lease, inForce.network)) peers.set(key, lease);
  }
  return { revision: snapshot.revision, network: inForce.network, self, peers };
}

function* withoutProblems(all: Desired, problems: PeerProblem[]): Generator<KernelObject> {
  for (const wanted of all) {
    if (wanted.kind === 'problem') problems.push(wanted.problem);
    else yield wanted;
  }
}

/**
 * The kernel objects of a view, as what was found out about its paths changes them, lazily; problems with peers go into
 * `problems` on the way.
 */
export function* kernelObjects(
  inForce: NetworkInForce,
  view: LeaseView,
  host: HostFacts,
  options: Pick<RunOptions, 'blackholeRoute'>,
  adjustments: Adjustments,
  problems: PeerProblem[],
): Generator<KernelObject> {
  const { backend, config } = inForce;
  const objects = withoutProblems(backend.desired(config, view, host), problems);
  yield* adjusted(objects, adjustments, view, backend.ownRoute);
  if (options.blackholeRoute) yield* blackholes(view.self);
}

/** Masquerade and forward rules for the lease we hold. */
export function firewallRules(
  inForce: NetworkInForce,
  self: Lease,
  options: Pick<RunOptions, 'ipMasq' | 'fullyRandom' | 'forwardRules'>,
): FirewallDesired {
  const masquerade = new Map<Family, Masquerade>();
  const forward = new Map<Family, Prefix>();
  for (const [family, { network }] of inForce.network.families) {
    const subnet = subnetOf(self, family);
    if (options.ipMasq && subnet)
      masquerade.set(family, { network, subnet, fullyRandom: options.fullyRandom });
    if (options.forwardRules) forward.set(family, network);
  }
  return { masquerade, forward };
}

/** Throws ConfigError when this backend cannot run here for a reason that only another configuration can change. */
export function refuseIfHopeless(inForce: NetworkInForce, host: HostFacts): void {
  const hopeless = checkHost(inForce, host).filter((p) => p.path !== '--iface');
  if (hopeless.length > 0) {
    throw new ConfigError(`the ${inForce.backend.type} backend cannot run on this host`, hopeless);
  }
}

/** What keeps the backend from running on this host as it is now. */
export const checkHost = ({ backend, config, network }: NetworkInForce, host: HostFacts) =>
  backend.check(config, [...network.families.keys()], host, network);
