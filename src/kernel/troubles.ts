import type { KernelError } from '../errors.ts';
import { backoff } from './backoff.ts';
import { isRace } from './outcome.ts';
import type { ObservedState } from './state.ts';
import { countByKind } from './status.ts';
import { type KindName, objectKey } from './types.ts';

/** After so many failures a peer's object is taken as one that cannot be put: it keeps nobody else waiting. */
const HOPELESS = 3;

export interface Trouble {
  readonly kind: KindName;
  /** The object in words. */
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  /** Monotonic milliseconds. */
  readonly retryAt: number;
  /** What the device was like: when that changes there is a new chance at once. */
  readonly surroundings: string;
  /** Somebody else's object is in the place. */
  readonly conflict: boolean;
  /** Only a race so far: the kernel was not as we had seen it. */
  readonly race: boolean;
}

/** The objects that could not be put or deleted, each with its own backoff. */
export class Troubles {
  readonly #all = new Map<string, Trouble>();
  /** Those whose device is not there: they wait for it, not for a moment. */
  readonly #waiting = new Set<string>();
  readonly #state: ObservedState;
  readonly #random: () => number;

  constructor(state: ObservedState, random: () => number) {
    this.#state = state;
    this.#random = random;
  }

  /** An attempt has failed. Returns what that makes it, if it is now one to be told of. */
  fail(
    key: string,
    on: { readonly kind: KindName; readonly object: string; readonly dev: string | undefined },
    error: KernelError,
    now: number,
  ): Trouble | undefined {
    const before = this.#all.get(key);
    const attempts = (before?.attempts ?? 0) + 1;
    // The first time, after another look, the same attempt is made again at once.
    const race = attempts === 1 && isRace(error);
    const trouble: Trouble = {
      kind: on.kind,
      object: on.object,
      error: error.extack ? `${error.code}: ${error.extack}` : error.code,
      attempts,
      retryAt: race ? now : now + backoff(attempts, this.#random()),
      surroundings: this.#surroundings(on.dev),
      conflict: on.kind === 'route' && error.code === 'EEXIST' && !race,
      race,
    };
    this.#all.set(key, trouble);
    return !race && (before === undefined || before.race) ? trouble : undefined;
  }

  /** The object is as it should be. True when it had been told of. */
  clear(key: string): boolean {
    const trouble = this.#all.get(key);
    return this.#all.delete(key) && !trouble!.race;
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  /** Is it too early for another attempt? */
  held(key: string, now: number): boolean {
    const trouble = this.#all.get(key);
    return trouble !== undefined && trouble.retryAt > now;
  }

  /** Forgets the backoff of objects whose device has changed since they failed. */
  reconsider(devOf: (key: string) => string | undefined): void {
    this.#waiting.clear();
    const now = new Map<string | undefined, string>();
    for (const [key, trouble] of this.#all) {
      const dev = devOf(key);
      const surroundings = now.get(dev) ?? this.#surroundings(dev);
      now.set(dev, surroundings);
      if (surroundings !== trouble.surroundings) this.#all.set(key, { ...trouble, surroundings, retryAt: 0 });
    }
  }

  /** In this pass it cannot even be tried, because its device is not there. */
  wait(key: string): void {
    if (this.#all.has(key)) this.#waiting.add(key);
  }

  /** The first moment at which another attempt is due. */
  due(): number | undefined {
    let first: number | undefined;
    for (const [key, { retryAt }] of this.#all) {
      if (!this.#waiting.has(key) && (first === undefined || retryAt < first)) first = retryAt;
    }
    return first;
  }

  entries(): Iterable<[string, Trouble]> {
    return this.#all.entries();
  }

  /** Does any of them keep the revision from counting as applied? */
  get pressing(): boolean {
    for (const { kind, attempts, conflict } of this.#all.values()) {
      if (conflict) continue;
      if (attempts < HOPELESS || kind === 'link' || kind === 'address' || kind === 'sysctl') return true;
    }
    return false;
  }

  countByKind(): Record<KindName, number> {
    const count = countByKind();
    for (const { kind, race, conflict } of this.#all.values()) if (!race && !conflict) count[kind]++;
    return count;
  }

  *failing(): Generator<{ object: string; error: string }> {
    for (const { object, error, race, conflict } of this.#all.values())
      if (!race && !conflict) yield { object, error };
  }

  *conflicts(): Generator<{ object: string; with: string }> {
    for (const { object, conflict } of this.#all.values()) {
      if (conflict) yield { object, with: 'another route with this prefix and metric' };
    }
  }

  /** All that a refusal can depend on: the device as such, and the addresses through which gateways are reached. */
  #surroundings(dev: string | undefined): string {
    const link = dev === undefined ? undefined : this.#state.link(dev);
    if (!link) return '';
    const addresses = Array.from(this.#state.addresses(link.name), objectKey);
    return [link.ifindex, link.up, link.carrier, link.mtu, ...addresses].join(' ');
  }
}
