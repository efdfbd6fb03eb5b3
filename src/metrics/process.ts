import { readdir, readFile } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Metric, Sample } from './exposition.ts';

/** What a scrape finds out about this process. */
export interface ProcessFacts {
  /** Seconds of CPU: all threads, also the addon's. */
  readonly cpu: number;
  /** Bytes. */
  readonly resident: number;
  readonly heap: number;
  readonly fds: number | undefined;
  readonly mostFds: number | undefined;
  /** Seconds in which the event loop had something to do. */
  readonly active: number;
  /** Seconds from asking for a turn of the event loop to having it. */
  readonly lag: number;
}

/**
 * Costs nothing between scrapes: no timer, no histogram of the event loop, no observer of the collector, which is what
 * prom-client's default metrics would start.
 */
export async function processFacts(): Promise<ProcessFacts> {
  const asked = performance.now();
  await nextTurn();
  const lag = (performance.now() - asked) / 1000;
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const [fds, limits] = await Promise.all([
    readdir('/proc/self/fd').catch(() => undefined),
    readFile('/proc/self/limits', 'utf8').catch(() => ''),
  ]);
  const most = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return {
    cpu: (user + system) / 1e6,
    resident: rss,
    heap: heapUsed,
    // Listing them opens one more.
    fds: fds && fds.length - 1,
    mostFds: most === undefined ? undefined : Number(most),
    active: performance.eventLoopUtilization().active / 1000,
    lag,
  };
}

const some = (value: number | undefined): Sample[] => (value === undefined ? [] : [{ value }]);

/** Those with Prometheus' own names, as every client library has them, and the event loop. */
export const PROCESS_METRICS: readonly Metric<{
  readonly process: ProcessFacts;
  readonly startedAt: Date;
}>[] = [
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the daemon, all threads, in user and kernel mode.',
    labels: [],
    samples: ({ process }) => [{ value: process.cpu }],
  },
  {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of the daemon.',
    labels: [],
    samples: ({ process }) => [{ value: process.resident }],
  },
  {
    name: 'process_open_fds',
    type: 'gauge',
    help: 'Open file descriptors.',
    labels: [],
    samples: ({ process }) => some(process.fds),
  },
  {
    name: 'process_max_fds',
    type: 'gauge',
    help: 'Most file descriptors the daemon may have open.',
    labels: [],
    samples: ({ process }) => some(process.mostFds),
  },
  {
    name: 'process_start_time_seconds',
    type: 'gauge',
    help: 'When the daemon started, seconds since 1970.',
    labels: [],
    samples: ({ startedAt }) => [{ value: startedAt.getTime() / 1000 }],
  },
  {
    name: 'loden_heap_used_bytes',
    type: 'gauge',
    help: "Bytes in use in V8's heap, garbage that is not collected yet included.",
    labels: [],
    samples: ({ process }) => [{ value: process.heap }],
  },
  {
    name: 'loden_event_loop_active_seconds_total',
    type: 'counter',
    help: 'Time in which the event loop had something to do; its rate is the share of one CPU the control plane uses.',
    labels: [],
    samples: ({ process }) => [{ value: process.active }],
  },
  {
    name: 'loden_event_loop_lag_seconds',
    type: 'gauge',
    help: 'How long this scrape waited for its turn of the event loop.',
    labels: [],
    samples: ({ process }) => [{ value: process.lag }],
  },
];
