import type { Addr } from './addr.ts';
import { containsAddr, type Prefix, prefix } from './prefix.ts';

/** What an address may be used for; only `global` ones can be reached from another link. */
export type Scope = 'global' | 'link' | 'loopback' | 'multicast' | 'unspecified' | 'broadcast';

/** First match wins. RFC 6890 (IPv4), RFC 4291 (IPv6). Private and unique-local addresses count as global. */
const SPECIAL: readonly (readonly [Prefix, Scope])[] = (
  [
    ['0.0.0.0/8', 'unspecified'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link'],
    ['224.0.0.0/4', 'multicast'],
    ['255.255.255.255/32', 'broadcast'],
    ['::/128', 'unspecified'],
    ['::1/128', 'loopback'],
    ['fe80::/10', 'link'],
    ['ff00::/8', 'multicast'],
  ] as const
).map(([text, scope]) => [prefix(text), scope]);

export const scopeOf = (a: Addr): Scope => SPECIAL.find(([p]) => containsAddr(p, a))?.[1] ?? 'global';
