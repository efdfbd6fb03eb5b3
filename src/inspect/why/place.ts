import type { LeaseJson } from '../../api/shapes.ts';
import type { Addr } from '../../net/addr.ts';
import { containsAddr, type Prefix, parsePrefix } from '../../net/prefix.ts';
import { isNobodys, subnetsOf } from '../ownHost.ts';
import { knownValue, type World, whyMissing } from '../world.ts';

/** Whose an address is, by leases and network. Pure. */

/** What can be said of that. */
export type Place =
  /** Neither the daemon nor etcd can be asked. */
  | { readonly kind: 'unknown'; readonly reason: string }
  | { readonly kind: 'outside'; readonly networks: readonly Prefix[] }
  | { readonly kind: 'free'; readonly network: Prefix }
  | { readonly kind: 'aside'; readonly key: string; readonly reason: string }
  /** A key with no node behind it. */
  | { readonly kind: 'reserved'; readonly lease: LeaseJson; readonly subnet: Prefix }
  | { readonly kind: 'own'; readonly lease: LeaseJson; readonly subnet: Prefix }
  | { readonly kind: 'peer'; readonly lease: LeaseJson; readonly subnet: Prefix };

/** Whose the address is; `own` is our lease. */
export function placeOf(to: Addr, world: World, own: LeaseJson | undefined): Place {
  const leases = knownValue(world.leases);
  if (!leases) return { kind: 'unknown', reason: whyMissing(world.leases) ?? 'nobody knows the leases' };
  for (const lease of leases.leases) {
    const subnet = subnetsOf(lease).find((p) => containsAddr(p, to));
    if (!subnet) continue;
    if (lease.key === own?.key) return { kind: 'own', lease, subnet };
    if (isNobodys(world, lease)) return { kind: 'reserved', lease, subnet };
    return { kind: 'peer', lease, subnet };
  }
  for (const { key, reason } of leases.setAside) {
    if (keyCovers(key, to)) return { kind: 'aside', key, reason };
  }
  const config = knownValue(world.network);
  if (!config) return { kind: 'unknown', reason: whyMissing(world.network) ?? 'nobody knows the network' };
  const range = config.families.get(to.family)?.network;
  if (range && containsAddr(range, to)) return { kind: 'free', network: range };
  return { kind: 'outside', networks: [...config.families.values()].map((f) => f.network) };
}

/** A key that cannot be read as a lease may still name its subnet: `10.5.9.0-24`. */
const keyCovers = (key: string, to: Addr): boolean =>
  key
    .slice(key.lastIndexOf('/') + 1)
    .split('&')
    .some((part) => {
      const p = parsePrefix(part.replace(/-(\d+)$/, '/$1'));
      return p !== undefined && containsAddr(p, to);
    });
