import { CNI_METRICS } from './cni.ts';
import { Exposition } from './exposition.ts';
import { FORWARDER_METRICS } from './forwarder.ts';
import { KERNEL_METRICS } from './kernel.ts';
import { NODE_METRICS } from './node.ts';
import { PEER_METRICS } from './peers.ts';
import { PROCESS_METRICS } from './process.ts';
import { type ScrapeMetric, takeScrape } from './scrape.ts';
import type { MetricSources } from './sources.ts';

export type { EventCount, MetricSources } from './sources.ts';

/** Every metric there is; docs/metrics.md explains each, which a test sees to. */
export const CATALOGUE: readonly ScrapeMetric[] = [
  ...NODE_METRICS,
  ...PEER_METRICS,
  ...KERNEL_METRICS,
  ...FORWARDER_METRICS,
  ...CNI_METRICS,
  ...PROCESS_METRICS,
];

/** What `/metrics` serves. */
export interface Metrics {
  readonly contentType: string;
  /** One scrape, computed now. */
  text(): Promise<string>;
}

/** Metrics in Prometheus' text format. Keeps nothing but names between scrapes. */
export const metrics = (sources: MetricSources): Metrics =>
  new Exposition(CATALOGUE, () => takeScrape(sources));
