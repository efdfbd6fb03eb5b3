import { type Offload, type OffloadOptions, wantedOffload } from './offloadState.ts';

/**
 * What is done about a device whose packets arrive with wrong checksums while those that come with right ones arrive whole: the
 * kernel fills them in itself (tx checksum offload off), and it is seen whether that helps. Pure: state and event in, state
 * and effects out.
 *
 * | phase | the device's offload | what ends it |
 * |---|---|---|
 * | free | as it is | a path is reported corrupted → verifying; but if it is off already, or cannot be turned off: helpless. All has been well for long: the delay is forgotten |
 * | verifying | off | packets arrive whole now → off; they do not → undoing |
 * | off | off | its time is over, or another uplink, and there is somebody who would answer → trial |
 * | trial | on | packets arrive whole → free, with a longer delay; they do not → off for twice the time; nobody can tell → off for the same |
 * | undoing | on | the kernel has done it → helpless |
 * | helpless | as it is | its time is over, or another uplink → free |
 *
 * So what somebody else has turned off stays off: only what was turned off here is turned on again.
 */

export type OffloadEvent =
  /** What was found out about a path through the device. */
  | { readonly event: 'report'; readonly path: string; readonly checksum: 'unknown' | 'good' | 'corrupted' }
  /** After any look at the kernel, and before anything else. `on` undefined: there is no device, or it does not tell. */
  | { readonly event: 'kernel' }
  /** A check has ended: did packets arrive whole? */
  | {
      readonly event: 'checked';
      readonly check: number;
      readonly verdict: 'unknown' | 'good' | 'corrupted';
    }
  /** Peers are reached by another uplink now, or by the same one with others' addresses. */
  | { readonly event: 'uplink' }
  /** `ready`: is there somebody who would answer in a trial? */
  | { readonly event: 'tick'; readonly ready: boolean };

export type OffloadEffect =
  /** See whether packets on these paths arrive whole, now. */
  | { readonly effect: 'check'; readonly check: number; readonly paths: readonly string[] }
  | {
      readonly effect: 'tell';
      readonly what: 'turnedOff' | 'turnedOn' | 'stillCorrupted' | 'helpless';
      readonly reason?: string;
    };

/** Paths that are asked. */
const SUSPECTS = 3;

/** All that was in vain is forgotten after so many times the delay with the offload on, and nothing corrupted. */
const FORGOTTEN = 10;

type Next = { readonly state: Offload; readonly effects: readonly OffloadEffect[] };

const FOREVER = Number.POSITIVE_INFINITY;

/** `on`: what the device does now. */
export function offloadNext(
  state: Offload,
  event: OffloadEvent,
  on: boolean | undefined,
  now: number,
  options: OffloadOptions,
): Next {
  switch (event.event) {
    case 'report':
      return reported(state, event, on, now, options);
    case 'kernel':
      return inForce(state, on, now);
    case 'checked':
      if (event.check !== state.check) return stay(state);
      return checked({ ...state, check: 0 }, event.verdict, now, options);
    case 'uplink':
      return anew(state, now, options);
    case 'tick':
      return now < state.until ? stay(state) : due(state, { on, ready: event.ready }, now, options);
  }
}

const stay = (state: Offload): Next => ({ state, effects: [] });

function reported(
  state: Offload,
  { path, checksum }: { readonly path: string; readonly checksum: string },
  on: boolean | undefined,
  now: number,
  options: OffloadOptions,
): Next {
  if (checksum !== 'corrupted' || (state.phase !== 'free' && state.phase !== 'verifying')) return stay(state);
  const suspects = state.suspects.includes(path)
    ? state.suspects
    : [...state.suspects, path].slice(-SUSPECTS);
  if (state.phase === 'verifying') return stay(suspects === state.suspects ? state : { ...state, suspects });
  if (on === true) return stay({ ...state, phase: 'verifying', suspects, until: FOREVER });
  return helpless(
    { ...state, suspects },
    on === false
      ? 'the device leaves no checksums to fill in to anybody: its offload is off already'
      : 'this kernel does not tell what the device does about checksums',
    now,
    options,
  );
}

/** Told again in a while, and ever more seldom. */
function helpless(state: Offload, reason: string, now: number, { last }: OffloadOptions): Next {
  const delay = Math.min(2 * state.delay, last);
  return {
    state: { ...state, phase: 'helpless', until: now + state.delay, delay, reason, check: 0 },
    effects: [{ effect: 'tell', what: 'helpless', reason }],
  };
}

/** What is wanted is there: see what it does. */
function inForce(state: Offload, on: boolean | undefined, now: number): Next {
  const wanted = wantedOffload(state);
  if (wanted === undefined || on !== wanted || state.check !== 0 || state.until !== FOREVER)
    return stay(state);
  if (state.phase === 'undoing') return stay({ ...state, phase: 'helpless', until: now + state.delay });
  return checking(state);
}

function checking(state: Offload): Next {
  const check = state.checks + 1;
  return {
    state: { ...state, check, checks: check, until: FOREVER },
    effects: [{ effect: 'check', check, paths: state.suspects }],
  };
}

function checked(
  state: Offload,
  verdict: 'unknown' | 'good' | 'corrupted',
  now: number,
  { last, again }: OffloadOptions,
): Next {
  if (state.phase === 'verifying') {
    if (verdict === 'unknown') return stay({ ...state, until: now + again });
    if (verdict === 'good') {
      const { reason: _, ...rest } = state;
      return {
        state: { ...rest, phase: 'off', until: now + state.delay },
        effects: [{ effect: 'tell', what: 'turnedOff' }],
      };
    }
    const reason = "packets are corrupted, and not by this host's offload: it is on again";
    return {
      state: {
        ...state,
        phase: 'undoing',
        until: FOREVER,
        delay: Math.min(2 * state.delay, last),
        reason,
      },
      effects: [{ effect: 'tell', what: 'helpless', reason }],
    };
  }
  if (state.phase !== 'trial') return stay(state);
  if (verdict === 'good') {
    // Should it be turned off again soon, this was in vain.
    return {
      state: {
        ...released(state),
        until: now + FORGOTTEN * state.delay,
        delay: Math.min(2 * state.delay, last),
      },
      effects: [{ effect: 'tell', what: 'turnedOn' }],
    };
  }
  const delay = verdict === 'corrupted' ? Math.min(2 * state.delay, last) : state.delay;
  return {
    state: { ...state, phase: 'off', until: now + delay, delay },
    effects: verdict === 'corrupted' ? [{ effect: 'tell', what: 'stillCorrupted' }] : [],
  };
}

function anew(state: Offload, now: number, { first }: OffloadOptions): Next {
  if (state.phase === 'off') return stay({ ...state, until: now, delay: first });
  return state.phase === 'helpless' ? stay(released({ ...state, delay: first })) : stay(state);
}

function released({ reason: _, ...state }: Offload): Offload {
  return { ...state, phase: 'free', until: FOREVER, suspects: [] };
}

function due(
  state: Offload,
  { on, ready }: { readonly on: boolean | undefined; readonly ready: boolean },
  now: number,
  { first, again }: OffloadOptions,
): Next {
  switch (state.phase) {
    case 'free':
      return stay({ ...state, until: FOREVER, delay: first });
    case 'off':
      return stay(ready ? { ...state, phase: 'trial', until: FOREVER } : { ...state, until: now + again });
    case 'helpless':
      return stay(released(state));
    case 'verifying':
      return inForce({ ...state, until: FOREVER }, on, now);
    default:
      return stay(state);
  }
}
