import { RTT_BOUNDS } from '../probe/types.ts';
import { histogram } from './exposition.ts';
import { by, type ScrapeMetric, single } from './scrape.ts';

/** Peers and the paths to them. Never a label for a peer: thousands of nodes with thousands of peers would be millions of series. */
export const PEER_METRICS: readonly ScrapeMetric[] = [
  single(
    'gauge',
    'loden_peers',
    'Leases of other nodes in the view that is carried out.',
    ({ status }) => status.peers,
  ),
  single(
    'gauge',
    'loden_peers_refused',
    'Peers that are not served, as a whole or in one family; `loden peers` says why.',
    ({ refused }) => refused,
  ),
  by(
    'gauge',
    'loden_peers_by_health',
    'Peers by the worst of their paths: unprobed, reachable, lossy or unreachable.',
    'health',
    ({ status: { paths } }) => ({
      unprobed: paths.unprobed,
      reachable: paths.reachable,
      lossy: paths.lossy,
      unreachable: paths.unreachable,
    }),
  ),
  single(
    'gauge',
    'loden_peers_lowered_mtu',
    'Peers whose routes have a lowered MTU, because full-size packets were lost on the way.',
    ({ status }) => status.paths.lowered,
  ),
  single(
    'counter',
    'loden_probes_sent_total',
    'Probes sent through the tunnel, small and full-size.',
    ({ probes }) => probes?.sent,
  ),
  single('counter', 'loden_probes_received_total', 'Answers to probes.', ({ probes }) => probes?.received),
  single(
    'counter',
    'loden_probes_lost_total',
    'Probes that nobody answered in time.',
    ({ probes }) => probes?.lost,
  ),
  {
    name: 'loden_probe_rtt_seconds',
    type: 'histogram',
    help: "Round trips of small probes through the tunnel, by the kernel's own timestamps.",
    labels: [],
    samples: ({ probes }) => (probes ? histogram({}, RTT_BOUNDS, probes.rtt) : []),
  },
  by(
    'gauge',
    'loden_checksum_offload',
    "1 for the state of the device's tx checksum offload: on, or off because it corrupted packets.",
    'state',
    ({ checksumOffload }) =>
      checksumOffload === null ? {} : { on: checksumOffload === 'on', off: checksumOffload === 'off' },
  ),
];
