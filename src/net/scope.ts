import type { Addr } from './addr.ts';

/** What an address may be used for; only `global` ones can be reached from another link. */
export type Scope = 'global' | 'link' | 'loopback' | 'multicast' | 'unspecified' | 'broadcast';

/** RFC 6890 (IPv4), RFC 4291 (IPv6). Private and unique-local addresses count as global. */
export function scopeOf(a: Addr): Scope {
  if (a.family === 4) {
    const value = Number(a.value);
    const top = value >>> 24;
    if (top === 0) return 'unspecified'; // 0.0.0.0/8
    if (top === 127) return 'loopback';
    if (value >>> 16 === 0xa9fe) return 'link'; // 169.254.0.0/16
    if (top >= 224 && top < 240) return 'multicast';
    return value === 0xffff_ffff ? 'broadcast' : 'global';
  }
  if (a.value < 2n) return a.value === 0n ? 'unspecified' : 'loopback';
  const top = Number(a.value >> 112n);
  if ((top & 0xffc0) === 0xfe80) return 'link'; // fe80::/10
  return top >= 0xff00 ? 'multicast' : 'global';
}
