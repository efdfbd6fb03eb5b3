import { backoff, STORE_BACKOFF } from '../backoff.ts';
import { type Addr, type Family, formatAddr, sameAddr } from '../net/addr.ts';
import type { StoreReport } from './api.ts';
import { describeSubnets } from './key.ts';
import type { Action, Life, Own } from './lifeTypes.ts';
import type { Lease, LeaseAttrs } from './types.ts';

/** Milliseconds in which the watch must have told of our own write. */
export const SEEN_WITHIN = 10_000;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** One step of the life: a copy of it that is changed, what to do, and the moves its rules are made of. */
export class Turn {
  readonly life: Mutable<Life>;
  readonly actions: Action[] = [];
  /** Milliseconds. */
  readonly now: number;
  readonly random: () => number;

  constructor(life: Life, now: number, random: () => number) {
    this.life = { ...life };
    this.now = now;
    this.random = random;
  }

  /** A lease that is ours from now on, still to be renewed (unless it is a reservation) and verified. */
  found(lease: Lease, by: Own['by'], epoch: number): Own {
    return {
      lease,
      epoch,
      expiresAt: undefined,
      renewAt: lease.etcdLease === 'reservation' ? undefined : this.now,
      ttl: undefined,
      granted: undefined,
      fenced: false,
      settled: false,
      verifiedAt: undefined,
      by,
      seenBy: this.now + SEEN_WITHIN,
      disturbed: 0,
      calmUntil: 0,
    };
  }

  /** When an etcd lease ends, counted from when we asked for it, and when to renew it. */
  times({ ttl, sentAt }: { readonly ttl: number; readonly sentAt: number }): {
    expiresAt: number;
    renewAt: number;
    granted: number;
  } {
    const third = (ttl * 1000) / 3;
    return {
      expiresAt: sentAt + ttl * 1000,
      renewAt: sentAt + third * (0.9 + 0.2 * this.random()),
      granted: ttl,
    };
  }

  /** Our key at another revision, perhaps on another etcd lease. */
  moveTo(own: Own, lease: Lease): Own {
    if (lease.etcdLease === own.lease.etcdLease) return { ...own, lease };
    if (lease.etcdLease === 'reservation') {
      return { ...own, lease, expiresAt: undefined, renewAt: undefined, fenced: false };
    }
    return { ...own, lease, renewAt: this.now, ttl: undefined };
  }

  /** Somebody wrote our key but does not claim it: we write it again, the slower the more often it happens. */
  disturb(own: Own, lease: Lease, what: string): void {
    const disturbed = own.disturbed + 1;
    const calmUntil = this.now + backoff(disturbed, STORE_BACKOFF, this.random);
    this.life.own = { ...this.moveTo(own, lease), disturbed, calmUntil };
    this.say('warn', 'rewritten', `somebody wrote ${what} to our lease key: writing ours again`, lease);
  }

  /** We do not have it any more. */
  lose(why: string, level: 'info' | 'error'): void {
    const { own } = this.life;
    this.life.own = undefined;
    this.life.waitingFor = 'seeking a lease';
    if (!own?.settled) return;
    this.life.last = own.lease;
    this.life.lost = { why: `the lease of ${describeSubnets(own.lease.subnets)} is lost: ${why}`, level };
    this.report(level === 'info' ? 'warn' : level, 'lost', this.life.lost.why, fieldsOf(own.lease));
  }

  /** Write nothing before the prefix was listed anew. */
  reread(): void {
    this.life.readAfter = this.life.view?.list ?? 0;
    this.actions.push({ do: 'relist' });
  }

  /** Write nothing before a view of this revision. */
  see(revision: bigint): void {
    if (revision > this.life.seeRevision) this.life.seeRevision = revision;
  }

  /** What our lease shall say. */
  attrs(attrs: LeaseAttrs): LeaseAttrs {
    return { ...attrs, node: this.life.node, instance: this.life.instance };
  }

  /** Report it unless it was the last thing reported so. */
  say(level: StoreReport['level'], event: StoreReport['event'], message: string, lease?: Lease): void {
    if (this.life.said === message) return;
    this.life.said = message;
    this.report(level, event, message, lease ? fieldsOf(lease) : {});
  }

  report(
    level: StoreReport['level'],
    event: StoreReport['event'],
    message: string,
    fields: StoreReport['fields'],
  ): void {
    this.actions.push({ do: 'report', report: { level, event, message, fields } });
  }
}

export const fieldsOf = (lease: Lease): StoreReport['fields'] => ({
  key: lease.key,
  subnet: describeSubnets(lease.subnets),
  modRevision: String(lease.modRevision),
});

/** The owner of a lease, in words. */
export function whose(lease: Lease): string {
  const at = Array.from(lease.endpoints.values(), formatAddr).join(', ') || 'an unknown address';
  return lease.node === undefined ? `the node at ${at}` : `node ${lease.node} at ${at}`;
}

/** Is any address of one an address of the other? */
export const sharesEndpoint = (a: ReadonlyMap<Family, Addr>, b: ReadonlyMap<Family, Addr>): boolean =>
  [...a].some(([family, addr]) => sameAddr(addr, b.get(family)));
