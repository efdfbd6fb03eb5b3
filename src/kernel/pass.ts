import { NETLINK_CHUNK } from '../contract.ts';
import { type DesiredState, describe, deviceOf } from './desired.ts';
import { type PlanItem, plan, type Step } from './diff.ts';
import type { Fights } from './fights.ts';
import type { ObservedRoute } from './observed.ts';
import type { Observer } from './observer.ts';
import { settled } from './outcome.ts';
import { Slices } from './slices.ts';
import { countByKind } from './status.ts';
import type { Troubles } from './troubles.ts';
import type { KernelObject, KindName } from './types.ts';

const EXAMPLES = 5;

/** What the passes of one reconciler share. */
export interface PassContext {
  readonly observer: Observer;
  readonly troubles: Troubles;
  readonly fights: Fights;
  /** Routes of flanneld's that count as ours, by key. */
  readonly adopted: Map<string, ObservedRoute>;
  /** Had this object been put, as it is wanted now, and found in place? */
  readonly wasInSync: (key: string, object: KernelObject) => boolean;
  /** Links changed since the last whole pass because the wish has: what that took with it is no repair. */
  readonly ourResets: Set<string>;
  /** Is the wish outdated? Then the rest of the pass is not worth the work. */
  readonly isStale: () => boolean;
}

export interface PassResult {
  /** False when it was cut short: by a newer wish, or because a link could not be put. */
  whole: boolean;
  /** Desired objects that are not in the kernel as they should be. */
  readonly missing: Map<string, KindName>;
  /** Some of them wait for a device; how many of each kind, for which. */
  readonly blocked: Record<KindName, number>;
  readonly waiting: Map<string, number>;
  readonly conflicts: { readonly key: string; readonly object: string; readonly with: string }[];
  readonly put: Record<KindName, number>;
  readonly deleted: Record<KindName, number>;
  readonly repaired: Record<KindName, number>;
  readonly repairedExamples: string[];
  readonly failed: { readonly object: string; readonly error: string }[];
  recovered: number;
}

/** One comparison of wish and kernel, and the work that follows from it. Runs under the observer's lock, once. */
export class Pass {
  readonly #context: PassContext;
  readonly #objects: DesiredState;
  readonly #prune: boolean;
  readonly #queue: Step[] = [];
  #queuedOps = 0;
  /** Keys that were tried in this pass, or not even tried. */
  readonly #touched = new Set<string>();
  readonly #result: PassResult = {
    whole: true,
    missing: new Map(),
    blocked: countByKind(),
    waiting: new Map(),
    conflicts: [],
    put: countByKind(),
    deleted: countByKind(),
    repaired: countByKind(),
    repairedExamples: [],
    failed: [],
    recovered: 0,
  };

  constructor(context: PassContext, wish: { readonly objects: DesiredState; readonly prune: boolean }) {
    this.#context = context;
    this.#objects = wish.objects;
    this.#prune = wish.prune;
  }

  /** Rejects only when the kernel does not answer at all. */
  async run(): Promise<PassResult> {
    const { observer, troubles, fights, adopted } = this.#context;
    troubles.reconsider((key) => this.#deviceOf(key));
    const items = plan(observer.state, this.#objects, observer.owner, {
      prune: this.#prune,
      adopted,
      held: troubles.isEmpty && fights.isEmpty ? undefined : (key) => this.#held(key),
    });
    const slices = new Slices();
    for (const item of items) {
      if (item) await this.#take(item);
      if (!this.#result.whole) return this.#result;
      if (slices.isOver) {
        // One new peer among thousands does not wait for the rest to be compared.
        await this.#flush();
        if (!this.#result.whole) return this.#result;
        await slices.next();
        if (this.#context.isStale()) this.#result.whole = false;
      }
    }
    await this.#flush();
    for (const [key, { kind }] of troubles.entries()) {
      // What was neither tried nor held back is in sync by now, or no longer wanted.
      if (!this.#touched.has(key)) this.#cleared(key);
      else if (this.#objects[kind].has(key)) this.#result.missing.set(key, kind);
    }
    return this.#result;
  }

  #held(key: string): boolean {
    const now = performance.now();
    const { troubles, fights } = this.#context;
    if (!troubles.held(key, now) && fights.until(key, now) === undefined) return false;
    this.#touched.add(key);
    return true;
  }

  /** The device a desired object stands on; a VXLAN device stands on its underlay. */
  #deviceOf(key: string): string | undefined {
    const kind = key.slice(0, key.indexOf(' ')) as KindName;
    const object: KernelObject | undefined = this.#objects[kind].get(key);
    return object?.kind === 'link' ? object.vxlan?.underlay : object && deviceOf(object);
  }

  async #take(item: PlanItem): Promise<void> {
    const result = this.#result;
    switch (item.kind) {
      case 'blocked':
        this.#touched.add(item.key);
        this.#context.troubles.wait(item.key);
        this.#context.fights.wait(item.key);
        result.missing.set(item.key, item.object.kind);
        result.blocked[item.object.kind]++;
        result.waiting.set(item.dev, (result.waiting.get(item.dev) ?? 0) + 1);
        break;
      case 'conflict':
        result.conflicts.push({ key: item.key, object: describe(item.object), with: item.with });
        if (item.withheld) result.missing.set(item.key, item.object.kind);
        break;
      case 'adopted':
        this.#context.adopted.set(item.key, item.route);
        break;
      case 'step': {
        // What stands on links can only be put once they are there: their fate must be known first.
        if (item.object.kind !== 'link' && this.#queue[0]?.object.kind === 'link') await this.#flush();
        if (!result.whole) return;
        this.#queue.push(item);
        this.#queuedOps += item.ops.length;
        if (this.#queuedOps >= NETLINK_CHUNK) await this.#flush();
        break;
      }
    }
  }

  async #flush(): Promise<void> {
    if (this.#queue.length === 0) return;
    const { observer } = this.#context;
    const steps = this.#queue.splice(0);
    this.#queuedOps = 0;
    const results = await observer.kernel.apply(steps.flatMap((step) => step.ops));
    let at = 0;
    for (const step of steps) {
      let failure: (typeof results)[number];
      for (const op of step.ops) {
        const error = results[at++];
        failure ??= settled(op, error);
        if (error === undefined) observer.state.note(op);
      }
      this.#touched.add(step.key);
      if (failure) this.#failed(step, failure);
      else this.#succeeded(step);
    }
    if (this.#context.isStale()) this.#result.whole = false;
  }

  #failed(step: Step, error: NonNullable<ReturnType<typeof settled>>): void {
    const { kind } = step.object;
    const { observer, troubles } = this.#context;
    const object = describe(step.object);
    observer.doubt(kind, kind === 'link' ? step.object.name : step.object.dev);
    const dev = this.#deviceOf(step.key);
    const trouble = troubles.fail(step.key, { kind, object, dev }, error, performance.now());
    if (trouble) this.#result.failed.push({ object, error: trouble.error });
    if (step.aim === 'put') this.#result.missing.set(step.key, kind);
    if (kind === 'link') this.#result.whole = false;
  }

  #succeeded(step: Step): void {
    const { object, key, aim } = step;
    const { observer, fights, ourResets, wasInSync } = this.#context;
    this.#cleared(key);
    this.#result[aim === 'put' ? 'put' : 'deleted'][object.kind]++;
    // What the kernel has made of it, and of all that stands on it, only another look can tell.
    if (object.kind === 'link') observer.doubt('link', object.name);
    if (aim !== 'put') return;
    const wanted = this.#objects[object.kind].get(key)!;
    const dev = object.kind === 'link' ? object.name : object.dev;
    if (!wasInSync(key, wanted) || (dev !== undefined && ourResets.has(dev))) {
      if (object.kind === 'link') ourResets.add(object.name);
      return;
    }
    this.#result.repaired[object.kind]++;
    if (this.#result.repairedExamples.length < EXAMPLES) this.#result.repairedExamples.push(describe(object));
    fights.repaired(key, performance.now());
  }

  #cleared(key: string): void {
    if (this.#context.troubles.clear(key)) this.#result.recovered++;
  }
}
