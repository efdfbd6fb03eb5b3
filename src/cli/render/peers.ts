import type { PathJson, PeerJson, PeersJson, TrafficJson } from '../../api/shapes.ts';
import { isObject } from '../../fields.ts';
import { parsePrefix } from '../../net/prefix.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import {
  bytes,
  type Cell,
  type Columns,
  cell,
  count,
  fitting,
  leftOutWords,
  milliseconds,
} from '../render.ts';

/** What may be wrong with a peer, the worst first. */
const TROUBLES = [
  'unreachable',
  'lossy',
  'full-size lost',
  'lowered',
  'corrupted',
  'not served',
  'none',
] as const;
export type Trouble = (typeof TROUBLES)[number];

function troubleOfPath(path: PathJson): Trouble {
  if (path.health === 'unreachable') return 'unreachable';
  if (path.health === 'lossy') return 'lossy';
  // What the route was lowered for is no hole any more.
  if (path.routeMtu !== null) return 'lowered';
  if (path.fullSize === 'lost') return 'full-size lost';
  if (path.checksum === 'corrupted') return 'corrupted';
  return 'none';
}

/** The worst of a peer. */
export function troubleOf(peer: PeerJson): Trouble {
  const all: Trouble[] = peer.paths.map(troubleOfPath);
  if (peer.problem !== null) all.push('not served');
  return TROUBLES.find((t) => all.includes(t)) ?? 'none';
}

/** Those in trouble first, the worst of them on top; then by subnet, which is the order the daemon gives. */
export const byTrouble = (peers: readonly PeerJson[]): PeerJson[] =>
  peers.toSorted((a, b) => TROUBLES.indexOf(troubleOf(a)) - TROUBLES.indexOf(troubleOf(b)));

const COLUMNS: Columns = {
  titles: ['SUBNET', 'ENDPOINT', 'PATH', 'RTT', 'LOSS', 'MTU', 'OUT', 'IN', 'BACKEND DATA'],
  leftOut: ['BACKEND DATA', 'IN', 'OUT', 'MTU', 'LOSS', 'RTT'],
  cut: 'PATH',
};

/** `loden peers`: one row for each subnet of each peer. `columns`: of the terminal; `before`: an earlier answer, for rates. */
export function renderPeers(answer: PeersJson, paint: Paint, columns?: number, before?: PeersJson): string {
  const sorted = byTrouble(answer.peers);
  const seconds = before ? (Date.parse(answer.at) - Date.parse(before.at)) / 1000 : 0;
  const earlier = new Map(before?.peers.map((p) => [p.key, p.traffic]));
  const rows = sorted.flatMap((peer) => peerRows(peer, paint, rates(peer, earlier.get(peer.key), seconds)));
  const notes = sorted
    .filter(({ problem }) => problem !== null)
    .map(
      ({ subnets, problem }) =>
        `${paint.warn('not served')}: ${printable(subnets.join(', '))}: ${printable(problem ?? '')}\n`,
    );
  const errors = sorted.flatMap(({ paths }) =>
    paths
      .filter(({ error }) => error !== null)
      .map(
        ({ target, error }) => `${paint.bad('probe')} of ${printable(target)}: ${printable(error ?? '')}\n`,
      ),
  );
  const troubled = sorted.filter((p) => troubleOf(p) !== 'none').length;
  const words = troubled === 0 ? '' : `, ${paint.warn(`${troubled} in trouble`)}`;
  const title = `${count(answer.peers.length, 'peer')} at revision ${printable(answer.revision)}${words}\n`;
  const { text, without } = fitting(COLUMNS, rows, paint.strong, columns);
  return [rows.length > 0 ? text + leftOutWords(without) : '', title, ...notes, ...errors].join('');
}

/** Of one peer: bytes since counting began, or by the second when there is an earlier count. */
interface Rates {
  readonly out: string;
  readonly in: string;
}

function rates({ traffic }: PeerJson, earlier: TrafficJson | null | undefined, seconds: number): Rates {
  if (!traffic) return { out: '-', in: '-' };
  const one = (of: 'outBytes' | 'inBytes'): string =>
    earlier && seconds > 0 && traffic[of] >= earlier[of]
      ? `${bytes((traffic[of] - earlier[of]) / seconds)}/s`
      : bytes(traffic[of]);
  return { out: one('outBytes'), in: one('inBytes') };
}

function peerRows(peer: PeerJson, paint: Paint, { out, in: into }: Rates): Cell[][] {
  const endpoints = endpointsOf(peer);
  const rows = Array.from({ length: Math.max(peer.subnets.length, endpoints.length) });
  return rows.map((_, i) => {
    const subnet = peer.subnets[i] ?? '';
    const family = parsePrefix(subnet)?.addr.family;
    const path = peer.paths.find((p) => p.family === family);
    const data = family === 6 ? peer.dataV6 : peer.data;
    return [
      cell(subnet),
      endpoints[i] ?? '',
      pathCell(peer, path, paint),
      path?.rtt == null ? '-' : milliseconds(path.rtt),
      lossCell(path, paint),
      mtuCell(path, paint),
      i === 0 ? out : '',
      i === 0 ? into : '',
      { text: dataWords(data), as: paint.faint },
    ];
  });
}

/** Of IPv4 and of IPv6, as the subnets are. */
function endpointsOf({ publicIP, publicIPv6 }: PeerJson): readonly string[] {
  const found = [publicIP, publicIPv6].filter((a) => a !== null).map((a) => cell(a));
  return found.length > 0 ? found : ['-'];
}

function pathCell(peer: PeerJson, path: PathJson | undefined, paint: Paint): Cell {
  if (peer.unclaimed) return { text: 'reserved', as: paint.faint };
  if (!path) return peer.problem === null ? '-' : { text: 'not served', as: paint.warn };
  const trouble = troubleOfPath(path);
  if (trouble === 'none')
    return path.health === 'reachable'
      ? { text: 'reachable', as: paint.good }
      : { text: 'unprobed', as: paint.faint };
  return { text: trouble, as: trouble === 'unreachable' ? paint.bad : paint.warn };
}

function lossCell(path: PathJson | undefined, paint: Paint): Cell {
  if (!path || path.sent === 0) return '-';
  const text = `${Math.round((path.lost / path.sent) * 100)}%`;
  return path.lost === 0 ? text : { text, as: path.health === 'unreachable' ? paint.bad : paint.warn };
}

/** Of the path; behind it what the route was lowered to. */
function mtuCell(path: PathJson | undefined, paint: Paint): Cell {
  if (!path || (path.pathMtu === null && path.routeMtu === null)) return '-';
  if (path.routeMtu !== null) return { text: `${path.routeMtu} lowered`, as: paint.warn };
  return String(path.pathMtu);
}

/** What peers must know of it: the MAC of its vxlan device, else the JSON. */
function dataWords(data: unknown): string {
  if (data === null || data === undefined) return '-';
  if (isObject(data) && typeof data.VtepMAC === 'string') {
    const vni = typeof data.VNI === 'number' && data.VNI !== 1 ? ` VNI ${data.VNI}` : '';
    return cell(`${data.VtepMAC}${vni}`, 30);
  }
  return cell(JSON.stringify(data), 30);
}
