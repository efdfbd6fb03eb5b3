import { createRequire } from 'node:module';
import type { Registry } from 'prom-client';

/** One value of a metric. `suffix`: what follows the metric's name, in a histogram. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
  readonly suffix?: '_bucket' | '_sum' | '_count';
}

/** A metric and where its values come from. */
export interface Metric<T> {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** One sentence, as `# HELP` says it. */
  readonly help: string;
  readonly labels: readonly string[];
  /** None: the metric is left out of this scrape's values. */
  samples(of: T): Iterable<Sample>;
}

/** What a registry of prom-client wants of a metric when it writes the text. */
interface Collected {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: readonly {
    readonly metricName: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

/**
 * prom-client's registry alone: 0.5 MB and 1.5 ms. The package's entry loads OpenTelemetry and node:cluster too, 11 MB and 45 ms of
 * the event loop (docs/performance.md), for default metrics and for counters that would keep a second copy of what the daemon knows.
 */
const loadRegistry = (): typeof Registry =>
  createRequire(import.meta.url)('prom-client/lib/registry.js') as typeof Registry;

/** Metrics as Prometheus' text format, computed when asked for. `begin` gives what all samples of one scrape are computed from. */
export class Exposition<T> {
  readonly #registry: Registry;
  readonly #begin: () => T | Promise<T>;
  #now: T | undefined;
  #scraping: Promise<string> | undefined;

  constructor(metrics: readonly Metric<T>[], begin: () => T | Promise<T>) {
    this.#registry = new (loadRegistry())();
    this.#begin = begin;
    for (const metric of metrics) {
      const collector = { name: metric.name, type: metric.type, get: () => this.#collect(metric) };
      // The registry asks nothing else of a metric; its type names a class that counts.
      this.#registry.registerMetric(collector as unknown as Parameters<Registry['registerMetric']>[0]);
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** One scrape; who asks meanwhile gets the same. */
  text(): Promise<string> {
    this.#scraping ??= this.#scrape().finally(() => {
      this.#scraping = undefined;
    });
    return this.#scraping;
  }

  async #scrape(): Promise<string> {
    this.#now = await this.#begin();
    try {
      return await this.#registry.metrics();
    } finally {
      this.#now = undefined;
    }
  }

  #collect(metric: Metric<T>): Collected {
    const { name, help, type } = metric;
    const values = Iterator.from(metric.samples(this.#now as T))
      .map(({ labels = {}, value, suffix = '' }) => ({ metricName: `${name}${suffix}`, labels, value }))
      .toArray();
    return { name, help, type, values };
  }
}

/**
 * A histogram's samples. `bounds` and `buckets` in milliseconds as they are counted (not cumulative, one more bucket than bounds);
 * told in seconds.
 */
export function* histogram(
  labels: Readonly<Record<string, string>>,
  bounds: readonly number[],
  counts: { readonly buckets: readonly number[]; readonly sum: number },
): Generator<Sample> {
  let within = 0;
  for (const [i, bound] of bounds.entries()) {
    within += counts.buckets[i] ?? 0;
    yield { suffix: '_bucket', labels: { ...labels, le: String(bound / 1000) }, value: within };
  }
  within += counts.buckets[bounds.length] ?? 0;
  yield { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: within };
  yield { suffix: '_sum', labels, value: counts.sum / 1000 };
  yield { suffix: '_count', labels, value: within };
}
