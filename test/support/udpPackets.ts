import { addr, addrBytes } from '../../src/net/addr.ts';

/** Packets byte by byte, as somebody makes them who means no good. Everything that is not named is as it should be. */

const u16 = (n: number): Buffer => Buffer.from([(n >> 8) & 255, n & 255]);

/** RFC 1071. */
function checksum(...parts: Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i % 2 === 0 ? byte << 8 : byte;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface Ends {
  readonly from: string;
  readonly to: string;
}

export interface Ip4 extends Ends {
  readonly version?: number;
  /** Header length in words. */
  readonly ihl?: number;
  /** Bytes, whatever there is. */
  readonly total?: number;
  /** Flags (15: reserved, 14: DF, 13: MF) and offset (in 8 bytes). */
  readonly fragment?: number;
  readonly ttl?: number;
  readonly protocol?: number;
  readonly id?: number;
}

export function ip4(payload: Uint8Array, ip: Ip4): Buffer {
  const {
    version = 4,
    ihl = 5,
    total = 20 + payload.length,
    fragment = 0,
    ttl = 64,
    protocol = 17,
    id = 1,
  } = ip;
  const head = (sum: number) =>
    Buffer.concat([
      ...[Buffer.from([(version << 4) | ihl, 0]), u16(total), u16(id), u16(fragment)],
      ...[Buffer.from([ttl, protocol]), u16(sum), addrBytes(addr(ip.from)), addrBytes(addr(ip.to))],
    ]);
  return Buffer.concat([head(checksum(head(0))), payload]);
}

export interface Ip6 extends Ends {
  /** Bytes after the header, whatever there is. */
  readonly length?: number;
  readonly next?: number;
  readonly hops?: number;
}

export function ip6(payload: Uint8Array, ip: Ip6): Buffer {
  const { length = payload.length, next = 17, hops = 64 } = ip;
  return Buffer.concat([
    ...[Buffer.from([0x60, 0, 0, 0]), u16(length), Buffer.from([next, hops])],
    ...[addrBytes(addr(ip.from)), addrBytes(addr(ip.to)), payload],
  ]);
}

/** To port 9 (discard) unless named; the checksum is right, unless `wrong` is added to it. */
export function udp(
  data: Uint8Array,
  { from, to, port = 9, wrong = 0 }: Ends & { port?: number; wrong?: number },
): Buffer {
  const length = u16(8 + data.length);
  const header = (sum: number) => Buffer.concat([u16(40_000), u16(port), length, u16(sum)]);
  const pseudo = [addrBytes(addr(from)), addrBytes(addr(to)), Buffer.from([0, 17]), length];
  return Buffer.concat([header((checksum(...pseudo, header(0), data) || 0xffff) + wrong), data]);
}

/** An extension header of IPv6: hop-by-hop 0, routing 43, destination options 60; `words`: its length beyond 8 bytes, in 8. */
export const extension = (next: number, words = 0, bytes = 8 + 8 * words): Buffer => {
  const header = Buffer.alloc(bytes);
  header.set([next, words, 1, Math.max(0, 8 * words + 4)].slice(0, bytes));
  return header;
};

/** A fragment header of IPv6; `offset` in bytes. */
export const fragment6 = (next: number, offset: number, more: boolean, reserved = 0): Buffer =>
  Buffer.concat([Buffer.from([next, 0]), u16(offset | reserved | Number(more)), Buffer.from([0, 0, 0, 5])]);
