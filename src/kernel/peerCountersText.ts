import { NFT_COUNTERS } from '../contract.ts';
import { addrFromBytes, bits, type Family, formatAddr, parseAddr } from '../net/addr.ts';
import { network, type Prefix } from '../net/prefix.ts';

/**
 * The table that counts packets to and from peers, as text for nft(8) and back:
 *
 *   table netdev loden-peers {
 *     set out4_24 { typeof ip daddr; counter; elements = { 10.5.9.0, … } }     a counter for each peer, one set for each prefix length
 *     chain out-flannel.1 {
 *       type filter hook egress device "flannel.1" priority 0; policy accept;
 *       ip daddr & 255.255.255.0 @out4_24                                      a lookup that counts, and decides nothing
 *     }
 *     … in4_24, in-flannel.1 the same for ip saddr, hook ingress
 *   }
 *
 * Hashes of masked addresses, not intervals: they are quicker for packets (docs/performance.md), and adding to them does not
 * need the whole set. Hooks of the devices themselves: packets of other devices do not come by.
 */

/** What is to be counted. */
export interface CounterWish {
  /** Devices through which packets go to peers. */
  readonly devices: ReadonlySet<string>;
  /** By `4_24` (family, prefix length): the subnets' addresses, each with its row in {@link Counted}; rows begin at 0. */
  readonly subnets: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly rows: number;
}

/** What has been counted, numbers alone: there may be thousands of peers. */
export interface Counted {
  /** Four for each row: packets and bytes out, packets and bytes in. */
  readonly numbers: Float64Array;
  /** For each row, {@link SEEN_OUT} and {@link SEEN_IN}: which of its two counters there are. */
  readonly seen: Uint8Array;
}

const [SEEN_OUT, SEEN_IN] = [1, 2] as const;

export const nothingCounted = ({ rows }: Pick<CounterWish, 'rows'>): Counted => ({
  numbers: new Float64Array(4 * rows),
  seen: new Uint8Array(rows),
});

/** What is in the table. */
export interface CounterTable extends Counted {
  /** By name: the listed lines of each. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** By name: addresses that are counted and not wanted. */
  readonly sets: ReadonlyMap<string, readonly string[]>;
}

/** Which set a subnet is in, and under which address. */
export const placeOf = (subnet: Prefix): { readonly set: string; readonly address: string } => ({
  set: `${subnet.addr.family}_${subnet.len}`,
  address: formatAddr(network(subnet).addr),
});

const TABLE = `netdev ${NFT_COUNTERS}`;
const DIRECTIONS = [
  { name: 'out', hook: 'egress', field: 'daddr', column: 0, flag: SEEN_OUT },
  { name: 'in', hook: 'ingress', field: 'saddr', column: 2, flag: SEEN_IN },
] as const;
type Direction = (typeof DIRECTIONS)[number];

/** What nft takes for a part of a chain's name; anything else could be read as something else. */
const NAMABLE = /^[\w.-]{1,15}$/;

/** Can packets of this device be counted? */
export const isCountable = (device: string): boolean => NAMABLE.test(device);

/** Elements in one line. */
const MOST_ELEMENTS = 256;

const ipOf = (set: string): 'ip' | 'ip6' => (set.startsWith('4') ? 'ip' : 'ip6');

/** `255.255.255.0` for `4_24`. */
function maskOf(set: string): string {
  const [family, len] = set.split('_').map(Number) as [Family, number];
  const bytes = Array.from({ length: bits(family) / 8 }, (_, i) => {
    const ones = Math.min(8, Math.max(0, len - 8 * i));
    return (0xff << (8 - ones)) & 0xff;
  });
  return formatAddr(addrFromBytes(bytes));
}

const rule = ({ name, field }: Direction, set: string): string =>
  `${ipOf(set)} ${field} & ${maskOf(set)} @${name}${set}`;

/**
 * What is to be done to the table to make it count what is wanted, as one transaction for `nft -f -`, piece by piece; nothing when
 * it does. Counters of what stays stay. `table` undefined: there is none. Writing it twice does no harm.
 */
export function* counterChanges(wish: CounterWish, table: CounterTable | undefined): Generator<string> {
  const head = `add table ${TABLE}\n`;
  let begun = false;
  const line = (text: string): string => {
    const before = begun ? '' : head;
    begun = true;
    return `${before}${text}\n`;
  };
  if (!table) yield line('');
  for (const direction of DIRECTIONS) {
    for (const set of wish.subnets.keys()) {
      if (table?.sets.has(direction.name + set)) continue;
      const { name, field } = direction;
      yield line(`add set ${TABLE} ${name}${set} { typeof ${ipOf(set)} ${field}; counter; }`);
    }
    for (const device of wish.devices) yield* chainChanges(direction, device, wish, table, line);
    for (const chain of table?.chains.keys() ?? []) {
      const { name } = direction;
      if (chain.startsWith(`${name}-`) && !wish.devices.has(chain.slice(name.length + 1)))
        yield line(`delete chain ${TABLE} ${chain}`);
    }
    yield* elementChanges(direction, wish, table, line);
  }
}

function* chainChanges(
  direction: Direction,
  device: string,
  wish: CounterWish,
  table: CounterTable | undefined,
  line: (text: string) => string,
): Generator<string> {
  const { name, hook } = direction;
  const chain = `${name}-${device}`;
  const listed = table?.chains.get(chain);
  if (!listed) {
    yield line(
      `add chain ${TABLE} ${chain} { type filter hook ${hook} device "${device}" priority 0; policy accept; }`,
    );
    // If there is one all the same, nothing may be counted twice.
    yield line(`flush chain ${TABLE} ${chain}`);
  }
  for (const set of wish.subnets.keys()) {
    if (!listed?.some((text) => text.endsWith(`@${name}${set}`)))
      yield line(`add rule ${TABLE} ${chain} ${rule(direction, set)}`);
  }
}

function* elementChanges(
  { name, flag }: Direction,
  wish: CounterWish,
  table: CounterTable | undefined,
  line: (text: string) => string,
): Generator<string> {
  for (const [set, wanted] of wish.subnets) {
    const missing = Iterator.from(wanted.entries()).filter(([, row]) => !((table?.seen[row] ?? 0) & flag));
    for (const list of lists(missing.map(([address]) => address)))
      yield line(`add element ${TABLE} ${name}${set} { ${list} }`);
  }
  for (const [set, stray] of table?.sets ?? []) {
    if (!set.startsWith(name)) continue;
    for (const list of lists(stray)) yield line(`delete element ${TABLE} ${set} { ${list} }`);
  }
}

/** Elements as nft takes them, some at a time. */
function* lists(elements: Iterable<string>): Generator<string> {
  let batch: string[] = [];
  for (const element of elements) {
    if (batch.push(element) < MOST_ELEMENTS) continue;
    yield batch.join(', ');
    batch = [];
  }
  if (batch.length > 0) yield batch.join(', ');
}

/** Between an element's address and its numbers. */
const [PACKETS, BYTES] = [' counter packets ', ' bytes '];

/**
 * The text of `nft list table netdev loden-peers`, line by line: it yields after each, so that the caller can pause. What it does not
 * know it passes over. Makes no object for an element: thousands of them each second would keep the collector busy.
 */
export function* parseCounterTable(text: string, wish: CounterWish): Generator<void, CounterTable> {
  const counted = nothingCounted(wish);
  const chains = new Map<string, string[]>();
  const sets = new Map<string, string[]>();
  let chain: string[] | undefined;
  let set: { readonly name: string; readonly stray: string[] } | undefined;
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    const isElements = set !== undefined && text.slice(from, end).includes(PACKETS);
    if (set && isElements) elements(text, from, end, set, wish, counted);
    else {
      const line = text.slice(from, end).trim();
      const head = /^(set|chain) (\S+) \{/.exec(line);
      if (head) {
        const [, kind, name] = head;
        set = kind === 'set' ? { name: name!, stray: [] } : undefined;
        chain = kind === 'chain' ? [] : undefined;
        if (set) sets.set(set.name, set.stray);
        if (chain) chains.set(name!, chain);
      } else chain?.push(line);
    }
    from = end + 1;
    yield;
  }
  return { ...counted, chains, sets };
}

/** The elements in one line of a set. */
function elements(
  text: string,
  from: number,
  end: number,
  { name, stray }: { readonly name: string; readonly stray: string[] },
  wish: CounterWish,
  { numbers, seen }: Counted,
): void {
  const direction = DIRECTIONS.find((d) => name.startsWith(d.name));
  const rows = direction && wish.subnets.get(name.slice(direction.name.length));
  for (let at = text.indexOf(PACKETS, from); at >= 0 && at < end; at = text.indexOf(PACKETS, at + 1)) {
    const address = text.slice(text.lastIndexOf(' ', at - 1) + 1, at);
    const row = rows?.get(address) ?? rows?.get(canonical(address));
    if (!direction || row === undefined) {
      stray.push(address);
      continue;
    }
    const bytes = text.indexOf(BYTES, at);
    numbers[4 * row + direction.column] = Number.parseInt(text.slice(at + PACKETS.length, bytes), 10);
    numbers[4 * row + direction.column + 1] = Number.parseInt(
      text.slice(bytes + BYTES.length, bytes + BYTES.length + 20),
      10,
    );
    seen[row]! |= direction.flag;
  }
}

/** IPv6 addresses can be written in many ways; nft and {@link formatAddr} agree on most, but need not. */
function canonical(address: string): string {
  if (!address.includes(':')) return address;
  const parsed = parseAddr(address);
  return parsed ? formatAddr(parsed) : address;
}
