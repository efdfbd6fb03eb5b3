import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FILES } from '../../src/contract.ts';
import { ask } from './ask.ts';
import type { Host } from './host.ts';
import { startTime } from './owner.ts';
import { Proc, run, until } from './proc.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const UNIT = 'loden.service';
/** Where systemd-nspawn keeps a directory and a lock for each container, which stay when it is killed. */
const PROPAGATE = '/run/systemd/nspawn/propagate';
const LOCKS = '/run/systemd/nspawn/locks';

export interface UnitOptions {
  /** Options of the daemon besides the host's own. */
  readonly args?: readonly string[];
  /** Lines of the [Service] section besides the usual ones, or others in their place. */
  readonly service?: Readonly<Record<string, string>>;
  /** The whole unit, in place of one made of the above. */
  readonly text?: string;
  /** More files in the container, by absolute path. */
  readonly files?: Readonly<Record<string, string>>;
  /** What of this machine is to be seen there besides, read-only: `path` or `path:path there`. */
  readonly binds?: readonly string[];
}

let containers = 0;

/**
 * A host on which systemd is the first process and runs the daemon: a container in the host's network namespace, whose /usr is
 * this machine's. There is nothing to download, and nothing of it outlives the test.
 */
export class Systemd implements AsyncDisposable {
  readonly #host: Host;
  readonly #nspawn: Proc;
  readonly #cgroup: string;
  readonly #machine: string;
  #init = 0;

  private constructor(host: Host, nspawn: Proc, cgroup: string, machine: string) {
    this.#host = host;
    this.#nspawn = nspawn;
    this.#cgroup = cgroup;
    this.#machine = machine;
  }

  /** Boot it, with the daemon's unit in place and not started. Throws with all that was said when systemd does not come up. */
  static async boot(host: Host, unit: UnitOptions = {}): Promise<Systemd> {
    for (const tool of ['systemd-nspawn', '/usr/lib/systemd/systemd']) {
      await run(['sh', '-c', `command -v ${tool}`]).catch(() => {
        throw new Error(`there is no ${tool}: run \`npm run setup\`, which installs systemd-container`);
      });
    }
    const machine = `ld-${process.pid}t${startTime('self')}-${++containers}`;
    const hierarchy = systemdHierarchy();
    sweep(hierarchy.dir);
    const cgroup = join(hierarchy.dir, machine);
    mkdirSync(cgroup);
    const log = join(host.dir, 'systemd.log');
    const root = join(host.dir, 'root');
    makeRoot(root, { [`/etc/systemd/system/${UNIT}`]: unit.text ?? unitText(host, unit), ...unit.files });
    const nspawn = await Proc.start(
      [
        ...['sh', '-c', `echo $$ >'${cgroup}/cgroup.procs' && exec "$@"`, 'sh'],
        ...['systemd-nspawn', '--quiet', `--directory=${root}`, `--machine=${machine}`, '--boot'],
        ...['--register=no', '--keep-unit', '--console=pipe', `--network-namespace-path=${host.netns.path}`],
        ...['--resolv-conf=off', '--timezone=off', '--link-journal=no'],
        ...[
          '--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_RESOURCE',
          '--bind-ro=/usr',
          '--bind-ro=/etc/alternatives',
        ],
        ...[`--bind-ro=${CHECKOUT}`, `--bind=${host.dir}`],
        ...(unit.binds ?? []).map((bind) => `--bind-ro=${bind}`),
        ...['--', 'systemd.unit=booted.target'],
      ],
      {
        log,
        env: {
          SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: hierarchy.unified ? '1' : '0',
          SYSTEMD_NSPAWN_API_VFS_WRITABLE: 'network',
          SYSTEMD_LOG_TARGET: 'console',
        },
      },
    );
    const systemd = new Systemd(host, nspawn, cgroup, machine);
    try {
      await systemd.#booted();
      return systemd;
    } catch (error) {
      const said = nspawn.tail(50);
      await systemd[Symbol.asyncDispose]();
      throw new Error(`systemd does not start in a container: ${(error as Error).message}\n${said}`);
    }
  }

  /** The pid of the container's init here. */
  get init(): number {
    return this.#init;
  }

  /** Run a command in the container, to its end. */
  run(...argv: string[]): Promise<string> {
    return run(['nsenter', '-t', String(this.#init), '-a', '--', ...argv], { timeout: 90_000 });
  }

  /** `systemctl <args>` in the container, to its end. */
  systemctl(...args: string[]): Promise<string> {
    return this.run('systemctl', '--no-pager', ...args);
  }

  /** Start the daemon; systemd waits until it is ready. */
  async start(): Promise<void> {
    await this.#told('start', UNIT);
  }

  async restart(): Promise<void> {
    await this.#told('restart', UNIT);
  }

  /** Kill the daemon's main process, and wait until systemd has started another that is ready. */
  async crash(): Promise<void> {
    const before = await this.property('NRestarts');
    await this.systemctl('kill', '--kill-whom=main', '--signal=SIGKILL', UNIT);
    await until(
      'the daemon to be ready again',
      async () =>
        (await this.property('NRestarts')) !== before &&
        (await this.property('ActiveState')) === 'active' &&
        (await ask(join(this.#host.runDir, FILES.controlSocket), '/readyz')).status === 200,
      60_000,
    );
  }

  /** A property of the daemon's unit, e.g. `NFileDescriptorStore`. */
  async property(name: string): Promise<string> {
    return (await this.systemctl('show', `--property=${name}`, '--value', UNIT)).trim();
  }

  /** All the daemon has logged. */
  output(): string {
    return readFileSync(this.#host.logFile, 'utf8');
  }

  /** The container's processes are killed and gone, and with them its mounts; then its cgroups go. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#init) kill(this.#init);
    await this.#nspawn.stop('SIGKILL');
    await until('the container to be gone', () => removeCgroup(this.#cgroup), 10_000);
    rmSync(join(PROPAGATE, this.#machine), { recursive: true, force: true });
    const root = join(this.#host.dir, 'root');
    const { dev, ino } = statSync(root);
    rmSync(join(LOCKS, `inode-${dev}:${ino}`), { force: true });
    rmSync(root, { recursive: true, force: true });
  }

  async #booted(): Promise<void> {
    const ended = () => {
      if (this.#nspawn.ended !== undefined) throw new Error(`systemd-nspawn ended (${this.#nspawn.ended})`);
    };
    for (;;) {
      ended();
      const up = await until('it to be up', () => this.#isUp(), 500, 50).catch(() => false);
      if (up) return;
      if (performance.now() > this.#patience) throw new Error('it is not up after 30 s');
    }
  }

  readonly #patience = performance.now() + 30_000;

  async #isUp(): Promise<boolean> {
    const { pid } = this.#nspawn;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/);
    this.#init = Number(children.at(-1));
    return (
      this.#init > 0 && /^(running|degraded)/.test(await this.systemctl('is-system-running').catch(() => ''))
    );
  }

  async #told(...args: string[]): Promise<void> {
    try {
      await this.systemctl(...args);
    } catch (error) {
      const status = await this.systemctl('status', UNIT).catch((e: Error) => e.message);
      throw new Error(
        `${(error as Error).message}\n${status}\n${this.output().split('\n').slice(-20).join('\n')}`,
      );
    }
  }
}

function unitText(host: Host, { args = [], service = {} }: UnitOptions): string {
  const lines = {
    Type: 'notify',
    FileDescriptorStoreMax: '128',
    ExecStart: [...host.command, ...args].join(' '),
    Restart: 'always',
    RestartSec: '0',
    StandardOutput: `append:${host.logFile}`,
    StandardError: 'inherit',
    ...service,
  };
  const text = Object.entries(lines).map(([key, value]) => `${key}=${value}\n`);
  return `[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\n${text.join('')}`;
}

/** What a root needs beside /usr. */
function makeRoot(root: string, files: Readonly<Record<string, string>>): void {
  for (const dir of [
    'usr',
    'proc',
    'sys',
    'dev',
    'run',
    'tmp',
    'var/lib',
    'etc/systemd/system',
    'etc/alternatives',
  ]) {
    mkdirSync(join(root, dir), { recursive: true });
  }
  for (const dir of ['bin', 'sbin', 'lib', 'lib64'])
    if (existsSync(`/usr/${dir}`)) symlinkSync(`usr/${dir}`, join(root, dir));
  for (const file of ['passwd', 'group', 'ld.so.cache'])
    copyFileSync(`/etc/${file}`, join(root, 'etc', file));
  copyFileSync('/usr/lib/os-release', join(root, 'etc/os-release'));
  const units = join(root, 'etc/systemd/system');
  // Nothing of what this machine has installed starts.
  writeFileSync(join(units, 'booted.target'), '[Unit]\nDefaultDependencies=no\n');
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** The cgroups that a systemd in a container lives in: version 1's hierarchy of its own where there is one, else version 2. */
function systemdHierarchy(): { dir: string; unified: boolean } {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const named = mounts.find(
    ([, , type, options]) => type === 'cgroup' && /\bname=systemd\b/.test(options ?? ''),
  );
  const unified = mounts.find(([, , type]) => type === 'cgroup2');
  const mount = named ?? unified;
  if (!mount) throw new Error('there are no cgroups here that a systemd could use');
  const own = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((line) => (named ? /^\d+:name=systemd:/.test(line) : line.startsWith('0::')));
  const inside = join(mount[1]!, own?.slice(own.indexOf(':', own.indexOf(':') + 1) + 1) ?? '/');
  return { dir: existsSync(inside) ? inside : mount[1]!, unified: !named };
}

/** Those of dead owners. */
function sweep(cgroups: string): void {
  const dead = (name: string): boolean => {
    const match = /^ld-(\d+)t(\d+)-/.exec(name);
    return match !== null && startTime(Number(match[1])) !== match[2];
  };
  for (const name of readdirSync(cgroups).filter(dead)) removeCgroup(join(cgroups, name));
  if (!existsSync(PROPAGATE)) return;
  for (const name of readdirSync(PROPAGATE).filter(dead)) {
    rmSync(join(PROPAGATE, name), { recursive: true, force: true });
  }
}

/** False while processes are in it. */
function removeCgroup(dir: string): boolean {
  try {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory() && !removeCgroup(join(dir, entry.name))) return false;
    }
    rmdirSync(dir);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}
