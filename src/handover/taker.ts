import { VERSION } from '../contract.ts';
import type { Manifest } from './manifest.ts';
import { against, type Message, type Place, PROTOCOL, type Refusal, refusal } from './protocol.ts';

/** How a takeover ends. */
export type TakerOutcome =
  /** There is nobody any more, and nothing was received: start as after a kill -9. */
  | { readonly kind: 'alone'; readonly why: string }
  /** The other one is gone, in order or not; with a bundle this one forwards already. */
  | { readonly kind: 'taken'; readonly bundle: boolean }
  /** The other one goes on: this one must end. */
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** The new daemon's side as a pure machine. */
export type TakerState =
  /** Our hello is sent. */
  | { readonly at: 'greeting' }
  /** What is needed to forward is being loaded. */
  | { readonly at: 'preparing' }
  /** We said `give`. */
  | { readonly at: 'asking' }
  /** `have` of the manifest's descriptors have come. */
  | { readonly at: 'collecting'; readonly manifest: Manifest; readonly have: number }
  /** Forwarding is being started. `heard`: what came meanwhile. */
  | { readonly at: 'starting'; readonly heard?: 'gone' | Refusal }
  /** We forward (`bundle`), and wait for the other one's end. */
  | { readonly at: 'finishing'; readonly bundle: boolean }
  | { readonly at: 'done'; readonly outcome: TakerOutcome };

export type TakerEvent =
  | { readonly type: 'prepared' }
  | { readonly type: 'notPrepared'; readonly reason: string }
  /** `descriptors`: how many came with it. Undefined: something that is no message. */
  | { readonly type: 'message'; readonly message: Message | undefined; readonly descriptors: number }
  | { readonly type: 'gone' }
  | { readonly type: 'started' }
  | { readonly type: 'notStarted'; readonly reason: string }
  /** The time for this state is over ({@link TAKER_DEADLINES}). */
  | { readonly type: 'deadline' };

export type TakerAction =
  | { readonly do: 'send'; readonly message: Message }
  | { readonly do: 'prepare' }
  /** Keep the descriptors of this message behind those kept before; those of all other messages are closed. */
  | { readonly do: 'keep' }
  /** Forward by the manifest and what was kept; answered by `started` or `notStarted`. */
  | { readonly do: 'start'; readonly manifest: Manifest }
  /** Stop what was started. */
  | { readonly do: 'stop' }
  /** Close what was kept. */
  | { readonly do: 'discard' }
  | { readonly do: 'close' };

/** Milliseconds in a state. */
export const TAKER_DEADLINES: Readonly<Partial<Record<TakerState['at'], number>>> = {
  greeting: 5_000,
  asking: 5_000,
  collecting: 5_000,
};

type Step = readonly [TakerState, readonly TakerAction[]];

export const newTaker = (place: Place): Step => [
  { at: 'greeting' },
  [{ do: 'send', message: { type: 'hello', protocol: PROTOCOL, version: VERSION, place } }],
];

const done = (outcome: TakerOutcome, ...actions: TakerAction[]): Step => [
  { at: 'done', outcome },
  [...actions, { do: 'close' }],
];

const refused = (why: Refusal, ...actions: TakerAction[]): Step =>
  done({ kind: 'refused', refusal: why }, ...actions);

/** We refuse, and say so. */
const refuse = (why: Refusal, ...actions: TakerAction[]): Step =>
  refused(why, ...actions, { do: 'send', message: why });

/** What an event makes of a state. */
export function taker(place: Place, state: TakerState, event: TakerEvent): Step {
  if (state.at === 'done') return [state, []];
  switch (event.type) {
    case 'message':
      return onMessage(place, state, event.message, event.descriptors);
    case 'gone':
      return onGone(state);
    case 'deadline':
      if (TAKER_DEADLINES[state.at] === undefined) return [state, []];
      return refuse(refusal('late', 'the running daemon does not answer'), { do: 'discard' });
    case 'prepared':
      return state.at === 'preparing'
        ? [{ at: 'asking' }, [{ do: 'send', message: { type: 'give' } }]]
        : [state, []];
    case 'notPrepared':
      return state.at === 'preparing' ? refuse(refusal('failed', event.reason)) : [state, []];
    case 'started':
      return state.at === 'starting' ? onStarted(state.heard) : [state, []];
    case 'notStarted':
      return state.at === 'starting' ? onNotStarted(state.heard, event.reason) : [state, []];
  }
}

function onStarted(heard: 'gone' | Refusal | undefined): Step {
  if (heard === 'gone') return done({ kind: 'taken', bundle: true });
  if (heard) return refused(heard, { do: 'stop' });
  return [{ at: 'finishing', bundle: true }, [{ do: 'send', message: { type: 'forwarding' } }]];
}

function onNotStarted(heard: 'gone' | Refusal | undefined, reason: string): Step {
  if (heard === 'gone') return done({ kind: 'alone', why: reason }, { do: 'discard' });
  if (heard) return refused(heard, { do: 'discard' });
  return refuse(refusal('failed', reason), { do: 'discard' });
}

function onGone(state: TakerState): Step {
  switch (state.at) {
    case 'starting':
      // After a refusal that is how a connection ends.
      return [{ at: 'starting', heard: state.heard ?? 'gone' }, []];
    case 'finishing':
      return done({ kind: 'taken', bundle: state.bundle });
    default:
      return done(
        { kind: 'alone', why: 'the running daemon ended before it gave anything' },
        { do: 'discard' },
      );
  }
}

function onMessage(place: Place, state: TakerState, message: Message | undefined, descriptors: number): Step {
  if (message?.type === 'refusal') {
    if (state.at === 'starting') return [{ at: 'starting', heard: state.heard ?? message }, []];
    return refused(message, state.at === 'finishing' && state.bundle ? { do: 'stop' } : { do: 'discard' });
  }
  if (state.at === 'greeting' && message?.type === 'hello' && descriptors === 0) {
    const problem = against(place, message, 'the running daemon');
    return problem ? refuse(problem) : [{ at: 'preparing' }, [{ do: 'prepare' }]];
  }
  if (state.at === 'asking' && message?.type === 'bundle' && descriptors <= message.descriptors) {
    const { manifest } = message;
    // A backend without a forwarder: there is nothing to take but the daemon's place.
    if (!manifest) {
      return [{ at: 'finishing', bundle: false }, [{ do: 'send', message: { type: 'forwarding' } }]];
    }
    return collected(manifest, descriptors);
  }
  if (state.at === 'collecting' && message?.type === 'more' && descriptors > 0) {
    const have = state.have + descriptors;
    if (have <= state.manifest.descriptors) return collected(state.manifest, have);
  }
  // Once we may forward, only the end counts: whatever else comes is not heard.
  if (state.at === 'starting' || state.at === 'finishing') return [state, []];
  const what = message
    ? `a message ${message.type} with ${descriptors} descriptors`
    : 'something that is no message';
  return refuse(refusal('message', `the running daemon sent ${what} where none was due`), { do: 'discard' });
}

const collected = (manifest: Manifest, have: number): Step =>
  have === manifest.descriptors
    ? [{ at: 'starting' }, [{ do: 'keep' }, { do: 'start', manifest }]]
    : [{ at: 'collecting', manifest, have }, [{ do: 'keep' }]];
