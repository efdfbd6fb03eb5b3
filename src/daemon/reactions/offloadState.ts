/** How a device stands whose checksums may be corrupted; what becomes of it: {@link offloadNext}. */
export interface Offload {
  readonly phase: 'free' | 'verifying' | 'off' | 'trial' | 'undoing' | 'helpless';
  /** Monotonic milliseconds at which a phase ends by itself, or is looked into again. */
  readonly until: number;
  /** Milliseconds until the next attempt, in whatever direction. */
  readonly delay: number;
  /** Paths whose packets were corrupted last: they are asked whether it is better. At most {@link SUSPECTS}. */
  readonly suspects: readonly string[];
  /** A check is under way; its number, so that an old one's result is not taken for it. 0: none. */
  readonly check: number;
  /** Of the last check. */
  readonly checks: number;
  /** Why nothing can be done, in words. */
  readonly reason?: string;
}

export interface OffloadOptions {
  /** Milliseconds for which it stays off at first; doubled each time turning it on was in vain. */
  readonly first: number;
  readonly last: number;
  /** Milliseconds after which a check that nobody could answer is made again; until a trial is thought of again that nobody could. */
  readonly again: number;
}

export const freeOffload = ({ first }: OffloadOptions): Offload => ({
  phase: 'free',
  until: Number.POSITIVE_INFINITY,
  delay: first,
  suspects: [],
  check: 0,
  checks: 0,
});

/** Turned off by a daemon that has ended; tried anew after the first time. */
export const restoredOffload = (
  { suspects, delay }: Pick<Offload, 'suspects' | 'delay'>,
  options: OffloadOptions,
  now: number,
): Offload => ({
  ...freeOffload(options),
  phase: 'off',
  until: now + options.first,
  delay: Math.min(Math.max(delay, options.first), options.last),
  suspects,
});

/** Turned off by a daemon that has ended, and now nobody is there to see whether that is still needed. */
export const unattendedOffload = (options: OffloadOptions): Offload => ({
  ...freeOffload(options),
  phase: 'undoing',
});

/** How the device's offload shall be; undefined: as it is. */
export function wantedOffload({ phase }: Offload): boolean | undefined {
  if (phase === 'verifying' || phase === 'off') return false;
  return phase === 'trial' || phase === 'undoing' ? true : undefined;
}

/** Is it off, or being changed, on our account? To be remembered, so that a later daemon undoes it. */
export const isOurs = (state: Offload): boolean => wantedOffload(state) !== undefined;
