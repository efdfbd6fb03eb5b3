import type { PathHealth } from '../../../src/api/shapes.ts';
import { type LeaseRow, orderOf, type SlotState } from './rows.ts';

/** What the table of leases shows of them, and in which order; pure. */

/** Columns of the table of leases, in its order. */
export type Column = 'subnet' | 'address' | 'state' | 'left' | 'path' | 'mtu' | 'in' | 'out';

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
  state: (r) => (r.isTrouble ? 9 : STATE_RANK[r.state]),
  left: (r) => r.endsAt,
  // Health before round trip, of which none takes an hour.
  path: (r) => (r.health === null ? null : HEALTH_RANK[r.health] * 3.6e6 + (r.rtt ?? 0)),
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
