import { type Addr, formatAddr } from '../../net/addr.ts';
import { containsAddr, formatPrefix, lastAddr, network, type Prefix, size } from '../../net/prefix.ts';

/** Which address a pod gets. Pure, and as host-local chooses: one after the other, so that one just freed is reused late. */

/** Where addresses of one family come from. */
export interface AddressRange {
  /** Without host bits. */
  readonly subnet: Prefix;
  /** Never given away. */
  readonly gateway: Addr;
}

/** The range of a node's subnet: its first address is the gateway's. */
export function rangeOf(subnet: Prefix): AddressRange {
  const whole = network(subnet);
  const value = whole.addr.value + (size(whole) > 1n ? 1n : 0n);
  return { subnet: whole, gateway: { family: whole.addr.family, value } };
}

/** The lowest and the highest address that may be given away: not the network's own, and not an IPv4 broadcast address. */
function bounds({ subnet }: AddressRange): { readonly low: bigint; readonly high: bigint } {
  const { family } = subnet.addr;
  return { low: subnet.addr.value + 1n, high: lastAddr(subnet).value - (family === 4 ? 1n : 0n) };
}

/** How many addresses the range has for pods. */
export function capacity(range: AddressRange): bigint {
  const { low, high } = bounds(range);
  const span = high < low ? 0n : high - low + 1n;
  return span > 0n && range.gateway.value >= low && range.gateway.value <= high ? span - 1n : span;
}

/** The first free address after `last`, round and round; undefined when there is none. */
export function choose(
  range: AddressRange,
  last: Addr | undefined,
  taken: (value: bigint) => boolean,
): Addr | undefined {
  const { family } = range.subnet.addr;
  const { low, high } = bounds(range);
  if (high < low) return undefined;
  const inside = last?.family === family && last.value >= low && last.value <= high;
  const start = inside && last.value < high ? last.value + 1n : low;
  let value = start;
  do {
    if (value !== range.gateway.value && !taken(value)) return { family, value };
    value = value === high ? low : value + 1n;
  } while (value !== start);
  return undefined;
}

/** Why this address can never be given to a pod, in words; undefined when it can. */
export function whyNot(range: AddressRange, wanted: Addr): string | undefined {
  const subnet = formatPrefix(range.subnet);
  if (!containsAddr(range.subnet, wanted)) return `it is not in this node's subnet ${subnet}`;
  if (wanted.value === range.gateway.value) return `it is the gateway of ${subnet}`;
  const { low, high } = bounds(range);
  if (wanted.value < low) return `it is the network address of ${subnet}`;
  if (wanted.value > high) return `it is the broadcast address of ${subnet}`;
  return undefined;
}

/** Addresses asked for, by family of the ranges; a text says why that cannot be. */
export function matchRequests(
  ranges: readonly AddressRange[],
  requested: readonly Addr[],
): readonly (Addr | undefined)[] | string {
  const wanted: (Addr | undefined)[] = ranges.map(() => undefined);
  for (const a of requested) {
    const at = ranges.findIndex((r) => r.subnet.addr.family === a.family);
    const text = formatAddr(a);
    if (at < 0) return `address ${text} is asked for, but this node's lease has no IPv${a.family} subnet`;
    const before = wanted[at];
    if (before && before.value !== a.value)
      return `addresses ${formatAddr(before)} and ${text} are asked for: an interface gets one of each family`;
    const reason = whyNot(ranges[at]!, a);
    if (reason) return `address ${text} is asked for, but ${reason}`;
    wanted[at] = a;
  }
  return wanted;
}
