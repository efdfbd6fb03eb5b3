import { setImmediate as nextTurn } from 'node:timers/promises';

/** Milliseconds of work before the event loop gets a turn. */
const SLICE = 4;
/** Steps between two looks at the clock. */
const STEPS = 16;

/** Cuts a long loop into slices: `if (slices.isOver) await slices.next()` in each round. */
export class Slices {
  #end = performance.now() + SLICE;
  #steps = 0;

  get isOver(): boolean {
    return ++this.#steps % STEPS === 0 && performance.now() >= this.#end;
  }

  async next(): Promise<void> {
    await nextTurn();
    this.#end = performance.now() + SLICE;
  }
}
