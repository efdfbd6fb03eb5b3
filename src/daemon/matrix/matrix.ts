import type { MatrixJson } from '../../api/matrix.ts';
import { compareLeases, type Lease } from '../../subnet/types.ts';
import { isUnclaimed } from '../../subnet/unclaimed.ts';
import type { Daemon } from '../daemon.ts';
import { isPeer } from '../overlay.ts';
import type { RouteParts } from '../routes/parts.ts';
import { sortedInSteps } from '../sorted.ts';
import type { Gatherer, MatrixNode } from './gather.ts';
import { peerCell } from './row.ts';

/** Nodes of the matrix at most, the first by subnet: 4 MB of cells. */
export const MOST_NODES = 2_000;
/** Nodes that are looked at between two pauses. */
const STEP = 256;

type Parts = Pick<RouteParts, 'probing' | 'reactions'> & {
  readonly daemon: Pick<Daemon, 'asked' | 'refusedPeers'>;
};

/** Ourselves and the peers that are served. */
function leasesOf({ asked, refusedPeers }: Parts['daemon']): Lease[] {
  const all: Lease[] = [];
  if (!asked) return all;
  all.push(asked.held);
  for (const lease of asked.served.leases.values()) {
    if (
      isPeer(lease, asked.held) &&
      !refusedPeers.has(lease.key) &&
      !isUnclaimed(lease, asked.network.network)
    )
      all.push(lease);
  }
  return all;
}

/** Where a peer's daemon is asked: where it is probed. */
const addrOf = (key: string, { paths }: Parts['probing']): MatrixNode['addr'] =>
  (paths.get(`${key} 4`) ?? paths.get(`${key} 6`))?.target.addr;

/** Our own row, as it is now. */
function* ownRow(self: string, nodes: readonly MatrixNode[], parts: Parts): Generator<'', string> {
  let row = '';
  for (const { key } of nodes) {
    row += key === self ? '-' : peerCell(key, parts.probing, parts.reactions);
    if (row.length % STEP === 0) yield '';
  }
  return row;
}

/** `GET /v1/matrix` as JSON text, in pieces: a megabyte among 1,000. Each question keeps the gathering of others' rows going. */
export function* matrixText(parts: Parts, gatherer: Gatherer): Generator<string> {
  const { probing } = parts;
  const self = parts.daemon.asked?.held.key;
  const leases = yield* sortedInSteps(leasesOf(parts.daemon), compareLeases);
  const nodes: MatrixNode[] = [];
  for (const { key } of leases.slice(0, MOST_NODES)) {
    nodes.push({ key, self: key === self, addr: addrOf(key, probing) });
    if (nodes.length % STEP === 0) yield '';
  }
  gatherer.want(nodes);
  const columns = gatherer.rows.columns(nodes.map(({ key }) => key));
  yield `{"omitted":${leases.length - nodes.length},"nodes":[`;
  for (const [i, node] of nodes.entries()) {
    const { at, error } = node.self ? { at: Date.now(), error: undefined } : gatherer.about(node.key);
    const json: MatrixJson['nodes'][number] = {
      key: node.key,
      self: node.self,
      row: node.self ? yield* ownRow(node.key, nodes, parts) : gatherer.rows.text(node.key, columns),
      at: at === undefined ? null : new Date(at).toISOString(),
      error: error ?? null,
    };
    yield `${i === 0 ? '' : ','}\n${JSON.stringify(json)}`;
  }
  yield ']}\n';
}
