import { type Addr, bits, formatAddr, parseAddr, sameAddr } from './addr.ts';

/** An IP prefix. `addr` may have host bits set (an interface address); {@link network} clears them. */
export interface Prefix {
  readonly addr: Addr;
  readonly len: number;
}

/** Parse `address/length`; undefined if it is not one. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const a = parseAddr(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!a || !/^(?:0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > bits(a.family)) return undefined;
  return { addr: a, len: Number(digits) };
}

/** As {@link parsePrefix}, for text known to be right; throws RangeError otherwise. */
export function prefix(text: string): Prefix {
  const p = parsePrefix(text);
  if (!p) throw new RangeError(`not a prefix: ${JSON.stringify(text)}`);
  return p;
}

export const formatPrefix = (p: Prefix): string => `${formatAddr(p.addr)}/${p.len}`;

/** A host route's prefix: /32 or /128. */
export const hostPrefix = (a: Addr): Prefix => ({ addr: a, len: bits(a.family) });

/** Number of addresses in the prefix. */
export const size = (p: Prefix): bigint => 1n << BigInt(bits(p.addr.family) - p.len);

/** The same prefix with host bits cleared. */
export function network(p: Prefix): Prefix {
  const value = p.addr.value & ~(size(p) - 1n);
  return value === p.addr.value ? p : { addr: { family: p.addr.family, value }, len: p.len };
}

/** The last address in the prefix. */
export const lastAddr = (p: Prefix): Addr => ({
  family: p.addr.family,
  value: p.addr.value | (size(p) - 1n),
});

/** The address `n` after `a`; throws RangeError when it leaves the address space. */
export function offset(a: Addr, n: bigint): Addr {
  const value = a.value + n;
  if (value < 0n || value >> BigInt(bits(a.family)) !== 0n) {
    throw new RangeError(`${formatAddr(a)} + ${n} leaves the address space`);
  }
  return { family: a.family, value };
}

export const containsAddr = (p: Prefix, a: Addr): boolean => {
  if (p.addr.family !== a.family) return false;
  const behind = bits(a.family) - p.len;
  // Numbers where they suffice, for thousands are compared. A shift of a number by 32 would be none.
  if (a.family === 4) return behind === 32 || Number(p.addr.value) >>> behind === Number(a.value) >>> behind;
  const shift = BigInt(behind);
  return p.addr.value >> shift === a.value >> shift;
};

export const containsPrefix = (outer: Prefix, inner: Prefix): boolean =>
  outer.len <= inner.len && containsAddr(outer, inner.addr);

export const overlaps = (a: Prefix, b: Prefix): boolean =>
  a.len <= b.len ? containsAddr(a, b.addr) : containsAddr(b, a.addr);

export const samePrefix = (a: Prefix, b: Prefix): boolean => a.len === b.len && sameAddr(a.addr, b.addr);

/** All addresses of a family: `0.0.0.0/0` or `::/0`. */
export const everything = (family: 4 | 6): Prefix => prefix(family === 4 ? '0.0.0.0/0' : '::/0');
