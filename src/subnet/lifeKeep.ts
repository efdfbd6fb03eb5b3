import { overlaps } from '../net/prefix.ts';
import { isCompatible, sameHost } from './allocate.ts';
import { describeSubnets } from './key.ts';
import { fieldsOf, SEEN_WITHIN, sharesEndpoint, type Turn, whose } from './lifeTurn.ts';
import type { Op, Own } from './lifeTypes.ts';
import type { Lease, LeaseRequest } from './types.ts';
import { encodeValue } from './value.ts';
import type { PrefixView } from './view.ts';

const BACK_IN_TIME = 'etcd went back to an earlier state';

/** Rows 6 to 17 of the table in life.ts: look after the own lease. Returns what to do, if anything. */
export function keep(turn: Turn, before: Own, want: LeaseRequest, view: PrefixView): Op | undefined {
  const { life } = turn;
  if (view.revision < before.lease.modRevision) {
    if (turn.now >= before.seenBy) {
      life.own = { ...before, seenBy: turn.now + SEEN_WITHIN };
      turn.reread();
    }
    return undefined;
  }
  const renamed = compare(turn, before, want, view);
  if (renamed) return renamed;
  const { own } = life;
  if (!own) return undefined;
  if (own.fenced || isRenewalDue(turn, own)) return keepAlive(own);

  const misfit = checkPlace(turn, own, want, view);
  if (misfit || !life.own) return misfit;
  const others = [...view.leases.values()].filter((l) => l.node === life.node && l.key !== own.lease.key);
  const isOurs = (l: Lease) =>
    l.instance === life.instance || sharesEndpoint(l.endpoints, want.attrs.endpoints);
  // A stranger's lease that does not fit the config is nobody's any more, or will be given up.
  const strangers = others.filter((l) => !isOurs(l) && isCompatible(l.subnets, want.network));
  const cloned = checkClones(turn, own, view, strangers);
  if (cloned) return cloned;

  const attrs = turn.attrs(want.attrs);
  const isReservation = own.lease.etcdLease === 'reservation';
  const regrant = !isReservation && own.ttl !== want.ttl;
  if (regrant || encodeValue(attrs) !== encodeValue(own.lease)) {
    if (turn.now < own.calmUntil) return undefined;
    return regrant
      ? { op: 'regrant', lease: own.lease, attrs, ttl: want.ttl }
      : { op: 'rewrite', lease: own.lease, attrs };
  }
  settle(turn, life.own);
  const left = others.find((l) => isOurs(l) && l.etcdLease !== 'reservation');
  return left && { op: 'remove', lease: left };
}

export const isRenewalDue = (turn: Turn, own: Own): boolean =>
  own.renewAt !== undefined && turn.now >= own.renewAt;

/** Undefined for a reservation. */
export const keepAlive = ({ lease }: Own): Op | undefined =>
  lease.etcdLease === 'reservation' ? undefined : { op: 'keepAlive', etcdLease: lease.etcdLease };

/** Rows 7 to 11: what the view says of our key. */
function compare(turn: Turn, own: Own, want: LeaseRequest, view: PrefixView): Op | undefined {
  const { life } = turn;
  const { key, modRevision } = own.lease;
  const garbled = view.unreadable.get(key);
  if (garbled) {
    if (garbled.modRevision === modRevision) return undefined;
    const { node: _node, instance: _instance, ...rest } = own.lease;
    const { createRevision, etcdLease } = garbled;
    turn.disturb(
      own,
      { ...rest, createRevision, modRevision: garbled.modRevision, etcdLease },
      'an unreadable value',
    );
    return undefined;
  }
  const now = view.leases.get(key);
  // After a restore etcd counts anew: the revision alone does not say that it is the same.
  if (now?.modRevision === modRevision && isAlike(now, own.lease)) return undefined;
  if (!now) turn.lose('its key is gone from etcd (expired or deleted)', 'info');
  else if (now.node === life.node) {
    // One with the instance it had when we found it was put there by hand: a living daemon writes its own.
    if (now.instance === life.instance || now.instance === own.lease.instance)
      life.own = turn.moveTo(own, now);
    else if (now.modRevision <= modRevision) turn.lose(BACK_IN_TIME, 'info');
    else if (sharesEndpoint(now.endpoints, want.attrs.endpoints)) {
      const message = 'another daemon with this host’s node id and address writes our lease';
      turn.say('error', 'conflict', `${message}: leaving it to that daemon`, now);
      turn.lose(message, 'info');
      life.yieldedTo = now.instance;
      life.askAt = 0;
    } else {
      turn.lose(`${whose(now)} writes it under our node id`, 'error');
      return renewIdentity(
        turn,
        `${whose(now)} has our node id and took our lease over while we could not answer`,
      );
    }
  } else if (now.node === undefined && sameHost(now.endpoints, want.attrs.endpoints)) {
    turn.disturb(own, now, 'a value without our node id (does flanneld run on this host?)');
  } else turn.lose(`it belongs to ${whose(now)} now`, 'error');
  return undefined;
}

const isAlike = (a: Lease, b: Lease): boolean =>
  a === b || (a.etcdLease === b.etcdLease && encodeValue(a) === encodeValue(b));

/** Row 13: may it stay where it is? */
function checkPlace(turn: Turn, own: Own, want: LeaseRequest, view: PrefixView): Op | undefined {
  const { life } = turn;
  const isReservation = own.lease.etcdLease === 'reservation';
  if (!isCompatible(own.lease.subnets, want.network)) {
    const why = 'it does not fit the network config any more';
    if (!isReservation) return giveUp(turn, own, why, 'info');
    turn.say('warn', 'conflict', `our reservation is left alone and not used: ${why}`, own.lease);
    turn.lose(why, 'info');
    return undefined;
  }
  if (own.verifiedAt === view.occupancy) return undefined;
  life.own = { ...own, verifiedAt: view.occupancy };
  const rival = olderOverlap(own.lease, view);
  if (rival === undefined) return undefined;
  const why = `${rival} overlaps it and was there first`;
  if (!isReservation) return giveUp(turn, own, why, 'error');
  turn.say('error', 'conflict', `our reservation is kept although ${why}; one of the two must go`, own.lease);
  return undefined;
}

/** Delete our own key, to seek another. */
function giveUp(turn: Turn, own: Own, why: string, level: 'info' | 'error'): Op {
  if (own.settled) {
    turn.life.last = own.lease;
    turn.life.lost = { why: `gave up ${describeSubnets(own.lease.subnets)}: ${why}`, level };
  }
  return { op: 'remove', lease: own.lease };
}

/** The key of something that overlaps this lease and was created before it. */
function olderOverlap(own: Lease, view: PrefixView): string | undefined {
  const clashes = (subnets: Lease['subnets']) => subnets.some((s) => own.subnets.some((o) => overlaps(s, o)));
  for (const lease of view.leases.values()) {
    if (lease.createRevision < own.createRevision && clashes(lease.subnets)) return lease.key;
  }
  for (const [key, u] of view.unreadable) {
    if (key !== own.key && u.createRevision < own.createRevision && clashes(u.occupies)) return key;
  }
  return undefined;
}

/** Row 14: `strangers` have our node id and none of our addresses. */
function checkClones(turn: Turn, own: Own, view: PrefixView, strangers: readonly Lease[]): Op | undefined {
  const { life } = turn;
  const asked = view.challenges.get(life.node);
  if (asked && asked.instance !== life.instance) {
    const message = `another daemon (instance ${asked.instance}) has our node id: it was started on a copy of our state directory`;
    turn.say('error', 'cloned', `${message}; telling it so`, own.lease);
    return { op: 'answer', node: life.node, modRevision: asked.modRevision };
  }
  const elder = strangers.find((l) => l.createRevision < own.lease.createRevision);
  return elder && renewIdentity(turn, `${whose(elder)} has our node id, and its lease for longer`);
}

/** Row 10, 14, 18. */
export function renewIdentity(turn: Turn, why: string): Op {
  turn.say('error', 'cloned', `${why}: one state directory is a copy of the other; taking a new node id`);
  return { op: 'renewIdentity' };
}

/** Row 17. */
function settle(turn: Turn, own: Own): void {
  const { life } = turn;
  if (own.settled) return;
  life.own = { ...own, settled: true };
  life.said = undefined;
  const { last, lost } = life;
  const to = describeSubnets(own.lease.subnets);
  if (last && last.key !== own.lease.key) {
    const from = describeSubnets(last.subnets);
    const message = `moved from ${from} to ${to}: ${lost?.why ?? 'the old lease is lost'}; running pods keep their old addresses`;
    turn.report(lost?.level ?? 'info', 'moved', message, { ...fieldsOf(own.lease), from });
  } else {
    const kind = own.lease.etcdLease === 'reservation' ? ' (a reservation)' : '';
    turn.report('info', own.by, `${own.by} the lease of ${to}${kind}`, fieldsOf(own.lease));
  }
  life.last = own.lease;
  life.lost = undefined;
}
