import type { LeaseJson, PathHealth, PathJson, TrafficJson } from '../../../src/api/shapes.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';

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

/** What is known of a lease and of its peer, as one row. */
export function rowOf(lease: LeaseJson, peer: PeerView | undefined, own: OwnLife): LeaseRow {
  const paths = peer?.paths ?? [];
  const health = lease.self ? null : worstHealth(paths);
  const [state, stateWords] = stateOf(lease, health, own);
  const sent = paths.reduce((n, p) => n + p.sent, 0);
  const rtts = paths.flatMap((p) => (p.rtt === null ? [] : [p.rtt]));
  const mtus = paths.flatMap((p) => p.routeMtu ?? p.pathMtu ?? []);
  const words = peer?.problem ?? stateWords;
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
    lease,
    peer,
    order: orderOf(lease.subnets[0] ?? lease.key),
    text: [...lease.subnets, address, backend, lease.node ?? '', state, words, health ?? '']
      .join(' ')
      .toLowerCase(),
  };
}

function stateOf(lease: LeaseJson, health: PathHealth | null, own: OwnLife): [SlotState, string] {
  const kind = lease.reservation ? 'reserved' : 'leased';
  if (lease.self) {
    if (own.fenced) return ['expiring', 'ours, run out: it is not written any more'];
    if (own.isEnding) return ['expiring', 'ours, running out'];
    return ['ours', lease.reservation ? 'ours, reserved' : 'ours'];
  }
  if (health === 'unreachable')
    return lease.reservation
      ? ['silent', 'reserved; its node does not answer']
      : ['silent', 'its node does not answer: it runs out unless that renews it'];
  return [kind, kind];
}

export type Column = 'subnet' | 'address' | 'state' | 'health' | 'rtt' | 'loss' | 'mtu' | 'in' | 'out';

const HEALTH_RANK: Readonly<Record<PathHealth, number>> = {
  unreachable: 3,
  lossy: 2,
  unprobed: 1,
  reachable: 0,
};
const STATE_RANK: Readonly<Record<SlotState, number>> = {
  expiring: 5,
  silent: 4,
  ours: 3,
  reserved: 2,
  leased: 1,
  free: 0,
};

const VALUE: Readonly<Record<Column, (row: LeaseRow) => number | string | null>> = {
  subnet: (r) => r.order,
  address: (r) => (r.address === '' ? null : orderOf(`${r.address.split(' ')[0]}/32`)),
  state: (r) => (r.peer?.problem ? 9 : STATE_RANK[r.state]),
  health: (r) => (r.health === null ? null : HEALTH_RANK[r.health]),
  rtt: (r) => r.rtt,
  loss: (r) => r.loss,
  mtu: (r) => r.mtu,
  in: (r) => r.inRate,
  out: (r) => r.outRate,
};

export interface Sorting {
  readonly column: Column;
  readonly descending: boolean;
}

/** Rows that have all of the filter's words, sorted; what is not known comes last either way. */
export function arrange(rows: readonly LeaseRow[], filter: string, sorting: Sorting): LeaseRow[] {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => wanted.every((word) => row.text.includes(word)));
  const value = VALUE[sorting.column];
  const sign = sorting.descending ? -1 : 1;
  const keyed = found.map((row) => ({ row, v: value(row) }));
  keyed.sort((a, b) => {
    if (a.v !== b.v) {
      if (a.v === null) return 1;
      if (b.v === null) return -1;
      return a.v < b.v ? -sign : sign;
    }
    return a.row.order < b.row.order ? -1 : a.row.order > b.row.order ? 1 : 0;
  });
  return keyed.map((k) => k.row);
}
