import { backoff, STORE_BACKOFF } from '../backoff.ts';
import { SEEN_WITHIN, type Turn } from './lifeTurn.ts';
import type { LifeEvent, Op, Result } from './lifeTypes.ts';

/** Take in what has happened. */
export function learn(turn: Turn, event: LifeEvent): void {
  const { life } = turn;
  if (event.type === 'want') life.want = event.want;
  else if (event.type === 'view') {
    if (life.view && life.view.epoch !== event.view.epoch) {
      life.seeRevision = 0n;
      life.challenge = undefined;
    }
    life.view = event.view;
  } else if (event.type === 'done') {
    life.op = undefined;
    if (event.result.end === 'failed') failed(turn, event.op, event.result.reason);
    else {
      life.failures = 0;
      life.error = undefined;
      done(turn, event.op, event.result);
    }
  }
}

function failed(turn: Turn, op: Op, reason: string): void {
  const { life } = turn;
  life.failures++;
  life.error = reason;
  life.retryAt = turn.now + backoff(life.failures, STORE_BACKOFF, turn.random);
  if (life.failures === 1) turn.report('warn', 'retry', `${reason}; trying again`, {});
  // It may have been done all the same, or be done yet.
  if (op.op !== 'keepAlive' && op.op !== 'renewIdentity') turn.reread();
}

function done(turn: Turn, op: Op, result: Exclude<Result, { end: 'failed' }>): void {
  const { life } = turn;
  const { own } = life;
  switch (result.end) {
    case 'written':
      written(turn, op, result);
      break;
    case 'alive':
      if (op.op === 'keepAlive' && own?.lease.etcdLease === op.etcdLease) {
        life.own = { ...own, ...turn.times(result), ttl: own.ttl ?? result.ttl, fenced: false };
      }
      break;
    case 'gone':
      if (op.op === 'keepAlive' && own?.lease.etcdLease === op.etcdLease)
        turn.lose('its etcd lease has run out', 'info');
      turn.reread();
      break;
    case 'removed':
      if (op.op === 'remove' && own?.lease.key === op.lease.key) life.own = undefined;
      turn.see(result.revision);
      break;
    case 'challenged':
      life.challenge = { modRevision: result.modRevision, sentAt: result.sentAt };
      break;
    case 'identity':
      life.node = result.node;
      life.challenge = undefined;
      break;
    case 'conflict':
      if (result.modRevision === undefined) turn.reread();
      else turn.see(result.modRevision);
  }
}

function written(turn: Turn, op: Op, { lease, granted }: Result & { end: 'written' }): void {
  const { life } = turn;
  const times = granted ? turn.times(granted) : {};
  const ttl = op.op === 'create' || op.op === 'regrant' ? { ttl: op.ttl } : {};
  if (op.op === 'create') life.own = { ...turn.found(lease, 'acquired', life.opEpoch), ...times, ...ttl };
  else if (op.op === 'takeOver') {
    life.own = turn.found(lease, 'adopted', life.opEpoch);
    life.challenge = undefined;
  } else if (life.own?.lease.key === lease.key) {
    life.own = { ...life.own, ...times, ...ttl, lease, seenBy: turn.now + SEEN_WITHIN };
  }
}
