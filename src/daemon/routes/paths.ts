import type { PathHealth, PathJson, StatusJson } from '../../api/shapes.ts';
import { formatAddr } from '../../net/addr.ts';
import { type PathReport, type Probing, pathKey } from '../../probe/types.ts';
import type { Reactions } from './parts.ts';

const rounded = (ms: number | undefined): number | null =>
  ms === undefined ? null : Math.round(ms * 1000) / 1000;

/** What is known of a path, as the API shows it. */
export function pathJson(report: PathReport, reactions: Pick<Reactions, 'routeMtu'>): PathJson {
  const { target } = report;
  return {
    key: target.key,
    family: target.family,
    target: formatAddr(target.addr),
    health: report.health,
    at: report.at === undefined ? null : new Date(report.at).toISOString(),
    rtt: rounded(report.rtt),
    leastRtt: rounded(report.leastRtt),
    sent: report.sent,
    lost: report.lost,
    fullSize: report.fullSize,
    pathMtu: report.pathMtu ?? null,
    routeMtu: reactions.routeMtu(pathKey(target)) ?? null,
    checksum: report.checksum,
    error: report.error ?? null,
  };
}

const SEVERITY: readonly PathHealth[] = ['unreachable', 'lossy', 'unprobed', 'reachable'];

/** Peers by the worst of their paths, and how many have a route that was lowered. One pass over all of them: some milliseconds among 5,000. */
export function countPaths(
  { paths }: Pick<Probing, 'paths'>,
  reactions: Pick<Reactions, 'routeMtu'>,
): StatusJson['paths'] {
  const counts = { unprobed: 0, reachable: 0, lossy: 0, unreachable: 0, lowered: 0 };
  const seen = new Map<string, PathHealth>();
  const lowered = new Set<string>();
  for (const [path, { target, health }] of paths) {
    const other = seen.get(target.key);
    if (other === undefined || SEVERITY.indexOf(health) < SEVERITY.indexOf(other))
      seen.set(target.key, health);
    if (reactions.routeMtu(path) !== undefined) lowered.add(target.key);
  }
  for (const health of seen.values()) counts[health]++;
  return { ...counts, lowered: lowered.size };
}
