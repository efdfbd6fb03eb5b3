import type { EventJson, EventKind, StatusJson } from '../api/shapes.ts';
import type { CniStatus } from '../cni/status.ts';
import type { ForwarderJson } from '../forwarder/stats.ts';
import type { ProbeCounters } from '../probe/types.ts';
import type { RequestCounts } from './requests.ts';

/** How many events of one kind and level there have been. */
export interface EventCount {
  readonly kind: EventKind;
  readonly level: EventJson['level'];
  readonly count: number;
}

/**
 * What metrics are computed from, at each scrape: plain getters of what the daemon knows anyway. Each is called at most once for a
 * scrape. Nothing here counts anything for metrics alone but {@link MetricSources.requests}.
 */
export interface MetricSources {
  /** As `GET /v1/status` answers. */
  status(): StatusJson;
  readonly startedAt: Date;
  /** Seconds that the own lease was granted for; undefined: a reservation, or none. */
  leaseTtl(): number | undefined;
  /** Peers that are not served, each for a reason that the status tells. */
  refused(): number;
  /** Seconds for which a newer view of the leases has not been in the kernel; 0: the newest is. Undefined: there is no view yet. */
  behind(): number | undefined;
  /** Is every rule as desired? Undefined: nobody has looked yet. */
  firewallInSync(): boolean | undefined;
  /** Requests to etcd, noted by `onRequest` of the store. */
  readonly requests: RequestCounts;
  /** Undefined: nothing is probed. */
  probes(): ProbeCounters | undefined;
  /** Of the overlay's device; null: there is none that has it. */
  checksumOffload(): 'on' | 'off' | null;
  /** Null: nothing is forwarded in user space. */
  forwarder(): ForwarderJson | null;
  cni(): CniStatus;
  /** Since the start, not only those that are kept. */
  events(): Iterable<EventCount>;
}
