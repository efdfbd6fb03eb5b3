import type { LeaseJson, LeasesJson } from '../subnet/json.ts';

/** Pure: from values to what a terminal shows. What comes from etcd may hold anything, also escape sequences. */

/** Characters of one cell. */
const WIDEST = 60;

/** Node ids are told apart by their first digits; `--json` has them whole. */
const NODE_DIGITS = 8;

/** Text without control and invisible formatting characters. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?');

/** As {@link printable}, cut to a cell's width. */
export function cell(text: string): string {
  const clean = printable(text);
  return clean.length > WIDEST ? `${clean.slice(0, WIDEST - 1)}…` : clean;
}

/** Columns two spaces apart, without blanks at the ends of lines. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]): string => row.map((text, i) => text.padEnd(widths[i]!)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}

const HEADER = ['', 'SUBNET', 'PUBLIC IP', 'BACKEND', 'NODE', 'KIND'];

function leaseRow(lease: LeaseJson): string[] {
  const endpoints = [lease.publicIP, lease.publicIPv6].filter((a) => a !== null);
  return [
    lease.self ? '*' : ' ',
    printable(lease.subnets.join(', ')),
    printable(endpoints.join(', ')) || '-',
    cell(lease.backend ?? '-'),
    cell(lease.node?.slice(0, NODE_DIGITS) ?? '-'),
    lease.reservation ? 'reservation' : 'lease',
  ];
}

export const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** `loden leases`: who has which subnet; a star marks the daemon's own. */
export function renderLeases(list: LeasesJson): string {
  const from = list.source === 'daemon' ? 'the daemon' : 'etcd';
  const title = `${count(list.leases.length, 'lease')} at revision ${list.revision}, from ${from}\n`;
  const aside = list.setAside.map(({ key, reason }) => `set aside: ${cell(key)}: ${printable(reason)}\n`);
  const rows = list.leases.length > 0 ? table([HEADER, ...list.leases.map(leaseRow)]) : '';
  return rows + title + aside.join('');
}
