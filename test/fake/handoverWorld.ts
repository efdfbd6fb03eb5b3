import {
  GIVER_DEADLINES,
  type GiverAction,
  type GiverEvent,
  type GiverState,
  giver,
  idleGiver,
} from '../../src/handover/giver.ts';
import type { Manifest } from '../../src/handover/manifest.ts';
import type { Message, Place } from '../../src/handover/protocol.ts';
import {
  newTaker,
  TAKER_DEADLINES,
  type TakerAction,
  type TakerEvent,
  type TakerState,
  taker,
} from '../../src/handover/taker.ts';

/** One direction of a connection: what was sent and not yet received; `end` is its last. */
type Wire = ({ readonly message: Message; readonly descriptors: number } | 'end')[];

/** What may happen next. */
export const MOVES = [
  'oldHears',
  'newHears',
  'oldReleases',
  'oldCannotRelease',
  'newPrepares',
  'newCannotPrepare',
  'newStarts',
  'newCannotStart',
  'oldDeadline',
  'newDeadline',
  'oldDies',
  'newDies',
  'oldEnds',
] as const;
export type Move = (typeof MOVES)[number];

export interface WorldOptions {
  readonly oldPlace: Place;
  readonly newPlace: Place;
  /** Undefined: the old one has no forwarder. */
  readonly manifest: Manifest | undefined;
  /** Descriptors in one message. */
  readonly perMessage: number;
}

/** Both machines, the connection between them, and who forwards. */
export class HandoverWorld {
  readonly #options: WorldOptions;
  giver: GiverState = idleGiver();
  taker: TakerState;
  readonly #toOld: Wire = [];
  readonly #toNew: Wire = [];
  /** The connection, seen by each. */
  #oldOpen = true;
  #newOpen = true;
  #todo = { release: false, prepare: false, start: false };
  oldAlive = true;
  newAlive = true;
  /** It has been told to end, by the machine. */
  oldEnding = false;
  oldForwards: boolean;
  newForwards = false;
  /** Descriptors the new one holds. */
  kept = 0;
  #incoming = 0;
  readonly log: string[] = [];

  constructor(options: WorldOptions) {
    this.#options = options;
    this.oldForwards = options.manifest !== undefined;
    this.#old({ type: 'connected', id: 1 });
    const [state, actions] = newTaker(options.newPlace);
    this.taker = state;
    this.#carryOutNew(actions);
  }

  /** Is it possible now? Deaths always are, and no event by themselves. */
  can(move: Move): boolean {
    const { release, prepare, start } = this.#todo;
    switch (move) {
      case 'oldHears':
        return this.oldAlive && this.#oldOpen && this.#toOld.length > 0;
      case 'newHears':
        return this.newAlive && this.#newOpen && this.#toNew.length > 0;
      case 'oldReleases':
      case 'oldCannotRelease':
        return this.oldAlive && release;
      case 'newPrepares':
      case 'newCannotPrepare':
        return this.newAlive && prepare;
      case 'newStarts':
      case 'newCannotStart':
        return this.newAlive && start;
      case 'oldDeadline':
        return this.oldAlive && GIVER_DEADLINES[this.giver.at] !== undefined;
      case 'newDeadline':
        return this.newAlive && TAKER_DEADLINES[this.taker.at] !== undefined;
      case 'oldDies':
        return this.oldAlive;
      case 'newDies':
        return this.newAlive;
      case 'oldEnds':
        return this.oldAlive && this.oldEnding;
    }
  }

  do(move: Move): void {
    if (!this.can(move)) return;
    this.log.push(move);
    switch (move) {
      case 'oldHears': {
        const heard = this.#toOld.shift()!;
        if (heard === 'end') {
          this.#old({ type: 'gone', id: 1 });
          return;
        }
        this.#old({ type: 'message', id: 1, message: heard.message });
        return;
      }
      case 'newHears': {
        const heard = this.#toNew.shift()!;
        if (heard === 'end') {
          this.#new({ type: 'gone' });
          return;
        }
        this.#incoming = heard.descriptors;
        this.#new({ type: 'message', ...heard });
        return;
      }
      case 'oldReleases':
        this.#todo.release = false;
        this.oldForwards = false;
        this.#old({ type: 'released' });
        return;
      case 'oldCannotRelease':
        this.#todo.release = false;
        this.#old({ type: 'notReleased', reason: 'it cannot' });
        return;
      case 'newPrepares':
      case 'newCannotPrepare':
        this.#todo.prepare = false;
        this.#new(move === 'newPrepares' ? { type: 'prepared' } : { type: 'notPrepared', reason: 'no' });
        return;
      case 'newStarts':
        this.#todo.start = false;
        this.newForwards = true;
        this.#new({ type: 'started' });
        return;
      case 'newCannotStart':
        this.#todo.start = false;
        this.#new({ type: 'notStarted', reason: 'it cannot' });
        return;
      case 'oldDeadline':
        this.#old({ type: 'deadline' });
        return;
      case 'newDeadline':
        this.#new({ type: 'deadline' });
        return;
      case 'oldDies':
      case 'oldEnds':
        this.oldAlive = false;
        this.oldForwards = false;
        this.#closeOld();
        return;
      case 'newDies':
        this.newAlive = false;
        this.newForwards = false;
        this.kept = 0;
        this.#closeNew();
        return;
    }
  }

  /** Let everything happen that must, without further faults, until nothing is left to happen; at last what time brings. */
  settle(withDeadlines = true): void {
    const due: readonly Move[] = [
      'oldHears',
      'newHears',
      'oldReleases',
      'newPrepares',
      'newStarts',
      'oldEnds',
    ];
    const late: readonly Move[] = ['oldDeadline', 'newDeadline'];
    for (let i = 0; i < 1000; i++) {
      const next =
        due.find((move) => this.can(move)) ??
        (withDeadlines ? late.find((move) => this.can(move)) : undefined);
      if (!next) return;
      this.do(next);
    }
    throw new Error(`it does not settle: ${this.log.slice(-20).join(' ')}`);
  }

  #old(event: GiverEvent): void {
    const [state, actions] = giver(this.#options.oldPlace, this.giver, event);
    this.giver = state;
    for (const action of actions) this.#carryOutOld(action);
  }

  #carryOutOld(action: GiverAction): void {
    switch (action.do) {
      case 'send':
        this.#send(this.#toNew, this.#oldOpen && this.#newOpen, action.message, 0);
        return;
      case 'close':
        this.#closeOld();
        return;
      case 'release':
        this.#todo.release = true;
        return;
      case 'giveBundle': {
        const { manifest, perMessage } = this.#options;
        const all = manifest?.descriptors ?? 0;
        const open = this.#oldOpen && this.#newOpen;
        this.#send(
          this.#toNew,
          open,
          { type: 'bundle', manifest: manifest ?? null, descriptors: all },
          Math.min(all, perMessage),
        );
        for (let left = all - perMessage; left > 0; left -= perMessage)
          this.#send(this.#toNew, open, { type: 'more' }, Math.min(left, perMessage));
        return;
      }
      case 'resume':
        this.oldForwards = this.#options.manifest !== undefined;
        return;
      case 'end':
        this.oldEnding = true;
        return;
    }
  }

  #new(event: TakerEvent): void {
    const [state, actions] = taker(this.#options.newPlace, this.taker, event);
    this.taker = state;
    this.#carryOutNew(actions);
    this.#incoming = 0;
  }

  #carryOutNew(actions: readonly TakerAction[]): void {
    for (const action of actions) {
      switch (action.do) {
        case 'send':
          this.#send(this.#toOld, this.#newOpen && this.#oldOpen, action.message, 0);
          break;
        case 'prepare':
          this.#todo.prepare = true;
          break;
        case 'keep':
          this.kept += this.#incoming;
          this.#incoming = 0;
          break;
        case 'start':
          this.#todo.start = true;
          if (this.kept !== action.manifest.descriptors) throw new Error('started with too few descriptors');
          break;
        case 'stop':
          this.newForwards = false;
          this.kept = 0;
          break;
        case 'discard':
          this.kept = 0;
          break;
        case 'close':
          this.#closeNew();
          break;
      }
    }
  }

  #send(wire: Wire, open: boolean, message: Message, descriptors: number): void {
    if (open) wire.push({ message, descriptors });
  }

  #closeOld(): void {
    if (!this.#oldOpen) return;
    this.#oldOpen = false;
    this.#toNew.push('end');
  }

  #closeNew(): void {
    if (!this.#newOpen) return;
    this.#newOpen = false;
    this.#toOld.push('end');
  }
}
