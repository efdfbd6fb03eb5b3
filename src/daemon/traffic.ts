import type { TrafficJson } from '../api/shapes.ts';
import type { SubnetKey } from '../subnet/types.ts';

/** Packets and bytes to and from each peer. */
export interface Traffic {
  /** As of the last {@link refresh}, since counting began; null: nobody counts, or not this peer. */
  of(key: SubnetKey): TrafficJson | null;
  /** Read the counters, unless that was done within the last second. Never rejects. */
  refresh(): Promise<void>;
  /** Why nobody counts; null: somebody does, or the backend has no peers to count for. */
  readonly problem: string | null;
}

/** Without --peer-counters. */
export const NO_TRAFFIC: Traffic = { of: () => null, refresh: async () => {}, problem: null };
