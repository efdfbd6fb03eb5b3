import { UsageError } from '../../errors.ts';
import { CHECKS } from './checks/index.ts';
import type { Facts } from './facts.ts';
import type { Check, Finding, Level, Report } from './types.ts';

/** The checks of these ids; all when none is named. Throws UsageError for what is no check. */
export function chosen(ids: readonly string[]): readonly Check<Facts>[] {
  const strange = ids.find((id) => !CHECKS.some((c) => c.id === id));
  if (strange !== undefined)
    throw new UsageError(`--only: there is no check ${JSON.stringify(strange)}; --list tells all there are`);
  return ids.length === 0 ? CHECKS : CHECKS.filter((c) => ids.includes(c.id));
}

/** Pure: all findings of some checks about some facts. */
export function examine(facts: Facts, checks: readonly Check<Facts>[], at: Date): Report {
  const findings = checks.flatMap((check) => findingsOf(check, facts));
  const counts: Record<Level, number> = { ok: 0, info: 0, warning: 0, failure: 0, skipped: 0 };
  for (const { level } of findings) counts[level]++;
  return {
    well: counts.failure === 0,
    at: at.toISOString(),
    privileged: facts.privileged,
    daemon: facts.world.daemon.state,
    counts,
    findings,
  };
}

function findingsOf(check: Check<Facts>, facts: Facts): Finding[] {
  try {
    return check.look(facts).map((found) => ({ check: check.id, ...found }));
  } catch (e) {
    // A bug in one check must not hide what the others have to say.
    const cause = `this check failed itself, which is a bug in loden: ${e instanceof Error ? e.message : String(e)}`;
    return [{ check: check.id, level: 'skipped', subject: null, cause, fix: null }];
  }
}
