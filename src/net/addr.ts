import ipaddr from 'ipaddr.js';

/** IP version; it travels inside the values, never as a parameter of policy. */
export type Family = 4 | 6;

/** An IP address. Two addresses are equal when family and value are. */
export interface Addr {
  readonly family: Family;
  /** The address as an unsigned integer in network order, 0 … 2^32-1 or 2^128-1. */
  readonly value: bigint;
}

/** Address width in bits. */
export const bits = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

const IPV4 = /^(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}$/;

/** Parse strict dotted-quad IPv4 or RFC 4291 IPv6 text (no zone, no leading zeros); undefined if it is neither. */
export function parseAddr(text: string): Addr | undefined {
  if (text.includes(':')) {
    if (text.length > 45 || text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
    return addrFromBytes(ipaddr.IPv6.parse(text).toByteArray());
  }
  if (!IPV4.test(text)) return undefined;
  let value = 0n;
  for (const part of text.split('.')) {
    const n = Number(part);
    if (n > 255) return undefined;
    value = (value << 8n) | BigInt(n);
  }
  return { family: 4, value };
}

/** As {@link parseAddr}, for text known to be right; throws RangeError otherwise. */
export function addr(text: string): Addr {
  const parsed = parseAddr(text);
  if (!parsed) throw new RangeError(`not an IP address: ${JSON.stringify(text)}`);
  return parsed;
}

/** Canonical text: dotted quad, or RFC 5952. */
export function formatAddr(a: Addr): string {
  if (a.family === 4) {
    const v = Number(a.value);
    return `${v >>> 24}.${(v >>> 16) & 255}.${(v >>> 8) & 255}.${v & 255}`;
  }
  return new ipaddr.IPv6(Array.from(addrBytes(a))).toRFC5952String();
}

/** Network-order bytes: 4 or 16 of them. */
export function addrBytes(a: Addr): Uint8Array {
  const out = new Uint8Array(bits(a.family) / 8);
  if (a.family === 4) {
    new DataView(out.buffer).setUint32(0, Number(a.value));
  } else {
    const view = new DataView(out.buffer);
    view.setBigUint64(0, a.value >> 64n);
    view.setBigUint64(8, a.value & 0xffff_ffff_ffff_ffffn);
  }
  return out;
}

/** From 4 or 16 network-order bytes; throws RangeError for any other length. */
export function addrFromBytes(bytes: ArrayLike<number>): Addr {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  }
  let value = 0n;
  if (bytes.length === 4) {
    value = BigInt(((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0);
  } else {
    for (let i = 0; i < 16; i++) value = (value << 8n) | BigInt(bytes[i]!);
  }
  return { family: bytes.length === 4 ? 4 : 6, value };
}

export const sameAddr = (a: Addr | undefined, b: Addr | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.family === b.family && a.value === b.value);

/** Order by family, then value. */
export const compareAddr = (a: Addr, b: Addr): number =>
  a.family - b.family || (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);
