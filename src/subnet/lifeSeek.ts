import { overlaps } from '../net/prefix.ts';
import { allocate, findOwn, isCompatible } from './allocate.ts';
import { describeSubnets } from './key.ts';
import { keep, keepAlive, renewIdentity } from './lifeKeep.ts';
import { sharesEndpoint, type Turn, whose } from './lifeTurn.ts';
import type { Op } from './lifeTypes.ts';
import type { Lease, LeaseRequest } from './types.ts';
import type { PrefixView } from './view.ts';

/** Milliseconds an owner has to answer a challenge. */
export const CHALLENGE_WAIT = 5_000;
/** Milliseconds after which a challenge that is gone may have run out by itself ({@link CHALLENGE_TTL}). */
export const CHALLENGE_SURE = 12_000;
/** Milliseconds until a daemon with our node id and address is asked again whether it lives. */
const ASK_AGAIN = 60_000;
/** Seconds: the TTL of a challenge. */
export const CHALLENGE_TTL = 15;

/** Rows 18 to 20 of the table in life.ts: find, take over or make a lease. Returns what to do, if anything. */
export function seek(turn: Turn, want: LeaseRequest, view: PrefixView): Op | undefined {
  const { life } = turn;
  const previous = life.last?.subnets ?? want.previous;
  const self = { node: life.node, endpoints: want.attrs.endpoints, previous };
  const found = findOwn(view.leases.values(), self, want.network);
  if (found?.node === life.node && found.instance !== life.instance) {
    const isElsewhere = !sharesEndpoint(found.endpoints, want.attrs.endpoints);
    const isRival = found.instance !== undefined && found.instance === life.yieldedTo;
    if (isElsewhere || isRival) return challenge(turn, found, want, view, isElsewhere);
  }
  life.challenge = undefined;
  life.yieldedTo = undefined;
  if (found && !isCompatible(found.subnets, want.network)) {
    const what = describeSubnets(found.subnets);
    turn.say('info', 'lost', `our lease of ${what} does not fit the network config: deleting it`, found);
    return { op: 'remove', lease: found };
  }
  if (found) {
    const own = turn.found(found, 'adopted', view.epoch);
    life.own = own;
    return keepAlive(own) ?? keep(turn, own, want, view);
  }
  return create(turn, want, view);
}

/** Row 20. */
function create(turn: Turn, want: LeaseRequest, view: PrefixView): Op | undefined {
  const { life } = turn;
  blame(turn, view);
  const taken = [...view.leases.values()].flatMap((l) => l.subnets);
  for (const u of view.unreadable.values()) taken.push(...u.occupies);
  const choice = allocate(want.network, taken, life.last?.subnets ?? want.previous, turn.random);
  if ('exhausted' in choice) {
    life.waitingFor = choice.exhausted;
    turn.say('error', 'exhausted', choice.exhausted);
    return undefined;
  }
  life.waitingFor = `acquiring ${describeSubnets(choice.subnets)}`;
  return { op: 'create', subnets: choice.subnets, attrs: turn.attrs(want.attrs), ttl: want.ttl };
}

/** However the last lease was lost: when somebody else has its subnet now, that is what an operator must read. */
function blame({ life }: Turn, view: PrefixView): void {
  const { last, lost } = life;
  if (!last || lost?.level === 'error') return;
  for (const lease of view.leases.values()) {
    if (!lease.subnets.some((s) => last.subnets.some((l) => overlaps(s, l)))) continue;
    const why = lost?.why ?? `the lease of ${describeSubnets(last.subnets)} is lost`;
    life.lost = { why: `${why}; ${whose(lease)} has ${describeSubnets(lease.subnets)} now`, level: 'error' };
    return;
  }
}

/**
 * Row 18: does the daemon live that wrote our node id into this lease? If it does and is elsewhere, our state
 * directory is a copy of its; if it does and has our address, the lease is left to it, and it is asked again later.
 */
function challenge(
  turn: Turn,
  found: Lease,
  want: LeaseRequest,
  view: PrefixView,
  isElsewhere: boolean,
): Op | undefined {
  const { life } = turn;
  const asked = view.challenges.get(life.node);
  if (life.challenge) {
    const { modRevision, sentAt } = life.challenge;
    if (view.revision < modRevision) return undefined;
    if (asked?.modRevision === modRevision) {
      if (turn.now < sentAt + CHALLENGE_WAIT) return undefined;
      return {
        op: 'takeOver',
        lease: found,
        attrs: turn.attrs(want.attrs),
        node: life.node,
        challenge: modRevision,
      };
    }
    life.challenge = undefined;
    if (turn.now < sentAt + CHALLENGE_SURE) {
      if (isElsewhere) return renewIdentity(turn, `${whose(found)} answers to our node id`);
      life.askAt = turn.now + ASK_AGAIN;
      life.waitingFor = 'another daemon with this host’s node id and address holds the lease';
    }
  }
  // Somebody else asks, or we did and do not know since when: that goes by itself in at most 15 s.
  if (asked || turn.now < life.askAt) return undefined;
  life.waitingFor = `asking ${whose(found)} whether it lives: it has our node id`;
  return { op: 'challenge', node: life.node, endpoints: want.attrs.endpoints };
}
