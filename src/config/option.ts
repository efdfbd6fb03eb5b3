import type { Kind } from './kinds.ts';

/** What an option is, and how the table in options.ts says it. */

/** Every command, by the words that call it. */
export const COMMAND_NAMES = [
  'run',
  'leases list',
  'leases show',
  'leases reserve',
  'leases release',
  'status',
  'peers',
  'why',
  'doctor',
  'config show',
  'config validate',
  'config set',
  'events',
  'metrics',
  'cleanup',
  'cni install',
  'cni uninstall',
  'docker-opts',
  'completion',
  'version',
] as const;
export type Command = (typeof COMMAND_NAMES)[number];

export const GROUPS = [
  'etcd',
  'Uplink',
  'Network',
  'Files',
  'CNI',
  'Health and logs',
  'Output',
  'Changes',
  'Kubernetes',
  'flanneld',
] as const;
export type Group = (typeof GROUPS)[number];

export interface Option<T = unknown> {
  readonly kind: Kind<T>;
  /** Text, read like a given one; undefined: the option has no value unless it is given. */
  readonly fallback: string | undefined;
  /** May be repeated; the value is then a list, in order. Otherwise the last one counts, as in Go. */
  readonly many: boolean;
  /** May have no value; an empty text is none, as in Go. */
  readonly optional: boolean;
  readonly group: Group;
  readonly commands: readonly Command[];
  readonly help: string;
  /** Never shown, logged or put into an error message. */
  readonly secret: boolean;
  /** flanneld's, taken so that its unit files work, but nothing here follows from it: why. */
  readonly ignored: string | undefined;
}

/** What most options do not need to say. */
export interface Extra {
  readonly secret?: boolean;
  readonly ignored?: string;
  readonly commands?: readonly Command[];
}

const make = <T>(
  group: Group,
  kind: Kind<T>,
  fallback: string | undefined,
  help: string,
  extra: Extra,
): Option<T> => ({
  kind,
  fallback,
  many: false,
  optional: fallback === undefined,
  group,
  commands: extra.commands ?? ['run'],
  help,
  secret: extra.secret ?? false,
  ignored: extra.ignored,
});

/** An option that always has a value. */
export const one = <T>(group: Group, kind: Kind<T>, fallback: string, help: string, extra: Extra = {}) =>
  ({ ...make(group, kind, fallback, help, extra), many: false, optional: false }) as const;

/** An option that need not have a value. */
export const perhaps = <T>(group: Group, kind: Kind<T>, help: string, extra: Extra = {}) =>
  ({ ...make(group, kind, undefined, help, extra), many: false, optional: true }) as const;

/** An option that may be repeated. */
export const several = <T>(group: Group, kind: Kind<T>, help: string, extra: Extra = {}) =>
  ({ ...make(group, kind, undefined, help, extra), many: true, optional: true }) as const;
