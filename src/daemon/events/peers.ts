import { formatAddr } from '../../net/addr.ts';
import type { Lease, SubnetKey } from '../../subnet/types.ts';
import type { Happening } from './log.ts';

/** More changes at once than this are one event. */
const MOST = 50;
const EXAMPLES = 5;

type Leases = ReadonlyMap<SubnetKey, Lease>;

const endpoints = (lease: Lease): string =>
  [...lease.endpoints.values()].map(formatAddr).join(', ') || 'no address';

/** What of a lease is another than before, in words; undefined: nothing that its peers see. */
function change(a: Lease, b: Lease): string | undefined {
  const parts: string[] = [];
  if (endpoints(a) !== endpoints(b)) parts.push(`its address is ${endpoints(b)}, was ${endpoints(a)}`);
  if (a.backend !== b.backend)
    parts.push(`its backend is ${b.backend ?? "the network's"}, was ${a.backend ?? "the network's"}`);
  if (JSON.stringify([...a.data]) !== JSON.stringify([...b.data]))
    parts.push('its backend data have changed');
  if (a.node !== b.node) parts.push(`its node is ${b.node ?? 'not told'}, was ${a.node ?? 'not told'}`);
  const [was, is] = [a.etcdLease === 'reservation', b.etcdLease === 'reservation'];
  if (was !== is) parts.push(is ? 'it is a reservation now' : 'it is no reservation any more');
  if (parts.length === 0 && a.instance !== b.instance) parts.push('its daemon was started anew');
  return parts.length === 0 ? undefined : parts.join('; ');
}

const facts = (lease: Lease): NonNullable<Happening['fields']> => ({
  publicIP: endpoints(lease),
  ...(lease.node === undefined ? {} : { node: lease.node }),
});

/**
 * Whose leases came, went and changed from one view of etcd to the next. `mine`: is this lease our own? Many at once, as after a restored
 * backup, are one event, and so are those of the first view.
 */
export function peerHappenings(
  before: Leases | undefined,
  now: Leases,
  mine: (lease: Lease) => boolean,
): Happening[] {
  const found: Happening[] = [];
  const counts = { come: 0, gone: 0, changed: 0 };
  const examples: string[] = [];
  const add = (what: keyof typeof counts, lease: Lease, make: () => Happening): void => {
    counts[what]++;
    if (found.length <= MOST) found.push(make());
    if (examples.length < EXAMPLES) examples.push(lease.key);
  };
  // Not for … of: without a compiler that takes ten times as long, and this is done for each view of thousands.
  now.forEach((lease, key) => {
    const old = before?.get(key);
    if (old === lease || mine(lease)) return;
    const text = old && change(old, lease);
    if (old && text === undefined) return;
    add(old ? 'changed' : 'come', lease, () => ({
      level: 'info',
      kind: 'peer',
      subject: key,
      message: old ? `${key} has changed: ${text}` : `${key} is leased to ${endpoints(lease)}`,
      fields: facts(lease),
    }));
  });
  before?.forEach((lease, key) => {
    if (now.has(key) || mine(lease)) return;
    add('gone', lease, () => ({
      level: 'info',
      kind: 'peer',
      subject: key,
      message: `${key}, leased to ${endpoints(lease)}, is free again`,
      fields: facts(lease),
    }));
  });
  if (before && found.length <= MOST) return found;
  if (found.length === 0) return [];
  const { come, gone, changed } = counts;
  return [
    {
      level: 'info',
      kind: 'peer',
      message: before
        ? `many leases changed at once: ${come} came, ${gone} went, ${changed} changed`
        : `${come} other ${come === 1 ? 'lease' : 'leases'} seen`,
      fields: { ...counts, examples: examples.join(', ') },
    },
  ];
}

/** Peers that are refused now, with the reasons, and that are served again. */
export function refusalHappenings(
  before: ReadonlyMap<SubnetKey, string>,
  now: ReadonlyMap<SubnetKey, string>,
): Happening[] {
  if (before === now) return [];
  const refused = Array.from(now).filter(([key, reason]) => before.get(key) !== reason);
  const served = [...before.keys()].filter((key) => !now.has(key));
  if (refused.length + served.length > MOST)
    return [
      {
        level: refused.length > 0 ? 'warn' : 'info',
        kind: 'peer',
        message: `${refused.length} peers are not served, ${served.length} are no longer refused`,
        fields: { refused: refused.length, served: served.length, example: refused[0]?.join(': ') ?? null },
      },
    ];
  return [
    ...refused.map(
      ([key, reason]): Happening => ({
        level: 'warn',
        kind: 'peer',
        subject: key,
        message: `${key} is not served: ${reason}`,
      }),
    ),
    ...served.map(
      (key): Happening => ({
        level: 'info',
        kind: 'peer',
        subject: key,
        message: `${key} is no longer refused`,
      }),
    ),
  ];
}
