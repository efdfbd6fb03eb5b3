import type { LifetimesJson } from '../../../src/api/shapes.ts';

/** How long leases have left, by the clock of whoever looks. */
export interface Life {
  readonly key: string;
  /** Date.now() at which it ends unless it is renewed. */
  readonly endsAt: number;
  /** Seconds for which it is granted. */
  readonly ttl: number;
  /** Should it have been renewed when etcd was asked? */
  readonly isExpiring: boolean;
}

/** Part of its time that a lease has left when it is said to be expiring: it is kept alive each third of it. */
const PART = 1 / 2;
/** Seconds left when a node of flannel renews: an hour (`--subnet-lease-renew-margin`), and some minutes to do so. */
const FLANNEL_RENEWS = 3_300;
/** Milliseconds by which an end may move, in the daemon's answers, without having been renewed. */
const JITTER = 5_000;

/** By what etcd told, not by what has become of that since: it may have been renewed. */
const isExpiring = (secondsLeft: number, ttl: number, isFlannel: boolean): boolean =>
  secondsLeft < (isFlannel ? Math.min(ttl * PART, FLANNEL_RENEWS) : ttl * PART);

/** The last known end of each lease, so that only those that have changed are passed on. */
export class LifeBook {
  #known = new Map<string, Life>();

  /** `isFlannel`: is it the lease of a node that does not keep it alive all the time? */
  take(
    { leases }: LifetimesJson,
    now: number,
    isFlannel: (key: string) => boolean,
  ): { readonly changed: Life[]; readonly gone: string[] } {
    const next = new Map<string, Life>();
    const changed: Life[] = [];
    for (const [key, left] of Object.entries(leases)) {
      // A reservation, or nobody has asked etcd yet.
      if (left === null) continue;
      const { secondsLeft, ttl, age } = left;
      const life: Life = {
        key,
        endsAt: now + secondsLeft * 1_000,
        ttl,
        isExpiring: isExpiring(secondsLeft + age, ttl, isFlannel(key)),
      };
      const was = this.#known.get(key);
      const isSame =
        was !== undefined &&
        was.ttl === ttl &&
        was.isExpiring === life.isExpiring &&
        Math.abs(was.endsAt - life.endsAt) < JITTER;
      next.set(key, isSame ? was : life);
      if (!isSame) changed.push(life);
    }
    const gone = [...this.#known.keys()].filter((key) => !next.has(key));
    this.#known = next;
    return { changed, gone };
  }
}
