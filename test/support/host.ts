import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FILES } from '../../src/contract.ts';
import { ask, type Told } from './ask.ts';
import type { Netns } from './netns.ts';
import type { Owner } from './owner.ts';
import { type Proc, until } from './proc.ts';
import type { Attachment, Underlay } from './underlay.ts';
import { Workload } from './workload.ts';

/** The launcher, as a user runs it. */
export const LODEN = fileURLToPath(new URL('../../bin/loden', import.meta.url));

export interface HostOptions {
  readonly name: string;
  /** `--etcd-endpoints`. */
  readonly endpoints: readonly string[];
  /** Index of the underlay's segment the host stands in. */
  readonly segment?: number;
  /** Options of every start of the daemon, e.g. `--ip-masq`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A line of the daemon's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string; readonly level?: string };

/**
 * One host: a namespace on the underlay with directories of its own and a daemon. It is the same thing in tests, in
 * the demo and in benchmarks. Nothing in it is prepared for the daemon: a fresh host that has an uplink.
 */
export class Host implements AsyncDisposable {
  readonly name: string;
  readonly at: Attachment;
  /** Holds all of the daemon's files; may be kept while the daemon is replaced. */
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly subnetFile: string;
  readonly #options: HostOptions;
  readonly #workloads: Workload[] = [];
  #labels = 0;
  #daemon: Proc | undefined;

  private constructor(owner: Owner, at: Attachment, options: HostOptions) {
    this.name = options.name;
    this.at = at;
    this.#options = options;
    this.dir = owner.tempDir(options.name);
    this.runDir = join(this.dir, 'run');
    this.stateDir = join(this.dir, 'state');
    this.subnetFile = join(this.dir, 'flannel', 'subnet.env');
    mkdirSync(this.runDir);
    mkdirSync(this.stateDir);
  }

  /** A host without a running daemon. */
  static async create(owner: Owner, underlay: Underlay, options: HostOptions): Promise<Host> {
    const { segment = 0 } = options;
    return new Host(owner, await underlay.attach(options.name, { segment }), options);
  }

  get netns(): Netns {
    return this.at.netns;
  }

  get logFile(): string {
    return join(this.dir, 'daemon.log');
  }

  /** The daemon's process, running or ended. */
  get daemon(): Proc {
    if (!this.#daemon) throw new Error(`no daemon has been started on ${this.name}`);
    return this.#daemon;
  }

  /** The options that tell one daemon on this machine from another; other commands take them too. */
  get dirs(): readonly string[] {
    return ['--run-dir', this.runDir, '--state-dir', this.stateDir, '--subnet-file', this.subnetFile];
  }

  /** How its daemon is started, for whoever starts it in another way than {@link start}. */
  get command(): readonly string[] {
    const { endpoints, args = [] } = this.#options;
    return [LODEN, 'run', '--etcd-endpoints', endpoints.join(','), ...this.dirs, ...args];
  }

  /** Start the daemon and wait until it is ready; `wait: false` returns at once. */
  async start(
    options: {
      args?: readonly string[];
      env?: Readonly<Record<string, string>>;
      wait?: boolean;
      timeout?: number;
    } = {},
  ): Promise<void> {
    if (this.#daemon && this.#daemon.ended === undefined) {
      throw new Error(`${this.name} runs a daemon already`);
    }
    const argv = [...this.command, ...(options.args ?? [])];
    const env = { ...this.#options.env, ...options.env };
    this.#daemon = await this.netns.start(argv, { log: this.logFile, env });
    if (options.wait ?? true) await this.ready(options.timeout);
  }

  /**
   * Start a daemon that takes over from the running one, and wait until that has ended in order and this one is ready;
   * `wait: false` does not wait for the latter.
   */
  async takeOver(options: { wait?: boolean } = {}): Promise<void> {
    const old = this.daemon;
    this.#daemon = undefined;
    await this.start({ args: ['--takeover'], wait: false });
    const taker = this.daemon;
    const ended = await Promise.race([old.exited, taker.exited]);
    if (taker.ended !== undefined) {
      this.#daemon = old;
      throw new Error(`${this.name}: the daemon that takes over ended (${ended}):\n${taker.tail()}`);
    }
    if (ended !== 'status 0') throw new Error(`${this.name}: the daemon taken over from ended by ${ended}`);
    if (options.wait ?? true) await this.ready();
  }

  /** Wait until `/readyz` says yes. Throws with the end of the log when the daemon ends first or `timeout` ms pass. */
  async ready(timeout = 60_000): Promise<void> {
    const daemon = this.daemon;
    let reason = 'it does not answer';
    try {
      await until(
        'ready',
        async () => {
          if (daemon.ended !== undefined) return true;
          const answer = await this.request('/readyz').catch(() => undefined);
          if (answer && answer.status !== 200) reason = answer.body.trim();
          return answer?.status === 200;
        },
        timeout,
      );
    } catch {
      const status = await this.request('/v1/status').catch(() => undefined);
      throw new Error(`${this.name} not ready in ${timeout} ms: ${status?.body ?? reason}\n${daemon.tail()}`);
    }
    if (daemon.ended !== undefined) {
      throw new Error(`${this.name}: the daemon ended (${daemon.ended}):\n${daemon.tail()}`);
    }
  }

  /** A request to the daemon's control socket. */
  request(path: string): Promise<Told> {
    return ask(join(this.runDir, FILES.controlSocket), path);
  }

  /** `GET /v1/…`, parsed; throws for any status but 200. */
  async get<T = Record<string, unknown>>(path: string): Promise<T> {
    const { status, body } = await this.request(path);
    if (status !== 200) throw new Error(`${this.name} ${path}: ${status} ${body}`);
    return JSON.parse(body) as T;
  }

  /** Run another command of Loden's on this host, e.g. `leases --json`; returns its standard output. */
  loden(...args: string[]): Promise<string> {
    return this.netns.run([LODEN, ...args]);
  }

  /** The daemon's log so far. Lines that are not JSON (a crash of Node.js) come as `{ msg }`. */
  logs(): LogLine[] {
    return this.daemon
      .output()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        try {
          return JSON.parse(line) as LogLine;
        } catch {
          return { msg: line };
        }
      });
  }

  /** Wait for a log line. */
  logged(what: string, test: (line: LogLine) => boolean, timeout = 10_000): Promise<LogLine> {
    return until(`${this.name} to log ${what}`, () => this.logs().find(test), timeout);
  }

  /** subnet.env as key and value. */
  subnetEnv(): Record<string, string> {
    const lines = readFileSync(this.subnetFile, 'utf8').trim().split('\n');
    return Object.fromEntries(lines.map((line) => line.split('=', 2) as [string, string]));
  }

  /** Stop the daemon; what it put into the kernel stays. Returns how it ended. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    return this.daemon.stop(signal);
  }

  /** Stop it, or kill it (`SIGKILL`), and start it anew. */
  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.stop(signal);
    await this.start();
  }

  /**
   * A pod on this host with the next free address of its subnet, attached by the plugin through the daemon. On a host that never had
   * a daemon of ours (flannel's, a forwarder's) by hand, from subnet.env.
   */
  async workload(label = `pod${++this.#labels}`): Promise<Workload> {
    const workload = this.#daemon
      ? await Workload.create(this, label)
      : await Workload.byHand(this, label, this.#workloads.length);
    this.#workloads.push(workload);
    return workload;
  }

  /** Pods are detached if the daemon can be asked for it: else they go with the host, as in a crash. */
  async [Symbol.asyncDispose](): Promise<void> {
    const asked = this.#daemon?.ended === undefined && this.#daemon !== undefined;
    if (
      asked &&
      (await this.request('/healthz').then(
        () => true,
        () => false,
      ))
    ) {
      for (const workload of this.#workloads) await workload.detach();
    }
    await this.#daemon?.stop('SIGKILL');
    for (const workload of this.#workloads) await workload[Symbol.asyncDispose]();
    await this.netns[Symbol.asyncDispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
