import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Netns } from './netns.ts';
import { until } from './proc.ts';

const RULES = fileURLToPath(new URL('../../deploy/prometheus/loden.rules.yml', import.meta.url));

/** One series of an instant vector. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: string;
}

export interface PrometheusAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: 'pending' | 'firing';
}

/**
 * Debian's Prometheus in a namespace, with the shipped rules, in a hurry: it scrapes and evaluates twice a second, and what an alert
 * waits for is a second instead of minutes. It ends with the namespace.
 */
export class Prometheus {
  readonly #netns: Netns;

  private constructor(netns: Netns) {
    this.#netns = netns;
  }

  /** `targets`: `address:port` of daemons. `dir` takes its files. */
  static async start(netns: Netns, dir: string, targets: readonly string[]): Promise<Prometheus> {
    const rules = readFileSync(RULES, 'utf8').replaceAll(/^( {8}for:) .*$/gm, '$1 1s');
    writeFileSync(join(dir, 'rules.yml'), rules);
    writeFileSync(
      join(dir, 'prometheus.yml'),
      `global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }
rule_files: [rules.yml]
scrape_configs:
  - job_name: loden
    static_configs: [{ targets: ${JSON.stringify(targets)} }]
`,
    );
    await netns.start(
      [
        'prometheus',
        `--config.file=${join(dir, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(dir, 'data')}`,
        '--web.listen-address=127.0.0.1:9090',
      ],
      { log: join(dir, 'prometheus.log') },
    );
    const prometheus = new Prometheus(netns);
    await until('Prometheus to be ready', () => prometheus.#get('/-/ready').catch(() => undefined));
    return prometheus;
  }

  /** An instant query, now. */
  async query(promql: string): Promise<Series[]> {
    const { result } = await this.#api<{
      result: { metric: Record<string, string>; value: [number, string] }[];
    }>(`query?query=${encodeURIComponent(promql)}`);
    return result.map(({ metric, value }) => ({ metric, value: value[1] }));
  }

  /** Values of an instant query in some order that stays: sorted. */
  async values(promql: string): Promise<string[]> {
    return (await this.query(promql)).map((s) => s.value).sort();
  }

  /** Wait until a query has these values, in sorted order. */
  async says(promql: string, wanted: readonly string[]): Promise<void> {
    let last: string[] = [];
    await until(
      `${promql} to be ${wanted}`,
      async () => {
        last = await this.values(promql);
        return last.join() === wanted.join();
      },
      20_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${last}`);
    });
  }

  async alerts(): Promise<PrometheusAlert[]> {
    return (await this.#api<{ alerts: PrometheusAlert[] }>('alerts')).alerts;
  }

  /** Rules with their health (`ok`, or what is wrong). */
  async rules(): Promise<{ readonly name: string; readonly health: string; readonly lastError?: string }[]> {
    const { groups } = await this.#api<{
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    }>('rules');
    return groups.flatMap((group) => group.rules);
  }

  async #api<T>(path: string): Promise<T> {
    const answer = JSON.parse(await this.#get(`/api/v1/${path}`)) as { status: string; data: T };
    if (answer.status !== 'success') throw new Error(`Prometheus, ${path}: ${JSON.stringify(answer)}`);
    return answer.data;
  }

  #get(path: string): Promise<string> {
    return this.#netns.run(['busybox', 'wget', '-q', '-O', '-', `http://127.0.0.1:9090${path}`]);
  }
}
