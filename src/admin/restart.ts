import type { NetworkConfig } from '../subnet/types.ts';

/**
 * The fields of a new network config that cannot be applied while running, in words; empty when all follows.
 * Whatever the desired state follows from purely is applied. What would take the subnet away from running pods, or
 * make another kind of daemon of this one, waits for a restart. `keeps` tells whether the held lease fits the new config.
 */
export function restartNeeded(now: NetworkConfig, next: NetworkConfig, keeps: boolean): string[] {
  const fields: string[] = [];
  if (now.backend.type !== next.backend.type)
    fields.push(`Backend.Type (${now.backend.type} to ${next.backend.type})`);
  for (const family of [4, 6] as const) {
    const had = now.families.has(family);
    const has = next.families.has(family);
    if (had !== has) fields.push(`EnableIPv${family} (${had} to ${has})`);
  }
  if (!keeps && fields.length === 0) {
    fields.push('Network, SubnetLen, SubnetMin or SubnetMax (the held subnet does not fit the new ones)');
  }
  return fields;
}
