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
  /** By `4_24` (family, prefix length): the subnets' addresses. */
  readonly subnets: ReadonlyMap<string, ReadonlySet<string>>;
}

export interface Counts {
  readonly packets: number;
  readonly bytes: number;
}

/** What is in the table. */
export interface CounterTable {
  /** By name: the listed lines of each. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** By name: counters by address, written as {@link formatAddr} does. */
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, Counts>>;
}

/** Which set a subnet is in, and under which address. */
export const placeOf = (subnet: Prefix): { readonly set: string; readonly address: string } => ({
  set: `${subnet.addr.family}_${subnet.len}`,
  address: formatAddr(network(subnet).addr),
});

const TABLE = `netdev ${NFT_COUNTERS}`;
const DIRECTIONS = [
  { name: 'out', hook: 'egress', field: 'daddr' },
  { name: 'in', hook: 'ingress', field: 'saddr' },
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
  { name }: Direction,
  wish: CounterWish,
  table: CounterTable | undefined,
  line: (text: string) => string,
): Generator<string> {
  const lines = function* (verb: 'add' | 'delete', set: string, elements: Iterable<string>) {
    let batch: string[] = [];
    const written = () => line(`${verb} element ${TABLE} ${set} { ${batch.join(', ')} }`);
    for (const element of elements) {
      if (batch.push(element) < MOST_ELEMENTS) continue;
      yield written();
      batch = [];
    }
    if (batch.length > 0) yield written();
  };
  for (const [set, wanted] of wish.subnets) {
    const has = table?.sets.get(name + set);
    yield* lines(
      'add',
      name + set,
      Iterator.from(wanted.values()).filter((address) => !has?.has(address)),
    );
  }
  for (const [listed, has] of table?.sets ?? []) {
    if (!listed.startsWith(name)) continue;
    const wanted = wish.subnets.get(listed.slice(name.length));
    yield* lines(
      'delete',
      listed,
      Iterator.from(has.keys()).filter((address) => !wanted?.has(address)),
    );
  }
}

const ELEMENT = /([0-9a-f.:]+) counter packets (\d+) bytes (\d+)/g;

/**
 * The text of `nft list table netdev loden-peers`, line by line: it yields after each, so that the caller can pause. What it does not
 * know it passes over.
 */
export function* parseCounterTable(text: string): Generator<void, CounterTable> {
  const chains = new Map<string, string[]>();
  const sets = new Map<string, Map<string, Counts>>();
  let chain: string[] | undefined;
  let set: Map<string, Counts> | undefined;
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(from, end).trim();
    from = end + 1;
    const head = /^(set|chain) (\S+) \{/.exec(line);
    if (head) {
      const [, kind, name] = head;
      set = kind === 'set' ? new Map() : undefined;
      chain = kind === 'chain' ? [] : undefined;
      if (set) sets.set(name!, set);
      if (chain) chains.set(name!, chain);
    } else if (set) {
      for (const [, address, packets, bytes] of line.matchAll(ELEMENT))
        set.set(canonical(address!), { packets: Number(packets), bytes: Number(bytes) });
    } else chain?.push(line);
    yield;
  }
  return { chains, sets };
}

/** IPv6 addresses can be written in many ways; nft and {@link formatAddr} agree on most, but need not. */
function canonical(address: string): string {
  if (!address.includes(':')) return address;
  const parsed = parseAddr(address);
  return parsed ? formatAddr(parsed) : address;
}
