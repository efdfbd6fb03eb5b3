import type { LeaseJson, LeasesJson } from '../../api/shapes.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import { type Cell, type Columns, cell, count, fitting, leftOutWords, widthOf } from '../render.ts';

/** Node ids are told apart by their first digits; `--json` has them whole. */
const NODE_DIGITS = 8;

const COLUMNS: Columns = {
  titles: ['', 'SUBNET', 'PUBLIC IP', 'BACKEND', 'NODE', 'KIND'],
  leftOut: ['NODE', 'BACKEND', 'KIND'],
};

/** How a list is shown. */
export interface LeasesLook {
  readonly paint: Paint;
  /** Of the terminal. */
  readonly columns?: number | undefined;
  /** The network's backend, which a lease that names none uses; undefined: not known. */
  readonly networkBackend?: string | undefined;
}

const endpointsOf = (lease: Pick<LeaseJson, 'publicIP' | 'publicIPv6'>): string =>
  printable([lease.publicIP, lease.publicIPv6].filter((a) => a !== null).join(', ')) || '-';

function leaseRow(lease: LeaseJson, { paint, networkBackend }: LeasesLook): Cell[] {
  const strong = lease.self ? paint.strong : (text: string) => text;
  return [
    { text: lease.self ? '*' : ' ', as: strong },
    { text: printable(lease.subnets.join(', ')), as: strong },
    endpointsOf(lease),
    cell(lease.backend ?? networkBackend ?? '-'),
    { text: cell(lease.node?.slice(0, NODE_DIGITS) ?? '-'), as: paint.faint },
    lease.reservation ? { text: 'reservation', as: paint.good } : 'lease',
  ];
}

/** For narrow terminals: the second subnet and address of a lease below the first. */
function stack(row: readonly Cell[]): Cell[][] {
  const parts = row.map((c) => {
    const [text, as] = typeof c === 'object' ? [c.text, c.as] : [c, undefined];
    return text.split(', ').map((part) => (as ? { text: part, as } : part));
  });
  return Array.from({ length: Math.max(...parts.map((p) => p.length)) }, (_, i) =>
    parts.map((p) => p[i] ?? ''),
  );
}

/** `loden leases`: who has which subnet; a star marks the daemon's own. */
export function renderLeases(list: LeasesJson, look: LeasesLook): string {
  const { paint, columns } = look;
  const from = list.source === 'daemon' ? 'the daemon' : 'etcd';
  const title = `${count(list.leases.length, 'lease')} at revision ${list.revision}, from ${from}\n`;
  const aside = list.setAside.map(
    ({ key, reason }) => `${paint.warn('set aside')}: ${cell(key)}: ${printable(reason)}\n`,
  );
  const rows = list.leases.map((lease) => leaseRow(lease, look));
  const stacked = columns === undefined || widthOf(rows) <= columns ? rows : rows.flatMap(stack);
  const { text, without } = fitting(COLUMNS, stacked, paint.strong, columns);
  return [rows.length > 0 ? text + leftOutWords(without) : '', title, ...aside].join('');
}

/** `loden leases show`: all that one lease says. */
export function renderLease(lease: LeaseJson, look: LeasesLook): string {
  const { paint, networkBackend } = look;
  const network = networkBackend === undefined ? '-' : `${networkBackend} (the network's)`;
  const data = (value: unknown): string =>
    value === null || value === undefined ? '-' : printable(JSON.stringify(value));
  const rows: [string, string][] = [
    ['subnet', printable(lease.subnets.join(', ')) + (lease.self ? " (this host's)" : '')],
    ['key', printable(lease.key)],
    ['public IP', endpointsOf(lease)],
    ['backend', lease.backend === null ? network : cell(lease.backend)],
    ['backend data', data(lease.data)],
    ...(lease.dataV6 === null || lease.dataV6 === undefined
      ? []
      : [['backend data, IPv6', data(lease.dataV6)] as [string, string]]),
    ['node', printable(lease.node ?? '- (flannel, or reserved for an address)')],
    ['instance', printable(lease.instance ?? '-')],
    [
      'kind',
      lease.reservation
        ? 'reservation: it never runs out'
        : `lease, kept alive by etcd lease ${printable(lease.etcdLease ?? '-')}`,
    ],
    ['created', `at revision ${printable(lease.createRevision)}`],
    ['last written', `at revision ${printable(lease.modRevision)}`],
  ];
  return fieldRows(rows, paint);
}

/** Names and values, one pair on a line; values come printable, and may be painted and have several lines. */
export function fieldRows(rows: readonly (readonly [string, string])[], paint: Paint): string {
  const width = rows.reduce((widest, [name]) => Math.max(widest, name.length), 0);
  return rows
    .map(([name, value]) => {
      const [first = '', ...more] = value.split('\n');
      const indent = ' '.repeat(width + 2);
      const rest = more.map((line) => `${indent}${line}\n`).join('');
      return `${`${paint.faint(name)}${' '.repeat(width - name.length)}  ${first}`.trimEnd()}\n${rest}`;
    })
    .join('');
}

/** What is new in a list, a line each: what `--watch` shows where it is not on a terminal. */
export type LeaseChange =
  | { readonly change: 'appeared' | 'changed'; readonly lease: LeaseJson }
  | { readonly change: 'gone'; readonly lease: LeaseJson }
  | { readonly change: 'set aside'; readonly key: string; readonly reason: string };

/** From one list to the next, by key; a lease that only was renewed has not changed. */
export function changesOf(before: LeasesJson, after: LeasesJson): LeaseChange[] {
  const old = new Map(before.leases.map((l) => [l.key, l]));
  const now = new Set(after.leases.map((l) => l.key));
  const aside = new Set(before.setAside.map((s) => `${s.key} ${s.reason}`));
  return [
    ...before.leases
      .filter((l) => !now.has(l.key))
      .map((lease) => ({ change: 'gone', lease }) satisfies LeaseChange),
    ...after.leases.flatMap((lease): LeaseChange[] => {
      const was = old.get(lease.key);
      if (!was) return [{ change: 'appeared', lease }];
      return was.modRevision === lease.modRevision && was.self === lease.self
        ? []
        : [{ change: 'changed', lease }];
    }),
    ...after.setAside
      .filter((s) => !aside.has(`${s.key} ${s.reason}`))
      .map(({ key, reason }) => ({ change: 'set aside', key, reason }) satisfies LeaseChange),
  ];
}

export function renderChange(change: LeaseChange, look: LeasesLook): string {
  const { paint } = look;
  if (change.change === 'set aside')
    return `${paint.warn('set aside')} ${cell(change.key)}: ${printable(change.reason)}\n`;
  const as = { appeared: paint.added, changed: paint.warn, gone: paint.removed }[change.change];
  const cells = leaseRow(change.lease, look).slice(1);
  const text = cells.map((c) => (typeof c === 'object' ? c.text : c)).join('  ');
  return `${as(change.change)} ${text}\n`;
}
