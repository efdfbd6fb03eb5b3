import type { StatusJson } from '../api/shapes.ts';
import type { CniStatus } from '../cni/status.ts';
import { VERSION } from '../contract.ts';
import type { ForwarderJson } from '../forwarder/stats.ts';
import type { ReconcilerStatus } from '../kernel/status.ts';
import { formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import { leaseJson } from '../subnet/json.ts';
import type { Daemon } from './daemon.ts';
import { waitingFor } from './readiness.ts';

/** What of the status does not come from the daemon itself. */
export interface StatusContext {
  readonly node: () => string;
  readonly instance: string;
  readonly startedAt: Date;
  readonly subnetFile: string;
  /** Peers by how they answer. */
  readonly paths: () => StatusJson['paths'];
  readonly kernel: () => ReconcilerStatus;
  readonly cni: () => CniStatus;
  /** Everything an operator should look at. */
  readonly problems: () => readonly string[];
  /** Null: nothing is forwarded here. */
  readonly forwarder: () => ForwarderJson | null;
  /** Messages sent to rtnetlink to change something, since the start. */
  readonly netlinkMessages: () => number;
  /** The store's clock, milliseconds: what lease expiry is told in. */
  readonly clock: () => number;
}

/** `GET /v1/status`; docs/contracts.md explains the shape. */
export function statusJson(daemon: Daemon, context: StatusContext): StatusJson {
  const situation = daemon.situation();
  const { network, host, leaseState, held } = daemon;
  const kernel = context.kernel();
  const store = situation.store;
  const public4 = host?.publicAddrs.get(4);
  const public6 = host?.publicAddrs.get(6);
  const families = network ? [...network.network.families.keys()] : [];
  const networkOf = (family: 4 | 6) => {
    const range = network?.network.families.get(family);
    return range ? formatPrefix(range.network) : null;
  };
  const expiresAt = leaseState?.state === 'held' ? leaseState.expiresAt : undefined;
  return {
    version: VERSION,
    node: context.node(),
    instance: context.instance,
    pid: process.pid,
    startedAt: context.startedAt.toISOString(),
    ready: daemon.ready,
    reason: waitingFor(situation) ?? null,
    lease: {
      state: leaseState?.state ?? 'waiting',
      lease: held ? leaseJson(held, true) : null,
      secondsLeft: expiresAt === undefined ? null : Math.floor((expiresAt - context.clock()) / 1000),
      reason: leaseState && leaseState.state !== 'held' ? leaseState.reason : null,
    },
    network: network ? { IPv4: networkOf(4), IPv6: networkOf(6), backend: network.backend.type } : null,
    uplink: host
      ? {
          name: host.uplink.name,
          mtu: host.uplink.mtu,
          addrs: host.uplink.addrs.map(formatPrefix),
          publicIP: public4 ? formatAddr(public4) : null,
          publicIPv6: public6 ? formatAddr(public6) : null,
        }
      : null,
    mtu: network && host ? network.backend.mtu(network.config, families, host) : null,
    subnetFile: context.subnetFile,
    peers: daemon.peers,
    paths: context.paths(),
    setAside: store?.setAside ?? 0,
    kernel: {
      revision: kernel.applied === undefined ? null : String(kernel.applied),
      objects: kernel.objects,
      failing: kernel.failing,
      conflicts: kernel.conflicts,
      repairs: { ...kernel.repairs, ...situation.firewall?.repairs },
      messages: context.netlinkMessages(),
    },
    forwarder: context.forwarder(),
    cni: context.cni(),
    store: {
      connected: store?.connected ?? false,
      revision: store?.revision == null ? null : String(store.revision),
      requests: store?.requests ?? 0,
      error: store?.error ?? null,
    },
    problems: context.problems(),
  };
}
