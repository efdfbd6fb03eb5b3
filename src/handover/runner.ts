/** A machine that is to be run: events in, actions out. */
export interface Machine<S extends { readonly at: string }, E, A> {
  readonly step: (state: S, event: E) => readonly [S, readonly A[]];
  /** May dispatch further events, at once or later. */
  readonly carryOut: (action: A) => void;
  /** Milliseconds in a state, by its name. */
  readonly deadlines: Readonly<Partial<Record<S['at'], number>>>;
  readonly deadline: E;
}

/** Runs a machine: one event after the other, also those that carrying out brings, with a timer for each state. */
export class Runner<S extends { readonly at: string }, E, A> {
  readonly #machine: Machine<S, E, A>;
  readonly #queue: E[] = [];
  #running = false;
  #state: S;
  #timer: NodeJS.Timeout | undefined;

  constructor(machine: Machine<S, E, A>, [state, actions]: readonly [S, readonly A[]]) {
    this.#machine = machine;
    this.#state = state;
    this.#arm();
    for (const action of actions) machine.carryOut(action);
  }

  get state(): S {
    return this.#state;
  }

  dispatch(event: E): void {
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        const before = this.#state;
        const [state, actions] = this.#machine.step(before, next);
        this.#state = state;
        if (state !== before) this.#arm();
        for (const action of actions) this.#machine.carryOut(action);
      }
    } finally {
      this.#running = false;
    }
  }

  /** No more deadlines. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const ms = this.#machine.deadlines[this.#state.at as S['at']];
    if (ms !== undefined) this.#timer = setTimeout(() => this.dispatch(this.#machine.deadline), ms);
  }
}
