import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { LodenError } from '../errors.ts';

/** Milliseconds a command may take: iptables-restore waits up to 5 s for the lock. */
const TIMEOUT = 15_000;
/** Bytes a command may print; a host with 20,000 chains lists 2 MB. */
const MAX_OUTPUT = 16 << 20;

/** What a command said and how it ended. */
export interface CommandResult {
  /** Exit status. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Running programs and reading /proc in one network namespace. */
export interface Commands {
  /**
   * Run a program to its end, without a shell. Any exit status is a result; a program that is not there is a
   * {@link MissingCommand}, one that hangs or floods a LodenError.
   */
  run(argv: readonly string[], input?: string): Promise<CommandResult>;
  /** A small file, e.g. below /proc/net; undefined when it cannot be read. */
  read(path: string): Promise<string | undefined>;
}

/** Where Debian, Fedora and Alpine alike keep a program. */
const PACKAGES: readonly (readonly [RegExp, string])[] = [
  [/^nft$/, 'nftables'],
  [/^ip6?tables/, 'iptables'],
];

/** A program that is not installed; the message names the package that has it. */
export class MissingCommand extends LodenError {
  readonly command: string;
  constructor(command: string) {
    const found = PACKAGES.find(([names]) => names.test(command))?.[1];
    super(`${command} is not installed${found ? `: install the package ${found}` : ''}`, {
      retry: 'backoff',
    });
    this.command = command;
  }
}

/** Messages are in English and commands are found even when PATH lacks the sbin directories, as under cron or ssh. */
const environment = (): NodeJS.ProcessEnv => ({
  PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
  LC_ALL: 'C',
});

function execute(argv: readonly string[], input: string | undefined): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const options = {
      timeout: TIMEOUT,
      killSignal: 'SIGKILL',
      maxBuffer: MAX_OUTPUT,
      env: environment(),
    } as const;
    const child = execFile(argv[0]!, argv.slice(1), options, (error, stdout, stderr) => {
      if (!error) resolve({ status: 0, stdout, stderr });
      else if (typeof error.code === 'number') resolve({ status: error.code, stdout, stderr });
      else if (error.code === 'ENOENT') reject(new MissingCommand(argv[0]!));
      else {
        const why = error.killed && !error.code ? `no end within ${TIMEOUT / 1000} s` : error.message;
        reject(new LodenError(`${argv.join(' ')}: ${why}`, { retry: 'backoff', cause: error }));
      }
    });
    // A command that ends before it has read everything is judged by its status.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
  });
}

/** Commands in the network namespace of this process. */
export const ownCommands: Commands = {
  run: execute,
  read: (path) => readFile(path, 'utf8').catch(() => undefined),
};

/** Commands in another network namespace, e.g. `/run/netns/a`; nsenter(1) keeps the mounts as they are. */
export function commandsIn(netns: string): Commands {
  const run = async (argv: readonly string[], input?: string): Promise<CommandResult> => {
    const result = await execute(['nsenter', `--net=${netns}`, '--', ...argv], input);
    if (result.status === 127) throw new MissingCommand(argv[0]!);
    return result;
  };
  return {
    run,
    async read(path) {
      const { status, stdout } = await run(['cat', path]);
      return status === 0 ? stdout : undefined;
    },
  };
}

/** Throws what a command said unless it ended well. `what` names the operation and its object. */
export function demand(result: CommandResult, what: string): string {
  if (result.status === 0) return result.stdout;
  const said = (result.stderr || result.stdout).trim().split('\n').slice(0, 6).join(' | ').slice(0, 600);
  throw new LodenError(`${what}: ${said || `exit status ${result.status}`}`, { retry: 'backoff' });
}
