import type { FirewallStatus } from '../../kernel/firewall.ts';
import { type PassReport, some } from '../../kernel/status.ts';
import type { Happening } from './log.ts';

/** More of one sort than this are one event. */
const MOST = 20;

function few<T>(
  all: readonly T[],
  one: (item: T) => Happening,
  many: (count: number) => string,
): Happening[] {
  if (all.length <= MOST) return all.map(one);
  const first = one(all[0]!);
  return [{ ...first, subject: null, message: `${many(all.length)}, e.g. ${first.message}` }];
}

/** What a pass of the reconciler did, as far as it is news: putting what leases ask for is not. */
export function passHappenings(report: PassReport): Happening[] {
  const { failed, conflicts, recovered, repairedExamples } = report;
  const found: Happening[] = [];
  const repaired = some(report.repaired);
  if (Object.keys(repaired).length > 0)
    found.push({
      level: 'warn',
      kind: 'repair',
      subject: repairedExamples[0] ?? null,
      message: `the kernel had been changed by somebody else, put right: ${repairedExamples.join('; ')}`,
      fields: repaired,
    });
  found.push(
    ...few(
      failed,
      ({ object, error }) => ({
        level: 'error',
        kind: 'kernel',
        subject: object,
        message: `the kernel refuses ${object}: ${error}`,
        fields: { error },
      }),
      (count) => `the kernel refuses ${count} objects`,
    ),
    ...few(
      conflicts,
      ({ object, with: other }) => ({
        level: 'warn',
        kind: 'kernel',
        subject: object,
        message: `${object} is in conflict with ${other}`,
        fields: { with: other },
      }),
      (count) => `${count} objects are in conflict with others`,
    ),
  );
  if (recovered > 0)
    found.push({
      level: 'info',
      kind: 'kernel',
      message: `${recovered} ${recovered === 1 ? 'object is' : 'objects are'} accepted again`,
      fields: { recovered },
    });
  return found;
}

/** What a look at the firewall found. */
export function firewallHappenings(before: FirewallStatus, now: FirewallStatus): Happening[] {
  const found: Happening[] = [];
  const masquerade = now.repairs.masquerade - before.repairs.masquerade;
  const forward = now.repairs.forward - before.repairs.forward;
  if (masquerade + forward > 0)
    found.push({
      level: 'warn',
      kind: 'repair',
      subject: 'firewall',
      message: 'firewall rules had been changed by somebody else: put right',
      fields: { masquerade, forward },
    });
  if (now.error !== null && now.error !== before.error)
    found.push({
      level: 'error',
      kind: 'kernel',
      subject: 'firewall',
      message: `firewall rules cannot be put: ${now.error}`,
    });
  if (now.error === null && before.error !== null)
    found.push({
      level: 'info',
      kind: 'kernel',
      subject: 'firewall',
      message: 'firewall rules are in place again',
    });
  for (const problem of now.problems.filter((p) => !before.problems.includes(p)))
    found.push({ level: 'warn', kind: 'kernel', subject: 'firewall', message: problem });
  for (const problem of before.problems.filter((p) => !now.problems.includes(p)))
    found.push({ level: 'info', kind: 'kernel', subject: 'firewall', message: `solved: ${problem}` });
  return found;
}
