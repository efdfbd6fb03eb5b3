import { BOUNDS } from '../cni/counters.ts';
import { histogram, type Sample } from './exposition.ts';
import { type ScrapeMetric, single } from './scrape.ts';

/** The CNI plugin's side: pods. */
export const CNI_METRICS: readonly ScrapeMetric[] = [
  {
    name: 'loden_cni_duration_seconds',
    type: 'histogram',
    help: "Time the daemon took for calls of the CNI plugin, by command; the plugin's own start is not in it.",
    labels: ['command'],
    *samples({ cni }): Generator<Sample> {
      for (const [command, counts] of Object.entries(cni.commands))
        yield* histogram({ command }, BOUNDS, counts);
    },
  },
  {
    name: 'loden_cni_errors_total',
    type: 'counter',
    help: "Calls of the CNI plugin that failed, by command and the specification's error code.",
    labels: ['command', 'code'],
    *samples({ cni }): Generator<Sample> {
      for (const [command, { errors }] of Object.entries(cni.commands)) {
        for (const [code, value] of Object.entries(errors)) yield { labels: { command, code }, value };
      }
    },
  },
  single(
    'gauge',
    'loden_cni_attachments',
    "Pods' interfaces that the daemon has made.",
    ({ cni }) => cni.attachments,
  ),
  single(
    'gauge',
    'loden_cni_queued_deletes',
    'DELs on disk that have failed or are under way.',
    ({ cni }) => cni.queued,
  ),
  single(
    'gauge',
    'loden_cni_stale_attachments',
    'Pods with an address of a subnet that this node no longer has.',
    ({ cni }) => cni.stale.length,
  ),
];
