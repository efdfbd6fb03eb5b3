import type { LeaseChangeJson, NetworkChangeJson } from '../../api/changes.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import { cell, count } from '../render.ts';

const DONE: Readonly<Record<LeaseChangeJson['done'], string>> = {
  created: 'reserved, where there was nothing',
  reserved: 'a reservation now: it never runs out',
  released: 'an ordinary lease now',
  deleted: 'deleted',
  nothing: 'a reservation already; nothing was changed',
};

/** `loden leases reserve` and `release`: what was done, and what follows. */
export function renderLeaseChange(subnet: string, change: LeaseChangeJson, paint: Paint): string {
  const name = change.lease?.subnets.join(', ') ?? subnet;
  const done = change.done === 'nothing' ? DONE.nothing : paint.good(DONE[change.done]);
  const notes = change.notes.map((note) => `note: ${printable(note)}\n`);
  return `${printable(name)}: ${done}\n${notes.join('')}`;
}

/** Leases that are listed one by one. */
const LISTED = 20;

const shown = (value: unknown): string => cell(JSON.stringify(value) ?? 'nothing', 200);

/** What a new network config changes: what differs, who loses, and what running daemons make of it. `refused`: it was not set for that. */
export function renderNetworkChange(change: NetworkChangeJson, paint: Paint, refused = false): string {
  const { changes, orphans, restart, unknownKeys, problem } = change;
  const lines: string[] = [];
  if (problem !== null) lines.push(`${paint.warn('what is there cannot be used')}: ${printable(problem)}`);
  for (const one of changes) {
    const path = printable(one.path);
    if ('from' in one) lines.push(paint.removed(`- ${path}: ${shown(one.from)}`));
    if ('to' in one) lines.push(paint.added(`+ ${path}: ${shown(one.to)}`));
  }
  for (const key of unknownKeys)
    lines.push(`${paint.warn('unknown')}: ${printable(key)} means nothing to this version`);
  if (orphans.length > 0) {
    lines.push(`${paint.bad(`orphans ${count(orphans.length, 'lease')}`)}:`);
    for (const { subnets, publicIP, why } of orphans.slice(0, LISTED))
      lines.push(
        `  ${printable(subnets.join(', '))} of ${printable(publicIP ?? 'nobody')}: ${printable(why)}`,
      );
    if (orphans.length > LISTED) lines.push(`  and ${orphans.length - LISTED} more`);
  }
  if (changes.length > 0)
    lines.push(
      restart.length === 0
        ? 'running daemons apply it at once'
        : `${paint.warn('running daemons must be restarted')} for ${restart.map(printable).join(', ')}; until then they go by the old one`,
    );
  lines.push(endOf(change, paint, refused));
  return lines.map((line) => `${line}\n`).join('');
}

function endOf(
  { key, done, revision, changes, problem }: NetworkChangeJson,
  paint: Paint,
  refused: boolean,
): string {
  const name = printable(key);
  if (done === 'set') return `${paint.good('set')}: ${name} at revision ${revision}`;
  if (done === 'nothing' || (changes.length === 0 && problem === null)) return `nothing to change at ${name}`;
  return `not set: ${name} stays as it is${refused ? '' : ' (--dry-run)'}`;
}
