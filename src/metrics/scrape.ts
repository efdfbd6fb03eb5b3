import type { StatusJson } from '../api/shapes.ts';
import type { CniStatus } from '../cni/status.ts';
import type { ForwarderJson } from '../forwarder/stats.ts';
import type { ProbeCounters } from '../probe/types.ts';
import type { Metric, Sample } from './exposition.ts';
import { type ProcessFacts, processFacts } from './process.ts';
import type { MethodCounts } from './requests.ts';
import type { EventCount, MetricSources } from './sources.ts';

/** All that one scrape tells, read once. */
export interface Scrape {
  readonly status: StatusJson;
  readonly startedAt: Date;
  readonly leaseTtl: number | undefined;
  readonly refused: number;
  readonly behind: number | undefined;
  readonly firewallInSync: boolean | undefined;
  readonly requests: ReadonlyMap<string, MethodCounts>;
  readonly probes: ProbeCounters | undefined;
  readonly checksumOffload: 'on' | 'off' | null;
  readonly forwarder: ForwarderJson | null;
  readonly cni: CniStatus;
  readonly events: Iterable<EventCount>;
  readonly process: ProcessFacts;
}

export type ScrapeMetric = Metric<Scrape>;

export async function takeScrape(sources: MetricSources): Promise<Scrape> {
  const process = await processFacts();
  return {
    status: sources.status(),
    startedAt: sources.startedAt,
    leaseTtl: sources.leaseTtl(),
    refused: sources.refused(),
    behind: sources.behind(),
    firewallInSync: sources.firewallInSync(),
    requests: sources.requests.methods,
    probes: sources.probes(),
    checksumOffload: sources.checksumOffload(),
    forwarder: sources.forwarder(),
    cni: sources.cni(),
    events: sources.events(),
    process,
  };
}

/** A gauge or counter with one value; undefined or null: none now. */
export const single = (
  type: 'gauge' | 'counter',
  name: string,
  help: string,
  value: (s: Scrape) => number | boolean | null | undefined,
): ScrapeMetric => ({
  name,
  type,
  help,
  labels: [],
  samples: (s) => {
    const v = value(s);
    return v === undefined || v === null ? [] : [{ value: Number(v) }];
  },
});

/** One with a value for each of a few names. */
export const by = (
  type: 'gauge' | 'counter',
  name: string,
  help: string,
  label: string,
  values: (s: Scrape) => Readonly<Record<string, number | boolean>>,
): ScrapeMetric => ({
  name,
  type,
  help,
  labels: [label],
  samples: (s) =>
    Object.entries(values(s)).map(([key, v]): Sample => ({ labels: { [label]: key }, value: Number(v) })),
});
