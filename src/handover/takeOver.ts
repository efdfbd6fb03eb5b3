import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import type { Bundle } from '../forwarder/bundle.ts';
import { addon } from '../native/addon.ts';
import { Connection, closeAll } from './connection.ts';
import { bundleOf, type Manifest } from './manifest.ts';
import { type Place, refusal } from './protocol.ts';
import { Runner } from './runner.ts';
import type { HandoverLog } from './server.ts';
import {
  newTaker,
  TAKER_DEADLINES,
  type TakerAction,
  type TakerEvent,
  type TakerOutcome,
  type TakerState,
  taker,
} from './taker.ts';

export interface TakeOverParts {
  readonly place: Place;
  /** Load all that forwarding needs. The other daemon forwards meanwhile. */
  readonly prepare: () => Promise<void>;
  /** Forward by these descriptors, which are whoever starts' from then on; if it throws they are closed here. */
  readonly start: (bundle: Bundle) => Promise<void>;
  /** The other daemon goes on after all: forward no more, and close the descriptors. */
  readonly stop: () => Promise<void>;
  readonly log: HandoverLog;
}

/** Milliseconds between two words about waiting. */
const PATIENCE = 10_000;

/**
 * Take a running daemon's place. Resolves when there is none (`alone`: nothing was taken), or when it has gone (`taken`:
 * `start` has been called if it had a bundle). Throws {@link LodenError} with exit code 75 when it goes on.
 */
export async function takeOver(
  path: string,
  parts: TakeOverParts,
): Promise<Exclude<TakerOutcome, { kind: 'refused' }>> {
  let outcome: TakerOutcome | undefined;
  try {
    outcome = await new Attempt(path, parts).outcome;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return { kind: 'alone', why: `no daemon listens on ${path}` };
    }
    if (code === 'EAGAIN') outcome = { kind: 'refused', refusal: refusal('busy', 'too many want its place') };
    else throw new LodenError(`cannot take over: ${(error as Error).message}`, { cause: error });
  }
  if (outcome.kind !== 'refused') return outcome;
  throw new LodenError(
    `cannot take over from the daemon that listens on ${path}, which goes on: ${outcome.refusal.reason}`,
    { exitCode: EXIT.busy },
  );
}

class Attempt {
  readonly outcome: Promise<TakerOutcome>;
  readonly #parts: TakeOverParts;
  readonly #connection: Connection;
  readonly #runner: Runner<TakerState, TakerEvent, TakerAction>;
  /** Received and not in use. */
  #kept: number[] = [];
  /** Those of the message that is being looked at. */
  #incoming: readonly number[] = [];
  #stopping: Promise<void> | undefined;
  #resolve!: (outcome: TakerOutcome) => void;

  /** Throws what connecting does. */
  constructor(path: string, parts: TakeOverParts) {
    this.#parts = parts;
    const { promise, resolve } = Promise.withResolvers<TakerOutcome>();
    this.outcome = promise;
    this.#connection = Connection.open((onReady) => addon().handoverConnect(path, onReady), {
      message: (message, fds) => {
        this.#incoming = fds;
        this.#dispatch({ type: 'message', message, descriptors: fds.length });
        closeAll(this.#incoming);
        this.#incoming = [];
      },
      gone: () => this.#dispatch({ type: 'gone' }),
    })!;
    this.#resolve = resolve;
    const { uid } = this.#connection.peer;
    if (uid !== process.geteuid!()) {
      this.#connection.close();
      throw new Error(`the process that listens on ${path} is of user ${uid}`);
    }
    this.#runner = new Runner<TakerState, TakerEvent, TakerAction>(
      {
        step: (state, event) => taker(parts.place, state, event),
        carryOut: (action) => this.#carryOut(action),
        deadlines: TAKER_DEADLINES,
        deadline: { type: 'deadline' },
      },
      newTaker(parts.place),
    );
    void promise.finally(() => clearInterval(waiting));
    const waiting = setInterval(() => {
      if (this.#runner.state.at === 'finishing')
        parts.log('warn', 'still waiting for the other daemon to end');
    }, PATIENCE);
  }

  #dispatch(event: TakerEvent): void {
    this.#runner.dispatch(event);
    const { state } = this.#runner;
    if (state.at === 'done') this.#end(state.outcome);
  }

  #end(outcome: TakerOutcome): void {
    void Promise.allSettled([this.#stopping]).then(() => this.#resolve(outcome));
  }

  #carryOut(action: TakerAction): void {
    switch (action.do) {
      case 'send':
        this.#connection.send(action.message);
        break;
      case 'prepare':
        void this.#prepare();
        break;
      case 'keep':
        this.#kept.push(...this.#incoming);
        this.#incoming = [];
        break;
      case 'start':
        void this.#start(action.manifest);
        break;
      case 'stop':
        this.#stopping = this.#parts.stop();
        break;
      case 'discard':
        closeAll(this.#kept.splice(0));
        break;
      case 'close':
        this.#connection.close();
    }
  }

  async #prepare(): Promise<void> {
    try {
      await this.#parts.prepare();
      this.#dispatch({ type: 'prepared' });
    } catch (error) {
      this.#dispatch({ type: 'notPrepared', reason: (error as Error).message });
    }
  }

  async #start(manifest: Manifest): Promise<void> {
    try {
      await this.#parts.start(bundleOf(manifest, this.#kept));
      this.#kept = [];
      this.#dispatch({ type: 'started' });
    } catch (error) {
      this.#dispatch({ type: 'notStarted', reason: (error as Error).message });
    }
  }
}
