/** When to ask again. */

export interface Turn {
  /** Milliseconds between questions when all is well. */
  readonly every: number;
  /** Milliseconds the last answer took. */
  readonly took: number;
  /** Failures in a row. */
  readonly failures: number;
  /** 0…1, to spread pages that lost one daemon at one moment. */
  readonly random: number;
}

/** Milliseconds at most between questions to a daemon that does not answer. */
export const LONGEST = 30_000;

/** A busy daemon is asked less often; one that does not answer ever less, up to {@link LONGEST}. */
export function delay({ every, took, failures, random }: Turn): number {
  if (failures === 0) return Math.max(every, Math.min(took * 20, LONGEST));
  const wait = Math.min(LONGEST, Math.min(every, 1_000) * 2 ** (failures - 1));
  return wait * (0.75 + random / 2);
}

/** Milliseconds from an answer until the next question when something is known to have happened: hints come in flocks. */
export const hurry = (took: number): number => Math.max(1_000, Math.min(took * 5, LONGEST));

/** Data older than this (ms) is marked as stale. */
export const staleAfter = (every: number): number => Math.max(10_000, every * 3);
