import { describeSubnets } from './key.ts';
import { isRenewalDue, keep, keepAlive } from './lifeKeep.ts';
import { learn } from './lifeLearn.ts';
import { CHALLENGE_SURE, CHALLENGE_WAIT, seek } from './lifeSeek.ts';
import { fieldsOf, Turn } from './lifeTurn.ts';
import type { Action, Life, LifeEvent, Op } from './lifeTypes.ts';
import type { LeaseState, NodeId } from './types.ts';

/** A life that knows nothing yet. */
export const newLife = (node: NodeId, instance: string): Life => ({
  node,
  instance,
  want: undefined,
  view: undefined,
  own: undefined,
  last: undefined,
  lost: undefined,
  op: undefined,
  opEpoch: 0,
  failures: 0,
  retryAt: 0,
  error: undefined,
  readAfter: 0,
  seeRevision: 0n,
  challenge: undefined,
  yieldedTo: undefined,
  askAt: 0,
  said: undefined,
  waitingFor: 'waiting for etcd and the network config',
});

/**
 * The life of the own lease. Events bring facts; after each, the first row that applies is done, one operation at a
 * time. Operations are not believed to have worked until their result or a view says so; a failed one is followed
 * by a new list (it may have been done all the same) and a jittered, growing pause.
 *
 * | # | when | then |
 * |---|---|---|
 * | 1 | the own lease has run out by the clock | **fence**: list again; rows below wait for that list |
 * | 2 | an operation is under way, or there is no view or no request | wait |
 * | 3 | etcd went back in time since the own lease was seen | it is lost: seek |
 * | 4 | own lease, a third of its TTL has passed | keep it alive (`gone`: it is lost: list, seek) |
 * | 5 | a list, a revision or a pause is due first | wait |
 * | | **with an own lease** | |
 * | 6 | the view is older than our last write | wait: creating a key counts only when everything up to it was seen |
 * | 7 | the key is missing | lost: seek, the same subnet first |
 * | 8 | the key was written: unreadable, or without a node id but with our PublicIP (flannel) | take its revision and etcd lease over; rewritten by row 14 |
 * | 9 | …by another instance under our node id, with our PublicIP | yield: leave it to that while it lives (row 18) |
 * | 10 | …by another instance under our node id, with another PublicIP | we were cloned: new node id, seek |
 * | 11 | …by anybody else | it is another node's: seek, another subnet; `moved` at error level |
 * | 12 | fenced, or found and not renewed yet | keep it alive |
 * | 13 | an older lease overlaps it; or it does not fit the network config | delete it, seek (a reservation: say so) |
 * | 14 | somebody challenges our node id / lives under it elsewhere, for longer | delete the challenge / new node id |
 * | 15 | the value, or the TTL, is not what is wanted | rewrite it / under a new etcd lease |
 * | 16 | another key of ours is left | delete it (never a reservation) |
 * | 17 | else | **held** |
 * | | **without** | |
 * | 18 | one with our node id, of another instance, with another PublicIP or yielded to | challenge it; not answered: take it over; answered: with another PublicIP we are the copy: new node id; else ask again later |
 * | 19 | one of ours ({@link findOwn}) that fits / does not fit | own it, row 12 / delete it |
 * | 20 | none | create one ({@link allocate}); `conflict`: again after the view shows the other |
 *
 * Pure: the same arguments give the same answer. `now` in milliseconds of a clock that goes on while the machine
 * sleeps. Returns the new life, what to do, and when to come back with a `tick` at the latest.
 */
export function step(
  life: Life,
  event: LifeEvent,
  now: number,
  random: () => number,
): { readonly life: Life; readonly actions: readonly Action[]; readonly wakeAt: number | undefined } {
  const turn = new Turn(life, now, random);
  learn(turn, event);
  fence(turn);
  const op = turn.life.op ? undefined : decide(turn);
  if (op) {
    turn.life.op = op;
    turn.life.opEpoch = turn.life.view?.epoch ?? 0;
    turn.actions.push({ do: 'run', op });
  }
  return { life: turn.life, actions: turn.actions, wakeAt: wakeAt(turn.life, now) };
}

/** Row 1. */
function fence(turn: Turn): void {
  const { own } = turn.life;
  if (!own || own.fenced || own.expiresAt === undefined || turn.now < own.expiresAt) return;
  turn.life.own = { ...own, fenced: true };
  turn.reread();
  if (!own.settled) return;
  const message =
    'the lease ran out by this host’s clock: no new pods until etcd has renewed it; forwarding goes on';
  turn.report('error', 'fenced', message, fieldsOf(own.lease));
}

/** Rows 2 to 5, then those with or without an own lease. */
function decide(turn: Turn): Op | undefined {
  const { life, now } = turn;
  const { want, view } = life;
  if (!want || !view) {
    life.waitingFor = view ? 'waiting for the network config' : 'waiting for etcd';
    return undefined;
  }
  if (life.own && life.own.epoch !== view.epoch) turn.lose('etcd went back to an earlier state', 'info');
  const { own } = life;
  if (own && !own.fenced && isRenewalDue(turn, own) && now >= life.retryAt) return keepAlive(own);
  if (view.list <= life.readAfter || view.revision < life.seeRevision || now < life.retryAt) return undefined;
  const op = own && keep(turn, own, want, view);
  return op ?? (life.own ? undefined : seek(turn, want, view));
}

/** What the rest of the daemon is told. */
export function leaseState(life: Life, now: number): LeaseState {
  const { own, last } = life;
  if (own?.settled && !own.fenced && (own.expiresAt === undefined || now < own.expiresAt)) {
    return {
      state: 'held',
      lease: own.lease,
      ...(own.expiresAt === undefined ? {} : { expiresAt: own.expiresAt, ttl: own.granted }),
    };
  }
  const error = life.error ? `; ${life.error}` : '';
  if (own?.settled) {
    return { state: 'fenced', lease: own.lease, reason: `the lease ran out by this host’s clock${error}` };
  }
  const reason = own
    ? `waiting until the lease of ${describeSubnets(own.lease.subnets)} is confirmed`
    : life.waitingFor;
  if (!last) return { state: 'waiting', reason: `${reason}${error}` };
  return {
    state: 'fenced',
    lease: last,
    reason: `${life.lost?.why ?? 'the lease is lost'}; ${reason}${error}`,
  };
}

/** The next time at which something is due by the clock alone. */
function wakeAt(life: Life, now: number): number | undefined {
  const { own, challenge } = life;
  const times: (number | undefined)[] = [life.retryAt, life.askAt];
  if (own) times.push(own.renewAt, own.fenced ? undefined : own.expiresAt, own.calmUntil, own.seenBy);
  if (challenge) times.push(challenge.sentAt + CHALLENGE_WAIT, challenge.sentAt + CHALLENGE_SURE);
  const due = times.filter((t): t is number => t !== undefined && t > now);
  return due.length > 0 ? Math.min(...due) : undefined;
}
