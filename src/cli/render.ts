import type { LeaseJson, LeasesJson } from '../subnet/json.ts';

/** Pure: from values to what a terminal shows. What comes from etcd may hold anything, also escape sequences. */

/** Characters of one cell. */
const WIDEST = 60;

/** Node ids are told apart by their first digits; `--json` has them whole. */
const NODE_DIGITS = 8;

/** Text without control and invisible formatting characters, cut to a cell's width. */
export function plain(text: string): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?');
  return clean.length > WIDEST ? `${clean.slice(0, WIDEST - 1)}…` : clean;
}

/** Columns two spaces apart, without blanks at the ends of lines. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

const HEADER = ['', 'SUBNET', 'PUBLIC IP', 'BACKEND', 'NODE', 'KIND'];

function leaseRow(lease: LeaseJson): string[] {
  const endpoints = [lease.publicIP, lease.publicIPv6].filter((a) => a !== null);
  return [
    lease.self ? '*' : ' ',
    lease.subnets.join(', '),
    endpoints.join(', ') || '-',
    lease.backend ?? '-',
    lease.node?.slice(0, NODE_DIGITS) ?? '-',
    lease.reservation ? 'reservation' : 'lease',
  ].map((cell, i) => (i === 1 || i === 2 ? cell : plain(cell)));
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** `loden leases`: who has which subnet; a star marks the daemon's own. */
export function renderLeases(list: LeasesJson): string {
  const from = list.source === 'daemon' ? 'the daemon' : 'etcd';
  const title = `${count(list.leases.length, 'lease')} at revision ${list.revision}, from ${from}\n`;
  const aside = list.setAside.map(({ key, reason }) => `set aside: ${plain(key)}: ${plain(reason)}\n`);
  const rows = list.leases.length > 0 ? table([HEADER, ...list.leases.map(leaseRow)]) : '';
  return rows + title + aside.join('');
}
