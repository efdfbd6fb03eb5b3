import type { PathHealth, StatusJson } from '../api/shapes.ts';
import type { Probing } from '../probe/types.ts';
import type { Reactions } from './reactions/reactions.ts';

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
