import { VERSION } from '../contract.ts';
import { against, type Message, type Place, PROTOCOL, type Refusal, refusal } from './protocol.ts';

/**
 * The running daemon's side as a pure machine. Its one promise: until the other one has said `forwarding` it can go on
 * itself, and does so whatever happens to the other.
 */
export type GiverState =
  | { readonly at: 'idle' }
  /** Connected; its hello has not come. */
  | { readonly at: 'greeting'; readonly id: number }
  /** It prepares. */
  | { readonly at: 'greeted'; readonly id: number }
  /** We have been told to give, and stop forwarding. */
  | { readonly at: 'releasing'; readonly id: number }
  /** It has everything; nobody forwards until it says that it does. */
  | { readonly at: 'given'; readonly id: number }
  /** It forwards; we end, and the connection with us. */
  | { readonly at: 'ending'; readonly id: number };

export type GiverEvent =
  | { readonly type: 'connected'; readonly id: number }
  /** Undefined: something that is no message, or had descriptors with it. */
  | { readonly type: 'message'; readonly id: number; readonly message: Message | undefined }
  /** The other end has closed, or is not to be reached. */
  | { readonly type: 'gone'; readonly id: number }
  /** Forwarding has stopped; the bundle is in the hands of whoever carries out `giveBundle`. */
  | { readonly type: 'released' }
  | { readonly type: 'notReleased'; readonly reason: string }
  /** The time for this state is over ({@link GIVER_DEADLINES}). */
  | { readonly type: 'deadline' };

export type GiverAction =
  | { readonly do: 'send'; readonly id: number; readonly message: Message }
  | { readonly do: 'close'; readonly id: number }
  /** Stop forwarding; answered by `released` or `notReleased`. */
  | { readonly do: 'release' }
  | { readonly do: 'giveBundle'; readonly id: number }
  /** Forward again. */
  | { readonly do: 'resume' }
  /** End the daemon as on SIGTERM. */
  | { readonly do: 'end' }
  | { readonly do: 'log'; readonly level: 'info' | 'warn'; readonly text: string };

/** Milliseconds in a state. In `given` packets wait in the kernel's queues, which hold seconds of them. */
export const GIVER_DEADLINES: Readonly<Partial<Record<GiverState['at'], number>>> = {
  greeting: 5_000,
  greeted: 60_000,
  given: 3_000,
};

type Step = readonly [GiverState, readonly GiverAction[]];

const IDLE: GiverState = { at: 'idle' };

export const idleGiver = (): GiverState => IDLE;

const log = (level: 'info' | 'warn', text: string): GiverAction => ({ do: 'log', level, text });

/** What an event makes of a state. */
export function giver(place: Place, state: GiverState, event: GiverEvent): Step {
  if (event.type === 'connected') {
    const { id } = event;
    if (state.at === 'idle') return [{ at: 'greeting', id }, []];
    const why = state.at === 'ending' ? 'the daemon is ending' : 'another daemon is taking over';
    return [
      state,
      [
        { do: 'send', id, message: refusal('busy', why) },
        { do: 'close', id },
      ],
    ];
  }
  // What comes of a connection that is closed already means nothing.
  if (state.at === 'idle' || ('id' in event && event.id !== state.id)) return [state, []];
  const { id } = state;
  switch (event.type) {
    case 'message':
      return onMessage(place, state, event.message);
    case 'gone':
      if (state.at === 'ending') return [state, []];
      // While we are releasing, the answer to that finds the connection gone.
      if (state.at === 'releasing') return [{ at: 'releasing', id: GONE }, []];
      return [IDLE, [{ do: 'close', id }, ...goOn(state, 'the daemon that was taking over is gone')]];
    case 'deadline':
      if (GIVER_DEADLINES[state.at] === undefined) return [state, []];
      return refuse(
        state,
        refusal(state.at === 'given' ? 'late' : 'message', 'the daemon that takes over took too long'),
      );
    case 'released':
      if (state.at !== 'releasing') return [state, []];
      if (id === GONE) return [IDLE, goOn(state, 'the daemon that was taking over is gone')];
      return [{ at: 'given', id }, [{ do: 'giveBundle', id }]];
    case 'notReleased':
      return state.at === 'releasing'
        ? refuse(state, refusal('failed', `the running daemon cannot give: ${event.reason}`))
        : [state, []];
  }
}

/** The id of no connection. */
const GONE = -1;

/** Say why not, close, and go on as if nothing had been. */
function refuse(state: Exclude<GiverState, { at: 'idle' }>, why: Refusal): Step {
  const { id } = state;
  const farewell: GiverAction[] =
    id === GONE
      ? []
      : [
          { do: 'send', id, message: why },
          { do: 'close', id },
        ];
  return [IDLE, [...farewell, ...goOn(state, `a takeover was refused: ${why.reason}`)]];
}

/** Forwarding goes on, if it had stopped. */
const goOn = (state: GiverState, text: string): GiverAction[] =>
  state.at === 'given' || state.at === 'releasing'
    ? [{ do: 'resume' }, log('warn', `${text}; this one forwards again`)]
    : [log('warn', `${text}; this one goes on`)];

function onMessage(
  place: Place,
  state: Exclude<GiverState, { at: 'idle' }>,
  message: Message | undefined,
): Step {
  const { id } = state;
  if (state.at === 'ending') return [state, []];
  if (state.at === 'releasing') {
    // Nothing is to be said now but farewell. The answer to the release finds the connection gone.
    return [{ at: 'releasing', id: GONE }, [{ do: 'close', id }]];
  }
  if (message?.type === 'refusal') {
    return [
      IDLE,
      [
        { do: 'close', id },
        ...goOn(state, `the daemon that was taking over has given up: ${message.reason}`),
      ],
    ];
  }
  if (state.at === 'greeting' && message?.type === 'hello') {
    const problem = against(place, message, 'the daemon that takes over');
    if (problem) return refuse(state, problem);
    return [
      { at: 'greeted', id },
      [
        { do: 'send', id, message: { type: 'hello', protocol: PROTOCOL, version: VERSION, place } },
        log('info', `loden ${message.version} takes over`),
      ],
    ];
  }
  if (state.at === 'greeted' && message?.type === 'give')
    return [{ at: 'releasing', id }, [{ do: 'release' }]];
  if (state.at === 'given' && message?.type === 'forwarding') {
    return [{ at: 'ending', id }, [log('info', 'the other daemon forwards: this one ends'), { do: 'end' }]];
  }
  const what = message ? `a message ${message.type}` : 'something that is no message';
  return refuse(state, refusal('message', `${what} came where none was due`));
}
