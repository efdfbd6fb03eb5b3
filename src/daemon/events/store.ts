import type { EventKind } from '../../api/shapes.ts';
import type { StoreReport } from '../../subnet/api.ts';
import type { LeaseState } from '../../subnet/types.ts';
import type { Happening } from './log.ts';

const KIND_OF: Readonly<Record<StoreReport['event'], EventKind>> = {
  connected: 'store',
  disconnected: 'store',
  restored: 'store',
  retry: 'store',
  'set-aside': 'peer',
  acquired: 'lease',
  adopted: 'lease',
  moved: 'lease',
  lost: 'lease',
  fenced: 'lease',
  rewritten: 'lease',
  conflict: 'lease',
  cloned: 'lease',
  exhausted: 'lease',
};

/** What the store reports. */
export const storeHappening = ({ level, event, message, fields }: StoreReport): Happening => ({
  level,
  kind: KIND_OF[event],
  subject: typeof fields.key === 'string' ? fields.key : null,
  message,
  fields: { event, ...fields },
});

/** What has become of our own lease, as far as the store does not report it with the reason: it is held again as it was. */
export function leaseHappenings(before: LeaseState | undefined, now: LeaseState): Happening[] {
  if (now.state !== 'held' || before?.state !== 'fenced' || before.lease.key !== now.lease.key) return [];
  const { key } = now.lease;
  return [{ level: 'info', kind: 'lease', subject: key, message: `this node holds ${key} again` }];
}
