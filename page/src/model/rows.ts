import type { LeaseJson, PathHealth, PathJson, TrafficJson } from '../../../src/api/shapes.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import type { Life } from './lifetimes.ts';

/** A peer as the page keeps it: what the daemon told, and rates that follow from two answers. */
export interface PeerView {
  readonly key: string;
  readonly backend: string;
  readonly problem: string | null;
  readonly paths: readonly PathJson[];
  readonly traffic: TrafficJson | null;
  /** Bytes a second; null: not known yet. */
  readonly inRate: number | null;
  readonly outRate: number | null;
}

/** What a subnet is to us; the order is that of the legend. */
export type SlotState = 'free' | 'leased' | 'reserved' | 'silent' | 'expiring' | 'ours';

/** One line of the table of leases. */
export interface LeaseRow {
  readonly key: string;
  readonly subnets: readonly string[];
  readonly address: string;
  readonly backend: string;
  readonly state: SlotState;
  /** The state, or why the peer is not served, in words. */
  readonly words: string;
  readonly health: PathHealth | null;
  readonly rtt: number | null;
  /** Part of the last probes that was lost, 0…1. */
  readonly loss: number | null;
  readonly mtu: number | null;
  readonly inRate: number | null;
  readonly outRate: number | null;
  /** Date.now() at which the lease ends unless it is renewed; null: not known, or never. */
  readonly endsAt: number | null;
  /** Is something wrong with it, so that it is not served? */
  readonly isTrouble: boolean;
  readonly lease: LeaseJson;
  readonly peer: PeerView | undefined;
  /** Sorts by subnet. */
  readonly order: string;
  /** All that a filter looks at, in lower case. */
  readonly text: string;
}

const WORST: readonly PathHealth[] = ['reachable', 'unprobed', 'lossy', 'unreachable'];

/** The worst health of some paths; null: there are none. */
export const worstHealth = (paths: readonly Pick<PathJson, 'health'>[]): PathHealth | null =>
  paths.reduce<PathHealth | null>(
    (worst, p) => (worst === null || WORST.indexOf(p.health) > WORST.indexOf(worst) ? p.health : worst),
    null,
  );

/** Text that sorts as the prefix does. */
export function orderOf(subnet: string): string {
  const p = parsePrefix(subnet);
  if (!p) return `9${subnet}`;
  return `${p.addr.family}${p.addr.value.toString(16).padStart(32, '0')}/${String(p.len).padStart(3, '0')}`;
}

export interface OwnLife {
  /** Of our own lease. */
  readonly fenced: boolean;
  readonly isEnding: boolean;
}

/**
 * Has nobody written it but whoever reserved it? Nodes of ours name their instance, and backends say what they are; flannel's udp says nothing,
 * so this is asked only of nodes that do not answer.
 */
const isUnclaimed = (lease: LeaseJson): boolean =>
  lease.reservation &&
  lease.instance === null &&
  lease.backend === null &&
  lease.data === null &&
  lease.dataV6 === null;

/** What is known of a lease, of its peer, and of how long it has left, as one row. */
export function rowOf(lease: LeaseJson, peer: PeerView | undefined, own: OwnLife, life?: Life): LeaseRow {
  const paths = peer?.paths ?? [];
  const answered = lease.self ? null : worstHealth(paths);
  const isWaiting = isUnclaimed(lease) && answered !== 'reachable' && answered !== 'lossy';
  const health = isWaiting ? null : answered;
  const [state, stateWords] = isWaiting
    ? (['reserved', 'reserved, awaits its node'] as const)
    : stateOf(lease, health, own, life);
  const sent = paths.reduce((n, p) => n + p.sent, 0);
  const rtts = paths.flatMap((p) => (p.rtt === null ? [] : [p.rtt]));
  const mtus = paths.flatMap((p) => p.routeMtu ?? p.pathMtu ?? []);
  const isTrouble = Boolean(peer?.problem) && !isWaiting;
  const words = isTrouble ? peer!.problem! : stateWords;
  const address = [lease.publicIP, lease.publicIPv6].filter((a) => a !== null && a !== '0.0.0.0').join(' ');
  const backend = peer?.backend ?? lease.backend ?? '';
  return {
    key: lease.key,
    subnets: lease.subnets,
    address,
    backend,
    state,
    words,
    health,
    rtt: rtts.length > 0 ? Math.max(...rtts) : null,
    loss: sent > 0 ? paths.reduce((n, p) => n + p.lost, 0) / sent : null,
    mtu: mtus.length > 0 ? Math.min(...mtus) : null,
    inRate: peer?.inRate ?? null,
    outRate: peer?.outRate ?? null,
    endsAt: lease.reservation ? null : (life?.endsAt ?? null),
    isTrouble,
    lease,
    peer,
    order: orderOf(lease.subnets[0] ?? lease.key),
    text: [...lease.subnets, address, backend, lease.node ?? '', state, words, health ?? '']
      .join(' ')
      .toLowerCase(),
  };
}

function stateOf(
  lease: LeaseJson,
  health: PathHealth | null,
  own: OwnLife,
  life: Life | undefined,
): readonly [SlotState, string] {
  const kind = lease.reservation ? 'reserved' : 'leased';
  if (lease.self) {
    if (own.fenced) return ['expiring', 'ours, run out: it is not written any more'];
    if (own.isEnding || life?.isExpiring) return ['expiring', 'ours, running out'];
    return ['ours', lease.reservation ? 'ours, reserved' : 'ours'];
  }
  const isSilent = health === 'unreachable';
  if (life?.isExpiring && !lease.reservation)
    return ['expiring', isSilent ? 'running out, no answer' : 'running out'];
  if (isSilent) return ['silent', lease.reservation ? 'no answer, reserved' : 'no answer'];
  return [kind, kind];
}
