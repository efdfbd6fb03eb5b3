import { type ProbeCounters, RTT_BOUNDS } from './types.ts';

/** Counts round trips and losses of small probes, all of them since the start. */
export class Tally {
  readonly rtt = { buckets: new Array<number>(RTT_BOUNDS.length + 1).fill(0), sum: 0, count: 0 };
  lost = 0;

  /** Milliseconds; undefined: lost. */
  count(rtt: number | undefined): void {
    if (rtt === undefined) {
      this.lost++;
      return;
    }
    const bucket = RTT_BOUNDS.findIndex((bound) => rtt <= bound);
    const at = bucket < 0 ? RTT_BOUNDS.length : bucket;
    this.rtt.buckets[at] = this.rtt.buckets[at]! + 1;
    this.rtt.sum += rtt;
    this.rtt.count++;
  }

  with(packets: Pick<ProbeCounters, 'sent' | 'received'>): ProbeCounters {
    return { sent: packets.sent, received: packets.received, rtt: this.rtt, lost: this.lost };
  }
}
