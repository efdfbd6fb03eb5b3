import type { Happening } from './log.ts';

/** How the daemon as a whole stands. */
export interface Standing {
  readonly ready: boolean;
  /** What it waits for, or what it lacks; undefined: nothing. */
  readonly reason: string | undefined;
  readonly peers: number;
  readonly key: string | undefined;
  /** What the network config says, as an identity: another object is another config. */
  readonly network: object | undefined;
  readonly backend: string | undefined;
  /** Why the text in etcd is not in force. */
  readonly problem: string | undefined;
  /** Of the forwarder. */
  readonly warnings: readonly string[];
  /** Pods with an address of a subnet that this node no longer has. */
  readonly stale: readonly string[];
}

export const AT_START: Standing = {
  ready: false,
  reason: undefined,
  peers: 0,
  key: undefined,
  network: undefined,
  backend: undefined,
  problem: undefined,
  warnings: [],
  stale: [],
};

/** What has become of it since the last look. */
export function standingHappenings(before: Standing, now: Standing): Happening[] {
  return [
    ...readiness(before, now),
    ...network(before, now),
    ...forwarder(before, now),
    ...pods(before, now),
  ];
}

function readiness(before: Standing, now: Standing): Happening[] {
  const subject = now.key ?? null;
  if (now.ready && !before.ready)
    return [{ level: 'info', kind: 'daemon', subject, message: 'ready', fields: { peers: now.peers } }];
  if (now.reason === before.reason || !now.ready) return [];
  return now.reason === undefined
    ? [{ level: 'info', kind: 'daemon', subject, message: 'in order again' }]
    : [{ level: 'warn', kind: 'daemon', subject, message: `impaired: ${now.reason}` }];
}

function network(before: Standing, now: Standing): Happening[] {
  const found: Happening[] = [];
  if (now.network !== before.network && now.network)
    found.push({
      level: 'info',
      kind: 'config',
      message: before.network ? 'a new network config is in force' : 'the network config is in force',
      fields: { backend: now.backend ?? null },
    });
  // Before the first is in force it is told as what the daemon waits for.
  if (now.problem !== before.problem && now.problem !== undefined && now.network)
    found.push({ level: 'warn', kind: 'config', message: now.problem });
  if (now.problem === undefined && before.problem !== undefined && before.network)
    found.push({
      level: 'info',
      kind: 'config',
      message: 'nothing stands against the network config any more',
    });
  return found;
}

const forwarder = (before: Standing, now: Standing): Happening[] =>
  now.warnings
    .filter((w) => !before.warnings.includes(w))
    .map((message): Happening => ({ level: 'warn', kind: 'forwarder', message }));

function pods(before: Standing, now: Standing): Happening[] {
  const fresh = now.stale.filter((pod) => !before.stale.includes(pod));
  if (fresh.length === 0) return [];
  return [
    {
      level: 'warn',
      kind: 'pods',
      message: `${fresh.length} pods have addresses of a subnet that this node no longer has, e.g. ${fresh[0]}`,
      fields: { count: fresh.length, all: now.stale.length },
    },
  ];
}
