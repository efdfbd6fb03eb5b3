import { setImmediate as nextTurn } from 'node:timers/promises';
import { type DesiredState, NOTHING_DESIRED, sameWish, sortDesired } from './desired.ts';
import { Fights } from './fights.ts';
import type { ObservedRoute } from './observed.ts';
import type { Observer } from './observer.ts';
import { Pass, type PassContext, type PassResult } from './pass.ts';
import { type ObjectRow, objectRows } from './rows.ts';
import { Slices } from './slices.ts';
import { countByKind, MOST_LISTED, type PassReport, type ReconcilerStatus } from './status.ts';
import { Troubles } from './troubles.ts';
import { type KernelObject, KIND_ORDER, type KindName } from './types.ts';

export interface ReconcilerOptions {
  /** Called after each pass that changed anything about {@link Reconciler.status}. */
  readonly onStatus?: (status: ReconcilerStatus) => void;
  /** Called after each pass that did something, for the log. */
  readonly onPass?: (report: PassReport) => void;
  /** The kernel did not answer; tried again with backoff. */
  readonly onError?: (cause: unknown) => void;
  /** [0, 1), for jitter. */
  readonly random?: () => number;
}

const FOUGHT = 'another program that keeps undoing it; put right once a second';

interface Wish {
  readonly revision: bigint;
  readonly objects: DesiredState;
  readonly prune: boolean;
}

/**
 * Makes the kernel agree with what is desired, and keeps it so. A pass compares the two and applies the difference; it
 * runs when the wish changes, when the observer has looked at the kernel, and when a failed object is due for another
 * attempt. Passes run one at a time, under the observer's lock; with nothing to do there are none.
 */
export class Reconciler {
  readonly #observer: Observer;
  readonly #options: ReconcilerOptions;
  readonly #troubles: Troubles;
  readonly #fights = new Fights();
  readonly #adopted = new Map<string, ObservedRoute>();
  readonly #context: Omit<PassContext, 'isStale'>;
  readonly #repairs = countByKind();
  readonly #unlisten: () => void;
  #wish: Wish | undefined;
  /** Of the setDesired() that counts: an older one that is still sorting gives up. */
  #turn = 0;
  /**
   * What the last whole pass left in the kernel, what of that is missing, and what has never been there: once that is
   * put it is no repair.
   */
  #last: { readonly objects: DesiredState; readonly unmet: ReadonlySet<string> } & Pick<
    PassResult,
    'missing' | 'blocked' | 'waiting'
  > = {
    objects: NOTHING_DESIRED,
    unmet: new Set(),
    missing: new Map(),
    blocked: countByKind(),
    waiting: new Map(),
  };
  #applied: bigint | undefined;
  #conflicts: readonly { readonly object: string; readonly with: string }[] = [];
  /** Those in which an object of somebody else's was seen in the place, by key. */
  #inTheWay: ReadonlyMap<string, string> = new Map();
  #kicked = false;
  #running: Promise<void> | undefined;
  #looking = false;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #stopped = false;

  constructor(observer: Observer, options: ReconcilerOptions = {}) {
    this.#observer = observer;
    this.#options = options;
    this.#troubles = new Troubles(observer.state, options.random ?? Math.random);
    this.#context = {
      observer,
      troubles: this.#troubles,
      fights: this.#fights,
      adopted: this.#adopted,
      ourResets: new Set(),
      wasInSync: (key, object) => {
        const last = this.#last.objects[object.kind].get(key);
        return last !== undefined && !this.#last.unmet.has(key) && sameWish(last, object);
      },
    };
    this.#unlisten = observer.onChange(() => {
      if (!this.#looking) this.#kick();
    });
  }

  /**
   * What the kernel shall hold from now on. `prune`: also remove what is ours and not among the objects; only for a
   * whole view. Resolves when the objects are taken in (in slices: the iterable may be lazy and long), not when they
   * are applied: see {@link status}. A later call overtakes an earlier one that is still taking in.
   */
  async setDesired(
    revision: bigint,
    objects: Iterable<KernelObject>,
    options: { readonly prune: boolean },
  ): Promise<void> {
    const turn = ++this.#turn;
    const sorting = sortDesired(objects);
    const slices = new Slices();
    for (let step = sorting.next(); ; step = sorting.next()) {
      if (step.done) {
        this.#wish = { revision, objects: step.value, prune: options.prune };
        break;
      }
      if (slices.isOver) {
        await slices.next();
        if (turn !== this.#turn || this.#stopped) return;
      }
    }
    const { sysctl, route, link } = this.#wish.objects;
    const carriers = new Set<string>();
    for (const { dev } of route.values()) if (dev !== undefined) carriers.add(dev);
    for (const { vxlan } of link.values()) if (vxlan) carriers.add(vxlan.underlay);
    this.#observer.follow(new Set(Iterator.from(sysctl.values()).map((o) => o.path)), carriers);
    this.#kick();
  }

  status(): ReconcilerStatus {
    const wanted = this.#wish?.objects ?? NOTHING_DESIRED;
    const missing = countByKind();
    for (const kind of this.#last.missing.values()) missing[kind]++;
    const failing = this.#troubles.countByKind();
    // Between a new wish and the end of its first pass: what is known of the old one.
    const inSync = (kind: KindName) =>
      Math.min(wanted[kind].size, this.#last.objects[kind].size - missing[kind]);
    return {
      desired: this.#wish?.revision,
      applied: this.#applied,
      objects: Object.fromEntries(
        KIND_ORDER.map((kind) => [
          kind,
          {
            desired: wanted[kind].size,
            inSync: inSync(kind),
            failing: failing[kind] + this.#last.blocked[kind],
          },
        ]),
      ) as ReconcilerStatus['objects'],
      failing: [
        ...Iterator.from(this.#last.waiting).map(([dev, count]) => ({
          object: `link ${dev}`,
          error: `it is not there; ${count} objects wait for it`,
        })),
        ...Iterator.from(this.#troubles.failing()).take(MOST_LISTED),
      ],
      conflicts: this.#conflicts.slice(0, MOST_LISTED),
      repairs: { ...this.#repairs },
    };
  }

  /** How each desired object stands, as of now; made row by row, so that the caller may pause between any two. */
  objects(): Iterable<ObjectRow> {
    const conflicts = new Map(this.#inTheWay);
    for (const { key } of this.#fights.ongoing(performance.now())) conflicts.set(key, FOUGHT);
    return objectRows({
      wanted: this.#wish?.objects ?? NOTHING_DESIRED,
      compared: this.#last.objects,
      missing: this.#last.missing,
      troubles: new Map(this.#troubles.entries()),
      conflicts,
    });
  }

  /** Ends after the operations that are under way. What is in the kernel stays. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unlisten();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #kick(): void {
    this.#kicked = true;
    if (this.#running || this.#stopped || !this.#wish) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      // Somebody may have come in the very moment it ended.
      if (this.#kicked && this.#failures === 0) this.#kick();
    });
  }

  async #run(): Promise<void> {
    clearTimeout(this.#timer);
    // Several reasons in one turn of the loop are one pass.
    await nextTurn();
    while (this.#kicked && !this.#stopped) {
      this.#kicked = false;
      try {
        await this.#observer.exclusive(() => this.#pass(this.#wish!));
        this.#failures = 0;
      } catch (cause) {
        this.#failures++;
        this.#options.onError?.(cause);
        this.#observer.resync();
        break;
      }
    }
    if (this.#stopped) return;
    const now = performance.now();
    const due = [this.#troubles.due(), this.#fights.due(now)].filter((at) => at !== undefined);
    if (this.#failures > 0) due.push(now + Math.min(200 * 2 ** this.#failures, 30_000));
    if (due.length > 0) this.#timer = setTimeout(() => this.#kick(), Math.max(Math.min(...due) - now, 1));
  }

  async #pass(wish: Wish): Promise<void> {
    if (this.#observer.isDoubtful) {
      this.#looking = true;
      await this.#observer.refresh().finally(() => {
        this.#looking = false;
      });
    }
    const isStale = () => this.#wish !== wish || this.#stopped;
    const result = await new Pass({ ...this.#context, isStale }, wish).run();
    for (const kind of KIND_ORDER) this.#repairs[kind] += result.repaired[kind];
    if (result.whole) {
      const { missing, blocked, waiting } = result;
      this.#context.ourResets.clear();
      const unmet = new Set<string>();
      for (const [key, kind] of missing) {
        if (!this.#context.wasInSync(key, wish.objects[kind].get(key)!)) unmet.add(key);
      }
      this.#last = { objects: wish.objects, unmet, missing, blocked, waiting };
      if (!this.#troubles.pressing && waiting.size === 0) this.#applied = wish.revision;
    } else {
      this.#kicked = true;
    }
    this.#tell(result);
  }

  #tell(result: PassResult): void {
    const known = new Set(this.#conflicts.map((c) => `${c.object} ${c.with}`));
    if (result.whole) {
      this.#inTheWay = new Map(result.conflicts.map((c) => [c.key, c.with]));
      this.#conflicts = [
        ...result.conflicts.map(({ object, with: other }) => ({ object, with: other })),
        ...this.#troubles.conflicts(),
        ...Iterator.from(this.#fights.ongoing(performance.now())).map(({ key }) => ({
          object: key,
          with: FOUGHT,
        })),
      ];
    }
    const conflicts = this.#conflicts
      .filter((c) => !known.has(`${c.object} ${c.with}`))
      .slice(0, MOST_LISTED);
    const { put, deleted, failed, recovered } = result;
    const done = KIND_ORDER.some((kind) => put[kind] + deleted[kind] > 0);
    if (done || failed.length + conflicts.length + recovered > 0)
      this.#options.onPass?.({ ...result, conflicts });
    this.#options.onStatus?.(this.status());
  }
}
