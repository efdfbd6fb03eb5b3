import { bits } from '../../../src/net/addr.ts';
import { formatPrefix, network, type Prefix, parsePrefix } from '../../../src/net/prefix.ts';
import type { LeaseRow, SlotState } from './rows.ts';
import { duration } from './words.ts';

/** The address space of the network as cells of a map; pure. */

/** Cells at most; where there are more subnets a cell stands for a block of them. */
export const MOST_CELLS = 65_536;

export interface Space {
  readonly network: Prefix;
  /** Prefix length of one subnet, and of a cell, which is shorter or the same. */
  readonly slotLen: number;
  readonly cellLen: number;
  readonly cells: number;
  readonly cols: number;
  readonly rows: number;
}

/** States by their number in {@link Painted.states}; a block shows the greatest of its subnets'. */
export const SLOT_STATES: readonly SlotState[] = ['free', 'leased', 'reserved', 'silent', 'expiring', 'ours'];

export interface Painted {
  /** One number for each cell: an index of {@link SLOT_STATES}. */
  readonly states: Uint8Array;
  /** What stands in a cell. */
  readonly owners: ReadonlyMap<number, readonly LeaseRow[]>;
  /** Subnets by state. */
  readonly counts: Readonly<Record<SlotState, number>>;
  /** Leases that are not in this network. */
  readonly outside: number;
}

/** The subnets of a row that are of the network's family. */
const subnetsIn = (net: Prefix, row: LeaseRow): Prefix[] =>
  row.subnets.flatMap((text) => {
    const p = parsePrefix(text);
    return p && p.addr.family === net.addr.family ? [p] : [];
  });

/**
 * How a network is cut into cells. The length of a subnet is nowhere told: it is that of our own lease, or else of most
 * leases; 24 or 64 where there are none.
 */
export function spaceOf(text: string, rows: readonly LeaseRow[]): Space | undefined {
  const parsed = parsePrefix(text);
  if (!parsed) return undefined;
  const net = network(parsed);
  const width = bits(net.addr.family);
  const votes = new Map<number, number>();
  for (const row of rows) {
    for (const p of subnetsIn(net, row))
      votes.set(p.len, (votes.get(p.len) ?? 0) + (row.lease.self ? 1e9 : 1));
  }
  const most = [...votes].sort((a, b) => b[1] - a[1])[0]?.[0];
  const slotLen = Math.max(
    net.len,
    Math.min(width, most ?? Math.max(net.len, net.addr.family === 4 ? 24 : 64)),
  );
  const wide = Math.min(slotLen - net.len, Math.log2(MOST_CELLS));
  const colBits = wide < 3 ? wide : Math.ceil((wide + 2) / 2);
  return {
    network: net,
    slotLen,
    cellLen: net.len + wide,
    cells: 2 ** wide,
    cols: 2 ** colBits,
    rows: 2 ** (wide - colBits),
  };
}

/** The first address of a cell, as a prefix. */
function cellPrefix(space: Space, cell: number): Prefix {
  const { family, value } = space.network.addr;
  const shift = BigInt(bits(family) - space.cellLen);
  return { addr: { family, value: value + (BigInt(cell) << shift) }, len: space.cellLen };
}

/** The cells a prefix covers: first and last; undefined: it is not in the network. */
function cellsOf(space: Space, p: Prefix): [number, number] | undefined {
  const { family, value } = space.network.addr;
  if (p.addr.family !== family || p.len < space.network.len) return undefined;
  const shift = BigInt(bits(family) - space.cellLen);
  const first = (p.addr.value - value) >> shift;
  if (first < 0n || first >= BigInt(space.cells)) return undefined;
  const more = p.len < space.cellLen ? 2 ** (space.cellLen - p.len) - 1 : 0;
  return [Number(first), Math.min(space.cells - 1, Number(first) + more)];
}

/** Who stands where. */
export function paint(space: Space, rows: readonly LeaseRow[]): Painted {
  const states = new Uint8Array(space.cells);
  const owners = new Map<number, LeaseRow[]>();
  const counts: Record<SlotState, number> = {
    free: 0,
    leased: 0,
    reserved: 0,
    silent: 0,
    expiring: 0,
    ours: 0,
  };
  let outside = 0;
  let taken = 0;
  for (const row of rows) {
    const state = SLOT_STATES.indexOf(row.state);
    for (const p of subnetsIn(space.network, row)) {
      const range = cellsOf(space, p);
      if (!range) {
        outside++;
        continue;
      }
      counts[row.state]++;
      taken += 2 ** Math.max(0, space.slotLen - p.len);
      for (let cell = range[0]; cell <= range[1]; cell++) {
        if (states[cell]! < state) states[cell] = state;
        const there = owners.get(cell);
        if (there) there.push(row);
        else owners.set(cell, [row]);
      }
    }
  }
  counts.free = Math.max(0, 2 ** (space.slotLen - space.network.len) - taken);
  return { states, owners, counts, outside };
}

/** What a cell tells; `now` is Date.now(). */
export function cellText(space: Space, painted: Painted, cell: number, now: number): string {
  const where = formatPrefix(cellPrefix(space, cell));
  const owners = painted.owners.get(cell) ?? [];
  const slots = 2 ** (space.slotLen - space.cellLen);
  if (owners.length === 0) return slots > 1 ? `${where}: ${slots} subnets, all free` : `${where}: free`;
  const [first] = owners;
  const { endsAt } = first!;
  const left = endsAt === null ? '' : `, ${duration((endsAt - now) / 1000)} left`;
  const who = `${first!.words}${first!.address ? `, node ${first!.address}` : ''}${left}`;
  if (slots === 1 && owners.length === 1) return `${first!.subnets.join(', ')}: ${who}`;
  if (owners.length === 1)
    return `${where}: 1 of ${slots} subnets taken: ${first!.subnets.join(', ')}, ${who}`;
  return `${where}: ${owners.length} leases, the first ${first!.subnets.join(', ')}, ${who}`;
}
