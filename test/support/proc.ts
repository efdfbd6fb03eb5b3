import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** The environment of everything that is started here: NODE_EXTRA_CA_CERTS costs each node 80 ms and nobody needs it. */
export const cleanEnv = (extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv => {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  return { ...env, ...extra };
};

/** A command that ended badly, with all it said. */
export class CommandError extends Error {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
  constructor(argv: readonly string[], status: number | string, stdout: string, stderr: string) {
    super(`${argv.join(' ')}: status ${status}: ${(stderr || stdout).trim()}`);
    this.name = 'CommandError';
    this.status = status;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

export interface RunOptions {
  /** Written to standard input. */
  readonly input?: string;
  /** Milliseconds until it is killed; 30 s. */
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Run a command to its end. Resolves to its standard output; rejects with {@link CommandError} for any status but 0. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      argv[0]!,
      argv.slice(1),
      {
        timeout: options.timeout ?? 30_000,
        killSignal: 'SIGKILL',
        maxBuffer: 256 << 20,
        env: cleanEnv(options.env),
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        reject(new CommandError(argv, error.code ?? error.signal ?? error.message, stdout, stderr));
      },
    );
    // A command that ends before it has read everything is judged by its status.
    child.stdin!.on('error', () => {});
    child.stdin!.end(options.input ?? '');
  });
}

/** Poll until `probe` returns something other than undefined or false; throws `what` and the last error after `timeout` ms. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeout = 10_000,
  every = 20,
): Promise<T> {
  const end = performance.now() + timeout;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= end) {
      const why = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`not within ${timeout} ms: ${what}${why}`, { cause: last });
    }
    await sleep(every);
  }
}

export interface ProcOptions {
  /** A file that gets standard output and standard error, appended. */
  readonly log: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Outlive this process. Otherwise the kernel kills it (PR_SET_PDEATHSIG) when this process ends, however it ends. */
  readonly lasting?: boolean;
}

/** A long-running process of ours. */
export class Proc implements AsyncDisposable {
  readonly argv: readonly string[];
  readonly log: string;
  /** `status 1`, `SIGKILL`, …; undefined while it runs. */
  ended: string | undefined;
  /** Settles with {@link ended}; never rejects. */
  readonly exited: Promise<string>;
  readonly #child: ChildProcess;

  private constructor(argv: readonly string[], log: string, child: ChildProcess) {
    this.argv = argv;
    this.log = log;
    this.#child = child;
    this.exited = new Promise((resolve) => {
      const end = (how: string) => {
        this.ended ??= how;
        resolve(this.ended);
      };
      child.once('exit', (status, signal) => end(signal ?? `status ${status}`));
      child.once('error', (error) => end(error.message));
    });
  }

  static async start(argv: readonly string[], options: ProcOptions): Promise<Proc> {
    const full = options.lasting ? argv : ['setpriv', '--pdeathsig', 'KILL', '--', ...argv];
    const fd = openSync(options.log, 'a');
    try {
      const child = spawn(full[0]!, full.slice(1), {
        stdio: ['ignore', fd, fd],
        env: cleanEnv(options.env),
        detached: options.lasting ?? false,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      });
      const proc = new Proc(argv, options.log, child);
      if (child.pid === undefined) await once(child, 'spawn');
      if (options.lasting) child.unref();
      return proc;
    } finally {
      closeSync(fd);
    }
  }

  /** setpriv, nsenter and bin/loden replace themselves, so this is the program's own. */
  get pid(): number {
    return this.#child.pid!;
  }

  /** All it wrote so far. */
  output(): string {
    return readFileSync(this.log, 'utf8');
  }

  /** The last lines it wrote, for error messages. */
  tail(lines = 20): string {
    return this.output().trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Wait until its output matches; throws when it ends first or `timeout` ms pass. */
  async saying(pattern: RegExp, timeout = 10_000): Promise<RegExpExecArray> {
    const wait = until(
      `${this.argv[0]} to say ${pattern}`,
      () => {
        const match = pattern.exec(this.output());
        if (!match && this.ended !== undefined) return { match: undefined };
        return match ? { match } : undefined;
      },
      timeout,
    );
    const { match } = await wait;
    if (!match) throw new Error(`${this.argv.join(' ')} ended (${this.ended}):\n${this.tail()}`);
    return match;
  }

  /** Send a signal, if it still runs. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    if (this.ended === undefined) this.#child.kill(signal);
  }

  /** Signal it and wait for its end; SIGKILL after `grace` ms. Returns how it ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', grace = 5_000): Promise<string> {
    this.kill(signal);
    if (this.ended === undefined) {
      const timer = setTimeout(() => this.kill('SIGKILL'), grace);
      await this.exited;
      clearTimeout(timer);
    }
    return this.ended!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
