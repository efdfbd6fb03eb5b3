import type { PathReport } from './types.ts';

/** What answers and losses of probes mean. Pure; a value for each of the three things that are asked. */

/** Small probes that are remembered. */
export const WINDOW = 20;
/** So many lost one after the other: unreachable. */
export const DOWN = 4;
/** So many answered one after the other: reachable again. */
export const UP = 2;
/** Losses among the last {@link WINDOW} from which on a path is lossy, if they are a tenth; with fewer it is so no longer. */
export const LOSSY = 2;

/** The last small probes to a path. */
export interface SmallProbes {
  /** A bit for each, the last is the lowest; 1: answered. */
  readonly bits: number;
  readonly sent: number;
  readonly health: PathReport['health'];
}

export const NO_PROBES: SmallProbes = { bits: 0, sent: 0, health: 'unprobed' };

/** How many of the last were lost. */
export function lostOf(s: SmallProbes): number {
  let lost = s.sent;
  for (let bits = s.bits; bits !== 0; bits &= bits - 1) lost--;
  return lost;
}

/** Are the last `n` all there, and all lost (0) or answered (1)? */
const lastAre = (s: Pick<SmallProbes, 'bits' | 'sent'>, n: number, bit: 0 | 1): boolean =>
  s.sent >= n && (s.bits & ((1 << n) - 1)) === (bit === 0 ? 0 : (1 << n) - 1);

export function afterSmall(s: SmallProbes, answered: boolean): SmallProbes {
  const bits = ((s.bits << 1) | (answered ? 1 : 0)) & ((1 << WINDOW) - 1);
  const sent = Math.min(s.sent + 1, WINDOW);
  const now = { bits, sent, health: s.health };
  if (lastAre(now, DOWN, 0)) return { ...now, health: 'unreachable' };
  if (s.health === 'unreachable' || (s.health === 'unprobed' && bits !== (1 << sent) - 1)) {
    // What was lost while it was away, or not yet there, says nothing about the path as it is now.
    return lastAre(now, UP, 1) ? { bits: (1 << UP) - 1, sent: UP, health: 'reachable' } : now;
  }
  // It may be the first of many, or one of few: the next tell.
  if (!answered) return now;
  const lost = lostOf(now);
  if (lost >= LOSSY && lost * 10 >= sent) return { ...now, health: 'lossy' };
  if (s.health === 'lossy' && lost >= LOSSY) return now;
  return { ...now, health: 'reachable' };
}

/** Is the last answer no reason for a verdict yet, so that it is to be asked again at once? */
export function isOpen(s: SmallProbes): boolean {
  if (s.sent === 0) return true;
  const answered = (s.bits & 1) === 1;
  if (s.health === 'unreachable') return answered;

  if (!answered) return !lastAre(s, DOWN, 0);
  return s.sent >= UP && (s.bits & ((1 << UP) - 1)) !== (1 << UP) - 1;
}

/** Full-size probes lost in a row, while small ones pass, before large packets are taken for lost. */
export const FULL_LOST = 3;
/** Answered in a row before a path that lost them is taken for whole. */
export const FULL_PASSES = 2;

export interface FullSize {
  readonly verdict: PathReport['fullSize'];
  readonly pathMtu: number | undefined;
  /** Monotonic milliseconds; undefined: not judged yet. */
  readonly at: number | undefined;
}

export const NO_FULL_SIZE: FullSize = { verdict: 'unknown', pathMtu: undefined, at: undefined };

/** So many times the complete checksum arrived and the one left to the device did not, one after the other: it is the device. */
export const CORRUPTED = 3;
/** So many times neither did: it cannot be told. */
export const SILENT = 3;

export interface Checksum {
  readonly verdict: PathReport['checksum'];
  /** How often in a row only the complete one arrived. */
  readonly suspicions: number;
  /** How often in a row neither did. */
  readonly silences: number;
}

export const NO_CHECKSUM: Checksum = { verdict: 'unknown', suspicions: 0, silences: 0 };

/** `complete` undefined: it was not asked, for the other was answered. */
export function afterChecksum(c: Checksum, left: boolean, complete: boolean | undefined): Checksum {
  if (left) return { verdict: 'good', suspicions: 0, silences: 0 };
  if (complete) {
    const suspicions = Math.min(c.suspicions + 1, CORRUPTED);
    return { verdict: suspicions >= CORRUPTED ? 'corrupted' : c.verdict, suspicions, silences: 0 };
  }
  const silences = Math.min(c.silences + 1, SILENT);
  return { verdict: silences >= SILENT ? 'unknown' : c.verdict, suspicions: 0, silences };
}

/** Is it suspected, and neither proved nor refuted? */
export const isSuspected = (c: Checksum): boolean => c.suspicions > 0 && c.suspicions < CORRUPTED;

/** Is something wrong, so that it is asked in each round? */
export const isTroubled = (s: SmallProbes, f: FullSize, c: Checksum): boolean =>
  s.health === 'lossy' ||
  s.health === 'unreachable' ||
  f.verdict === 'lost' ||
  c.verdict === 'corrupted' ||
  isSuspected(c);
