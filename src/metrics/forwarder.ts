import type { Sample } from './exposition.ts';
import type { Scrape, ScrapeMetric } from './scrape.ts';

/** Both directions of one counter; nothing unless packets are forwarded in user space. */
const both =
  (out: string, into: string) =>
  ({ forwarder }: Scrape): Sample[] =>
    forwarder
      ? [
          { labels: { direction: 'out' }, value: forwarder.counters[out] ?? 0 },
          { labels: { direction: 'in' }, value: forwarder.counters[into] ?? 0 },
        ]
      : [];

const directed = (name: string, help: string, out: string, into: string): ScrapeMetric => ({
  name,
  type: 'counter',
  help,
  labels: ['direction'],
  samples: both(out, into),
});

/** The forwarder of the udp backend. Its counters go on across restarts of the daemon. */
export const FORWARDER_METRICS: readonly ScrapeMetric[] = [
  {
    name: 'loden_forwarder_running',
    type: 'gauge',
    help: '1: packets are forwarded; absent unless the backend forwards in user space (udp).',
    labels: [],
    samples: ({ forwarder }) => (forwarder ? [{ value: Number(forwarder.running) }] : []),
  },
  directed(
    'loden_forwarder_packets_total',
    'Inner packets forwarded, out to peers and in from them.',
    'out_packets',
    'in_packets',
  ),
  directed('loden_forwarder_bytes_total', 'Bytes of inner packets forwarded.', 'out_bytes', 'in_bytes'),
  directed(
    'loden_forwarder_datagrams_total',
    'Messages sent to and received from the socket; one holds many packets.',
    'out_trains',
    'in_datagrams',
  ),
  directed('loden_forwarder_system_calls_total', 'System calls on the socket.', 'out_calls', 'in_calls'),
  {
    name: 'loden_forwarder_dropped_packets_total',
    type: 'counter',
    help: 'Packets dropped by direction and reason (docs/forwarder.md); reasons that never occurred are absent.',
    labels: ['direction', 'reason'],
    *samples({ forwarder }): Generator<Sample> {
      for (const direction of ['out', 'in'] as const) {
        for (const [reason, value] of Object.entries(forwarder?.drops[direction] ?? {}))
          yield { labels: { direction, reason }, value };
      }
    },
  },
];
