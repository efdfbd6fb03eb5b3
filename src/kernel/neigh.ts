import type { ObservedNeigh } from './observed.ts';
import type { Neigh, Owner } from './types.ts';

export const sameNeigh = (o: ObservedNeigh, wanted: Neigh): boolean => o.mac === wanted.mac;

/** Only PERMANENT neighbours are ever observed: what the kernel has learned is not ours, on no device. */
export const ownsNeigh = (o: ObservedNeigh, owner: Owner): boolean => owner.devices.has(o.dev);
