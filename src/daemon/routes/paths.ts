import type { PathJson } from '../../api/shapes.ts';
import { formatAddr } from '../../net/addr.ts';
import { type PathReport, pathKey } from '../../probe/types.ts';
import type { Reactions } from '../reactions/reactions.ts';

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
