import type { Addr, Family } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { SubnetKey } from '../subnet/types.ts';

/** Probing the paths to peers: what is asked, and what is known. All of it is plain values. */

/** One address family of one peer, as it can be asked. */
export interface Target {
  readonly key: SubnetKey;
  readonly family: Family;
  /** The peer's own end of the tunnel; where there is no tunnel (host-gw) its address on the underlay. */
  readonly addr: Addr;
  /** Bytes of the largest inner packet that the device on the way takes. */
  readonly mtu: number;
  /** The device that carries packets to it. */
  readonly dev: string;
  /** Does that device fill in checksums that senders leave to it, and can it be told not to (vxlan)? */
  readonly offloads: boolean;
  /** Where on the underlay packets to it go, and (vxlan) the MAC of its end: with another it is another path. */
  readonly via: Addr;
  readonly mac?: Mac;
}

/** What was found out about a path; a new value after each probe that tells something. */
export interface PathReport {
  readonly target: Target;
  readonly health: 'unprobed' | 'reachable' | 'lossy' | 'unreachable';
  /** Date.now() of the last probe; undefined: none yet. */
  readonly at: number | undefined;
  /** Milliseconds. */
  readonly rtt: number | undefined;
  readonly leastRtt: number | undefined;
  /** Of the last small probes, at most 20. */
  readonly sent: number;
  readonly lost: number;
  readonly fullSize: 'unknown' | 'passes' | 'lost';
  /** Bytes of the largest inner packet seen to pass while larger ones were lost; the target's MTU when those pass. */
  readonly pathMtu: number | undefined;
  /** Monotonic milliseconds of the last verdict on size, also when it was the same again; undefined: none yet. */
  readonly sizeAt: number | undefined;
  readonly checksum: 'unknown' | 'good' | 'corrupted';
  readonly error: string | undefined;
}

/** The name of a path: `<lease key> 4`. */
export const pathKey = (t: Pick<Target, 'key' | 'family'>): string => `${t.key} ${t.family}`;

/** Counters of all probing since the start. */
export interface ProbeCounters {
  readonly sent: number;
  readonly received: number;
  /** Round trips of small packets: how many were within each of {@link RTT_BOUNDS}, and the rest; not cumulative. Sum in milliseconds. */
  readonly rtt: { readonly buckets: readonly number[]; readonly sum: number; readonly count: number };
  readonly lost: number;
}

/** Upper bounds of the histogram of round trips, milliseconds. */
export const RTT_BOUNDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] as const;

/** What others see of the prober; {@link Prober} in prober.ts is the one there is. */
export interface Probing {
  /** By {@link pathKey}. A path that has not changed is the same object. */
  readonly paths: ReadonlyMap<string, PathReport>;
  readonly counters: ProbeCounters;
  /** Milliseconds between rounds; 0: not probing. */
  readonly interval: number;
  /** Peers asked in each round when nothing changes. */
  readonly sample: number;
  /**
   * All there is to probe. Whole, never a delta: what is new or changed is probed soon, what is gone is forgotten. Taken in by slices; a later call
   * overtakes one that is not through.
   */
  setTargets(targets: readonly Target[]): Promise<void>;
  /** Probe a path now, small, full-size and its checksum: what is known then, after three seconds at most; undefined: no such path. */
  probeNow(key: string): Promise<PathReport | undefined>;
  /** Is a path in order, and would {@link checkNow} be answered, for all that is known? */
  mayCheck(key: string): boolean;
  /**
   * Do datagrams arrive whole now? One of each kind, and nothing that was known before counts. `hurry`: answers are waited for four round trips
   * and 50 ms at least, else longer. `unknown`: nobody answers, there is no such path, or (`hurry`) the peer has answered too
   * often; else that is waited for.
   */
  checkNow(key: string, hurry: boolean): Promise<PathReport['checksum']>;
  /** Probe these paths in each round, until told otherwise: what was done about them is to be undone when its cause has gone. */
  watch(keys: ReadonlySet<string>): void;
  stop(): Promise<void>;
}
