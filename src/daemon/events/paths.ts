import { formatAddr } from '../../net/addr.ts';
import type { PathReport } from '../../probe/types.ts';
import type { Happening } from './log.ts';

const LEVEL = { unprobed: 'info', reachable: 'info', lossy: 'warn', unreachable: 'warn' } as const;

/** What has become of the path to a peer. That it is reachable is news only when it was not. */
export function pathHappenings(before: PathReport | undefined, now: PathReport): Happening[] {
  const was = before?.health ?? 'unprobed';
  const { health, target } = now;
  if (health === was || health === 'unprobed' || (health === 'reachable' && was === 'unprobed')) return [];
  const words = {
    reachable: 'is reachable again',
    lossy: `loses packets: ${now.lost} of the last ${now.sent}`,
    unreachable: 'does not answer',
  };
  return [
    {
      level: LEVEL[health],
      kind: 'path',
      subject: target.key,
      message: `${target.key}: ${formatAddr(target.addr)} ${words[health]}${now.error === undefined ? '' : ` (${now.error})`}`,
      fields: { family: target.family, from: was, to: health },
    },
  ];
}
