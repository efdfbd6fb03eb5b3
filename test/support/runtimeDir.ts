import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { startTime } from './owner.ts';

const CGROUPS = '/sys/fs/cgroup';
/** Not `ld-`: what is mounted here must be unmounted before it is removed, which an {@link Owner} does not do. */
const PREFIX = 'ldrt-';

const ALSO = 'also-remove';
/** Where libcni remembers results, whichever runtime it is in. */
const RESULTS = '/var/lib/cni/results';

const live = new Set<RuntimeDir>();

/**
 * Where a container runtime keeps everything, and what hangs on it: shims that outlive the runtime, mounts, cgroups.
 * All of it goes with the directory: when it is disposed of, when this process ends, or, after a SIGKILL, when the
 * next one makes such a directory.
 */
export class RuntimeDir implements Disposable {
  readonly path: string;
  #gone = false;

  private constructor(path: string) {
    this.path = path;
  }

  static create(label: string): RuntimeDir {
    if (live.size === 0) {
      sweep();
      process.once('exit', () => {
        for (const dir of live) dir[Symbol.dispose]();
      });
    }
    const start = `${process.pid}t${startTime('self')}`;
    const dir = new RuntimeDir(mkdtempSync(join(tmpdir(), `${PREFIX}${start}-${label}-`)));
    live.add(dir);
    return dir;
  }

  /** Parent cgroup, in every hierarchy, for what the runtime starts. */
  get cgroup(): string {
    return `/${basename(this.path)}`;
  }

  join(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** Something outside that goes with it, e.g. a mounted network namespace. Remembered in a file: it must outlive us. */
  also(path: string): void {
    appendFileSync(join(this.path, ALSO), `${path}\n`);
  }

  /** Pids of the processes in the runtime's containers. */
  contained(): number[] {
    return pidsIn(this.cgroup);
  }

  /** Pids of the processes that have something in here in their arguments: shims, monitors, the runtime itself. */
  helpers(): number[] {
    return pidsNaming(this.path);
  }

  [Symbol.dispose](): void {
    if (this.#gone) return;
    this.#gone = true;
    remove(this.path);
    live.delete(this);
  }
}

const entries = (dir: string): string[] => {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
};

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Every hierarchy of version 1, and version 2's, wherever it is. */
const hierarchies = (): string[] =>
  read('/proc/self/mounts')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at, type]) => type?.startsWith('cgroup') && at?.startsWith(CGROUPS))
    .map(([, at]) => at!);

function pidsIn(cgroup: string): number[] {
  const pids = new Set<number>();
  const look = (dir: string) => {
    for (const pid of read(join(dir, 'cgroup.procs')).split('\n')) if (pid !== '') pids.add(Number(pid));
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory()) look(join(dir, entry.name));
    }
  };
  for (const hierarchy of hierarchies()) {
    try {
      look(join(hierarchy, cgroup));
    } catch {
      // It is not in this hierarchy, or gone meanwhile.
    }
  }
  return [...pids];
}

const pidsNaming = (path: string): number[] =>
  entries('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => read(`/proc/${pid}/cmdline`).includes(path) && startTime(Number(pid)) !== undefined)
    .map(Number);

/** Those of dead owners. */
function sweep(): void {
  for (const name of entries(tmpdir())) {
    const match = /^ldrt-(\d+)t(\d+)-/.exec(name);
    if (match && startTime(Number(match[1])) !== match[2]) remove(join(tmpdir(), name));
  }
}

/** Synchronous: it runs at exit. */
function remove(path: string): void {
  const cgroup = `/${basename(path)}`;
  // The runtime first, so that it starts nothing anew; then until nobody is left: what dies can have forked.
  for (let i = 0; i < 200; i++) {
    const pids = [...pidsNaming(path), ...pidsIn(cgroup)];
    if (pids.length === 0) break;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
  for (let i = 0; i < 10 && unmountBelow(path); i++);
  for (const hierarchy of hierarchies()) removeCgroup(join(hierarchy, cgroup));
  for (const { socket, id } of shims(path)) {
    rmSync(socket, { force: true });
    for (const name of entries(RESULTS)) if (name.includes(id)) rmSync(join(RESULTS, name), { force: true });
  }
  for (const other of read(join(path, ALSO)).split('\n').filter(Boolean)) {
    unmount(other);
    rmSync(other, { force: true });
  }
  rmSync(path, { recursive: true, force: true });
}

/** True while there was something. */
function unmountBelow(path: string): boolean {
  const below = read('/proc/self/mounts')
    .split('\n')
    .map((line) => line.split(' ')[1])
    .filter((at) => at?.startsWith(`${path}/`))
    .map((at) => at!)
    .toReversed();
  below.forEach(unmount);
  return below.length > 0;
}

function unmount(at: string): void {
  try {
    execFileSync('umount', ['-l', at], { stdio: 'ignore' });
  } catch {
    // Gone with the one above it.
  }
}

/** The shims there were. They listen outside of the runtime's directory, and only they remove that. */
function shims(path: string): { socket: string; id: string }[] {
  const where = [path, '-path', '*/io.containerd.runtime.v2.task/*', '-name', 'address'];
  // What vanishes under its feet makes it end badly; what it found is good.
  const files = spawnSync('find', where, { encoding: 'utf8' }).stdout;
  return files
    .split('\n')
    .map((file) => ({ socket: read(file).replace('unix://', '').trim(), id: basename(dirname(file)) }))
    .filter(({ socket }) => socket.startsWith('/run/containerd/s/'));
}

function removeCgroup(dir: string): void {
  try {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory()) removeCgroup(join(dir, entry.name));
    }
    rmdirSync(dir);
  } catch {
    // Not there.
  }
}
