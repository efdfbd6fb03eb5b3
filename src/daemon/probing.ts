import { NO_PROBING } from '../probe/none.ts';
import { Prober } from '../probe/prober.ts';
import type { PathReport, Probing } from '../probe/types.ts';
import { Damper } from './events/damper.ts';
import type { Note } from './events/log.ts';
import { pathHappenings } from './events/paths.ts';
import type { Logger } from './log.ts';

export interface ProbingParts {
  readonly log: Pick<Logger, 'warn' | 'info'>;
  readonly note: Note;
  /** Milliseconds between rounds; 0: none. */
  readonly interval: number;
  /** Called with each report that tells something new. */
  readonly heard: (report: PathReport) => void;
}

/** Whoever probes. Where it cannot be done that is told, and all else goes on. */
export function openProbing({ log, note, interval, heard }: ProbingParts): Probing {
  if (interval === 0) return NO_PROBING;
  const words = (_: string, count: number): string =>
    `${count} more changes of paths; \`loden peers\` shows how each stands`;
  // The log too: thousands of lines at once help nobody.
  const tell: Note = (...told) => {
    for (const { level, message, subject } of told)
      log[level === 'info' ? 'info' : 'warn'](subject ? { peer: subject } : {}, message);
    note(...told);
  };
  const damper = new Damper(tell, { words });
  try {
    return new Prober({
      interval,
      onReport: (now, before) => {
        damper.note(...pathHappenings(before, now));
        heard(now);
      },
    });
  } catch (err) {
    log.warn({ err }, 'paths to peers cannot be probed');
    note({
      level: 'warn',
      kind: 'daemon',
      message: `paths to peers cannot be probed: ${(err as Error).message}`,
    });
    return NO_PROBING;
  }
}
