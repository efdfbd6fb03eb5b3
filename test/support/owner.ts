import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NETNS_DIR = '/run/netns';

/** Entries of a directory that may not exist. */
const entries = (dir: string): string[] => {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
};

/**
 * Start time of a process in clock ticks since boot (proc(5), field 22 of stat): with the pid it names one process for
 * ever. Undefined when it has ended, be it reaped or not.
 */
export function startTime(pid: number | 'self'): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * Who the namespaces and directories of a test, a benchmark or a demo belong to. Their names carry the owner, so that
 * what a crashed owner left behind is found and removed by the next one.
 */
export class Owner {
  readonly id: string;
  /** What it makes outlives this process. */
  readonly lasting: boolean;
  #count = 0;

  constructor(id: string, lasting: boolean) {
    this.id = id;
    this.lasting = lasting;
  }

  get #prefix(): string {
    return `ld-${this.id}-`;
  }

  /** A name for a network namespace that no one else has. */
  netnsName(label: string): string {
    return `${this.#prefix}${++this.#count}-${label}`;
  }

  /** A new directory of our own; short, for Unix sockets live in it. */
  tempDir(label: string): string {
    return mkdtempSync(join(tmpdir(), `${this.#prefix}${label}-`));
  }

  /** Is there anything of this owner? */
  exists(): boolean {
    return entries(NETNS_DIR).some((name) => name.startsWith(this.#prefix));
  }

  /** End what runs in this owner's namespaces, then remove them and its directories. Synchronous: it runs at exit. */
  remove(): void {
    for (const name of entries(NETNS_DIR).filter((n) => n.startsWith(this.#prefix))) removeNetns(name);
    for (const name of entries(tmpdir()).filter((n) => n.startsWith(this.#prefix))) {
      unmountBelow(join(tmpdir(), name));
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
}

/** What a test has mounted and could not unmount, for it was killed, is in the way. */
function unmountBelow(dir: string): void {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1])
    .filter((point): point is string => point === dir || point?.startsWith(`${dir}/`) === true);
  for (const point of points.reverse()) {
    try {
      execFileSync('umount', ['-l', point], { stdio: 'ignore' });
    } catch {
      // Gone already.
    }
  }
}

/** Kill what runs in a namespace and remove it. Another process may be doing the same: what is gone is gone. */
function removeNetns(name: string): void {
  const ip = (...args: string[]) =>
    execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    for (const pid of ip('netns', 'pids', name).trim().split(/\s+/).filter(Boolean)) {
      if (Number(pid) !== process.pid) process.kill(Number(pid), 'SIGKILL');
    }
    ip('netns', 'del', name);
  } catch {
    // Gone already.
  }
}

/** Remove everything whose owner is no longer alive. */
function sweep(): void {
  const owners = new Set<string>();
  for (const name of [...entries(NETNS_DIR), ...entries(tmpdir())]) {
    const match = /^ld-((\d+)t(\d+))-/.exec(name);
    if (match && startTime(Number(match[2])) !== match[3]) owners.add(match[1]!);
  }
  for (const id of owners) new Owner(id, false).remove();
}

let own: Owner | undefined;

/**
 * This process as an owner. Its first use sweeps up after the dead, and from then on an exit or a deadly signal
 * removes what is left; after a SIGKILL the next owner does.
 */
export function thisProcess(): Owner {
  if (own) return own;
  const owner = new Owner(`${process.pid}t${startTime('self')}`, false);
  own = owner;
  sweep();
  process.once('exit', () => owner.remove());
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    // exit runs the handler above. Whoever wants to clean up with more care takes over by a handler of its own.
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(128 + number);
    });
  }
  return owner;
}

/** The owner of what `npm run demo -- --keep` leaves running. */
export const keptDemo = (): Owner => new Owner('demo', true);
