import { histogram } from './exposition.ts';
import { REQUEST_BOUNDS } from './requests.ts';
import { by, type ScrapeMetric, single } from './scrape.ts';

const LEASE_STATES = ['waiting', 'held', 'fenced'] as const;

/** Bits of a double's mantissa bound what a revision can be told exactly: 2^53, which no etcd reaches. */
const revision = (text: string | null): number | null => (text === null ? null : Number(text));

/** The daemon, its lease and its store. */
export const NODE_METRICS: readonly ScrapeMetric[] = [
  {
    name: 'loden_build_info',
    type: 'gauge',
    help: '1; the labels say which version runs, with which backend.',
    labels: ['version', 'node_version', 'backend'],
    samples: ({ status }) => [
      {
        labels: {
          version: status.version,
          node_version: process.version,
          backend: status.network?.backend ?? '',
        },
        value: 1,
      },
    ],
  },
  single(
    'gauge',
    'loden_ready',
    '1: the newest view is in the kernel, the firewall and the subnet file are in place; 0: not yet.',
    ({ status }) => status.ready,
  ),
  single(
    'gauge',
    'loden_problems',
    'Things an operator should look at; `loden status` names them.',
    ({ status }) => status.problems.length,
  ),
  {
    name: 'loden_events_total',
    type: 'counter',
    help: 'Events since the start by kind and level, also those that are no longer kept.',
    labels: ['kind', 'level'],
    *samples({ events }) {
      for (const { kind, level, count } of events) yield { labels: { kind, level }, value: count };
    },
  },
  by(
    'gauge',
    'loden_lease_state',
    '1 for the state the own lease is in: waiting, held or fenced; 0 for the others.',
    'state',
    ({ status }) => Object.fromEntries(LEASE_STATES.map((state) => [state, status.lease.state === state])),
  ),
  single(
    'gauge',
    'loden_lease_remaining_seconds',
    'Time until the own lease runs out unless it is kept alive; absent for a reservation and without a lease.',
    ({ status }) => status.lease.secondsLeft,
  ),
  single(
    'gauge',
    'loden_lease_ttl_seconds',
    'Time that the own lease is granted for at each keep-alive; absent for a reservation and without a lease.',
    ({ leaseTtl }) => leaseTtl,
  ),
  single(
    'gauge',
    'loden_lease_reservation',
    '1: the own lease is a reservation, which does not run out.',
    ({ status }) => status.lease.lease?.reservation,
  ),
  single(
    'gauge',
    'loden_store_connected',
    '1: etcd answers; 0: it does not, and the data path stays as it is.',
    ({ status }) => status.store.connected,
  ),
  {
    name: 'loden_store_requests_total',
    type: 'counter',
    help: 'Requests to etcd by method and result.',
    labels: ['method', 'result'],
    *samples({ requests }) {
      for (const [method, { ok, failed }] of requests) {
        yield { labels: { method, result: 'ok' }, value: ok };
        yield { labels: { method, result: 'error' }, value: failed };
      }
    },
  },
  {
    name: 'loden_store_request_duration_seconds',
    type: 'histogram',
    help: 'Time from sending a request to etcd to its answer or failure, by method.',
    labels: ['method'],
    *samples({ requests }) {
      for (const [method, counts] of requests) yield* histogram({ method }, REQUEST_BOUNDS, counts);
    },
  },
  single(
    'gauge',
    'loden_store_revision',
    'Revision of etcd at which the newest view of the leases stands.',
    ({ status }) => revision(status.store.revision),
  ),
  single(
    'gauge',
    'loden_kernel_revision',
    'Revision of the view that is in the kernel as a whole.',
    ({ status }) => revision(status.kernel.revision),
  ),
  single(
    'gauge',
    'loden_kernel_behind_seconds',
    'For how long a newer view has not been in the kernel; 0: the newest one is.',
    ({ behind }) => behind,
  ),
  single(
    'gauge',
    'loden_leases_set_aside',
    'Keys and values in etcd that cannot be read and are left alone.',
    ({ status }) => status.setAside,
  ),
];
