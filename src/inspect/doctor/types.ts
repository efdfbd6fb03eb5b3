/** What doctor says: one finding for each thing that was looked at. */

/** `skipped`: it could not be looked at, and the cause says why. */
export type Level = 'ok' | 'info' | 'warning' | 'failure' | 'skipped';

/** Of the worst kind first. */
export const LEVELS: readonly Level[] = ['failure', 'warning', 'info', 'skipped', 'ok'];

export interface Finding {
  /** The check's id, see docs/doctor.md. */
  readonly check: string;
  readonly level: Level;
  /** What it is about: a device, a lease, an endpoint, a file; null: this host. */
  readonly subject: string | null;
  /** A plain sentence with the evidence. */
  readonly cause: string;
  /** The command to run or the setting to change; null: nothing is to be done. */
  readonly fix: string | null;
}

/** A {@link Finding} before it is known which check it is of. */
export type Found = Omit<Finding, 'check'>;

export const GROUPS = [
  'Host',
  'Firewall',
  'Tunnel',
  'Neighbours',
  'etcd',
  'Leases',
  'Daemon',
  'Pods',
] as const;
export type Group = (typeof GROUPS)[number];

/** One subject. Pure: from facts to findings. */
export interface Check<F> {
  /** As `--only` takes it. */
  readonly id: string;
  readonly group: Group;
  /** What it looks at, in a few words. */
  readonly title: string;
  /** At least one finding; the order is kept. */
  look(facts: F): readonly Found[];
}

/** `GET`-like answer of `loden doctor --json`. */
export interface Report {
  /** Is there no failure? */
  readonly well: boolean;
  /** RFC 3339. */
  readonly at: string;
  /** Facts that only root can see are missing. */
  readonly privileged: boolean;
  readonly daemon: 'running' | 'none' | 'refusing';
  readonly counts: Readonly<Record<Level, number>>;
  /** In the order of the checks. */
  readonly findings: readonly Finding[];
}

/** A fact, or why it is not known. */
export type Fact<T> = { readonly value: T } | { readonly missing: string };

export const fact = <T>(value: T): Fact<T> => ({ value });
export const missing = (why: string): Fact<never> => ({ missing: why });

export const ok = (cause: string, subject: string | null = null): Found => ({
  level: 'ok',
  subject,
  cause,
  fix: null,
});
export const skipped = (cause: string, subject: string | null = null): Found => ({
  level: 'skipped',
  subject,
  cause,
  fix: null,
});
export const info = (subject: string | null, cause: string, fix: string | null = null): Found => ({
  level: 'info',
  subject,
  cause,
  fix,
});
export const warning = (subject: string | null, cause: string, fix: string): Found => ({
  level: 'warning',
  subject,
  cause,
  fix,
});
export const failure = (subject: string | null, cause: string, fix: string): Found => ({
  level: 'failure',
  subject,
  cause,
  fix,
});

/** What was found wrong, or that all is well. */
export const orOk = (found: readonly Found[], well: string): readonly Found[] =>
  found.some((f) => f.level === 'failure' || f.level === 'warning') ? found : [...found, ok(well)];
