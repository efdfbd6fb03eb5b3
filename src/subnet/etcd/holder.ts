import { Latest } from '../../latest.ts';
import type { Identity, StoreReport } from '../api.ts';
import { leaseState, newLife, step } from '../life.ts';
import type { Life, LifeEvent, Op, Result } from '../lifeTypes.ts';
import type { LeaseRequest, LeaseState } from '../types.ts';
import type { LeaseOps } from './leaseOps.ts';
import type { PrefixWatch } from './prefixWatch.ts';

/** Milliseconds: timers stand still while the machine sleeps, the lease does not; so none is longer than this. */
const LONGEST_NAP = 60_000;

export interface HolderParts {
  readonly watch: PrefixWatch;
  readonly ops: LeaseOps;
  readonly identity: Identity;
  readonly clock: () => number;
  readonly random: () => number;
  readonly onReport: (report: StoreReport) => void;
}

/** Runs the life of the own lease: brings it events, does what it says, publishes its state. */
export class Holder {
  readonly state = new Latest<LeaseState>();
  readonly #parts: HolderParts;
  #life: Life;
  #timer: NodeJS.Timeout | undefined;
  #signal: AbortSignal | undefined;

  constructor(parts: HolderParts) {
    this.#parts = parts;
    this.#life = newLife(parts.identity.node, parts.identity.instance);
  }

  /** Until `signal` aborts. The lease is left as it is then: it outlives the process. */
  async run(want: Latest<LeaseRequest>, signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#tell({ type: 'tick' });
    const wants = async () => {
      for await (const w of want.follow(signal)) this.#tell({ type: 'want', want: w });
    };
    const views = async () => {
      for await (const view of this.#parts.watch.views.follow(signal)) this.#tell({ type: 'view', view });
    };
    await Promise.all([wants(), views()]);
    clearTimeout(this.#timer);
  }

  #tell(event: LifeEvent): void {
    if (this.#signal?.aborted) return;
    const now = this.#parts.clock();
    const { life, actions, wakeAt } = step(this.#life, event, now, this.#parts.random);
    this.#life = life;
    for (const action of actions) {
      if (action.do === 'report') this.#parts.onReport(action.report);
      else if (action.do === 'relist') this.#parts.watch.relist();
      else void this.#perform(action.op);
    }
    clearTimeout(this.#timer);
    if (wakeAt !== undefined) {
      const nap = Math.min(Math.ceil(wakeAt - now), LONGEST_NAP);
      this.#timer = setTimeout(() => this.#tell({ type: 'tick' }), nap);
    }
    this.#publish(leaseState(life, now));
  }

  async #perform(op: Op): Promise<void> {
    let result: Result;
    try {
      result =
        op.op === 'renewIdentity'
          ? { end: 'identity', node: await this.#parts.identity.renew() }
          : await this.#parts.ops.run(op);
    } catch (error) {
      result = { end: 'failed', reason: (error as Error).message };
    }
    this.#tell({ type: 'done', op, result });
  }

  #publish(next: LeaseState): void {
    const last = this.state.value;
    if (last && describe(last) === describe(next) && leaseOf(last) === leaseOf(next)) return;
    this.state.set(next);
  }
}

const leaseOf = (s: LeaseState) => ('lease' in s ? s.lease : undefined);
const describe = (s: LeaseState): string => `${s.state} ${s.state === 'held' ? s.expiresAt : s.reason}`;
