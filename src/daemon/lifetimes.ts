import type { LifetimeJson } from '../api/shapes.ts';
import { Slices } from '../kernel/slices.ts';
import type { TimeToLive } from '../subnet/api.ts';
import type { Lease, SubnetKey } from '../subnet/types.ts';

/** Milliseconds between two questions to etcd, after a walk over all leases, after a failure, and for which they are asked unwanted. */
const [PACE, REST, RETRY, LINGER] = [50, 1_000, 5_000, 60_000];
/** Seconds after which a lease is asked again at the latest, and at the earliest. */
const [LATEST, EARLIEST] = [300, 1];

export interface LifetimesParts {
  readonly leases: () => ReadonlyMap<SubnetKey, Lease> | undefined;
  /** Asks etcd; undefined: it has no such etcd lease. */
  readonly ask: (etcdLease: bigint) => Promise<TimeToLive | undefined>;
  /** Milliseconds; for tests. */
  readonly now?: () => number;
}

interface Known {
  readonly etcdLease: bigint;
  /** Of `now`. */
  readonly askedAt: number;
  readonly told: TimeToLive | undefined;
}

/** Seconds until it is worth asking again: sooner for what is granted for a short time, or has little left of it. */
const patience = ({ ttl, secondsLeft }: TimeToLive): number =>
  Math.min(LATEST, Math.max(EARLIEST, Math.min(ttl / 10, secondsLeft / 4)));

/** Resolves after a while, or at once when it is over. */
const pause = (ms: number, over: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      over.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms).unref();
    over.addEventListener('abort', done, { once: true });
  });

/**
 * How long leases have left, as etcd tells. It tells of one at a time, so that all of thousands take minutes: they are asked one after the
 * other for as long as somebody wants to know, and what is known is forgotten soon after.
 */
export class Lifetimes {
  readonly #parts: LifetimesParts;
  readonly #now: () => number;
  readonly #known = new Map<SubnetKey, Known>();
  #asking: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: LifetimesParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
  }

  /** `GET /v1/lifetimes` as JSON text, in pieces; from now on and for a minute etcd is asked. */
  text(): Iterable<string> {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.stop(), LINGER).unref();
    if (!this.#asking) {
      this.#asking = new AbortController();
      void this.#run(this.#asking.signal);
    }
    return this.#text();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = undefined;
    this.#known.clear();
  }

  *#text(): Generator<string> {
    const at = this.#now();
    yield `{"at":"${new Date().toISOString()}","leases":{`;
    let comma = '';
    for (const [key, { etcdLease }] of this.#parts.leases() ?? []) {
      if (etcdLease === 'reservation') continue;
      yield `${comma}\n${JSON.stringify(key)}:${JSON.stringify(this.#json(key, etcdLease, at))}`;
      comma = ',';
    }
    yield '}}\n';
  }

  #json(key: SubnetKey, etcdLease: bigint, at: number): LifetimeJson | null {
    const known = this.#known.get(key);
    if (!known?.told || known.etcdLease !== etcdLease) return null;
    const { secondsLeft, ttl } = known.told;
    const age = Math.max(0, (at - known.askedAt) / 1_000);
    return { secondsLeft: Math.max(0, Math.round(secondsLeft - age)), ttl, age: Math.round(age) };
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const leases = this.#parts.leases();
      let slices = new Slices();
      for (const key of this.#known.keys()) if (!leases?.has(key)) this.#known.delete(key);
      for (const [key, { etcdLease }] of leases ?? []) {
        if (slices.isOver) await slices.next();
        if (signal.aborted) return;
        if (etcdLease === 'reservation' || !this.#isDue(key, etcdLease)) continue;
        const isAnswered = await this.#ask(key, etcdLease, signal);
        await pause(isAnswered ? PACE : RETRY, signal);
        slices = new Slices();
        if (leases !== this.#parts.leases()) break;
      }
      if (leases === this.#parts.leases()) await pause(REST, signal);
    }
  }

  #isDue(key: SubnetKey, etcdLease: bigint): boolean {
    const known = this.#known.get(key);
    if (known?.etcdLease !== etcdLease) return true;
    const wait = known.told ? patience(known.told) : LATEST;
    return this.#now() - known.askedAt >= wait * 1_000;
  }

  /** False: etcd did not answer. What it said before is known still. */
  async #ask(key: SubnetKey, etcdLease: bigint, signal: AbortSignal): Promise<boolean> {
    const askedAt = this.#now();
    try {
      const told = await this.#parts.ask(etcdLease);
      if (!signal.aborted) this.#known.set(key, { etcdLease, askedAt, told });
      return true;
    } catch {
      return false;
    }
  }
}
