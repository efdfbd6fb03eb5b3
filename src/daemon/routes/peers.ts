import type { PathJson, PeerJson, TrafficJson } from '../../api/shapes.ts';
import { slotName } from '../../backends/udp/table.ts';
import type { Forwarder } from '../../forwarder/forwarder.ts';
import { formatPrefix } from '../../net/prefix.ts';
import { leaseJson } from '../../subnet/json.ts';
import { compareLeases, type Lease } from '../../subnet/types.ts';
import { isUnclaimed } from '../../subnet/unclaimed.ts';
import { flag } from '../http/query.ts';
import type { Route } from '../http/route.ts';
import { isPeer } from '../overlay.ts';
import { sortedInSteps } from '../sorted.ts';
import type { RouteParts } from './parts.ts';
import { pathJson } from './paths.ts';

type Parts = Pick<RouteParts, 'daemon' | 'probing' | 'reactions' | 'traffic' | 'forwarder'>;

/** What the udp backend's forwarder has counted, by a peer's first prefix: all of it read at once. */
function forwarded({ table, native }: Forwarder): (lease: Lease) => TrafficJson | null {
  if (!table || !native) return () => null;
  const counts = native.peerCounters(Uint32Array.from(table.peers, (p) => p.slot));
  const at = new Map(table.peers.map((peer, i) => [slotName(peer), 4 * i]));
  return ({ subnets }) => {
    const from = subnets.map((s) => at.get(formatPrefix(s))).find((i) => i !== undefined);
    if (from === undefined) return null;
    const [outPackets, outBytes, inPackets, inBytes] = Array.from(counts.subarray(from, from + 4), Number);
    return { outPackets: outPackets!, outBytes: outBytes!, inPackets: inPackets!, inBytes: inBytes! };
  };
}

function peerJson(lease: Lease, parts: Parts, ofForwarder: (lease: Lease) => TrafficJson | null): PeerJson {
  const { daemon, probing, reactions, traffic } = parts;
  const { key, publicIP, publicIPv6, backend, data, dataV6, node, reservation } = leaseJson(lease, false);
  const paths: PathJson[] = [];
  for (const family of [4, 6] as const) {
    const report = probing.paths.get(`${key} ${family}`);
    if (report) paths.push(pathJson(report, reactions));
  }
  return {
    key,
    subnets: lease.subnets.map(formatPrefix),
    publicIP,
    publicIPv6,
    backend: backend ?? daemon.network?.backend.type ?? '',
    data,
    dataV6,
    node,
    reservation,
    unclaimed: isUnclaimed(lease, daemon.network?.network),
    problem: daemon.refusedPeers.get(lease.key) ?? null,
    paths,
    traffic: ofForwarder(lease) ?? traffic.of(lease.key),
  };
}

/** Everybody else's lease as it is served here, in order, in pieces: some 5,000 make 2 MB. */
function* peersText(parts: Parts): Generator<string> {
  const { asked } = parts.daemon;
  const ofForwarder = forwarded(parts.forwarder);
  yield `{"revision":"${asked?.served.revision ?? 0}","at":"${new Date().toISOString()}","peers":[`;
  const peers: Lease[] = [];
  if (asked) {
    for (const lease of asked.served.leases.values()) if (isPeer(lease, asked.held)) peers.push(lease);
  }
  let comma = '';
  for (const lease of yield* sortedInSteps(peers, compareLeases)) {
    yield `${comma}\n${JSON.stringify(peerJson(lease, parts, ofForwarder))}`;
    comma = ',';
  }
  yield ']}\n';
}

/**
 * `GET /v1/peers`. Packets are counted, by rules in the kernel, while somebody wants to know: `?traffic=true`, which the socket's readers
 * mean unless they say otherwise. Other readers are told what is counted anyway.
 */
export const peerRoutes = (parts: Parts): Route[] => [
  {
    method: 'GET',
    path: '/v1/peers',
    audience: 'anyone',
    handle: async ({ query, local }) => {
      await parts.traffic.refresh(flag(query, 'traffic') ?? local);
      return { pieces: peersText(parts) };
    },
  },
];
