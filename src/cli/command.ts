import type { Command as OptionOwner } from '../config/option.ts';
import type { Values } from '../config/options.ts';
import type { Env, Flags } from '../config/sources.ts';

/**
 * How a command of `loden` is written. To add one:
 *
 * 1. its name in `COMMAND_NAMES` of src/config/option.ts, and in `commands` of each option it takes (options.ts);
 * 2. a file in src/cli/commands/ that exports `command({…})`. It may import only what is light: this file, src/config/commands.ts, values and types.
 *    What does the work is brought by `await import(…)` in {@link CommandSpec.run}, for every command line loads all the files in that folder;
 * 3. one line in src/cli/registry.ts.
 *
 * The command line, `--help`, completion and docs/options.md follow from these. A thrown LodenError ends the process with its exit code and message on
 * standard error; anything else thrown is a bug (exit 70).
 */
export interface CommandSpec<O> {
  /** The words that call it, e.g. `status` or `leases show`; options.ts knows it by the same. */
  readonly name: OptionOwner;
  /** What follows the name, in order. */
  readonly positionals?: readonly Positional[];
  /** One sentence for `--help`. */
  readonly description: string;
  /** What more `--help` says at its end, e.g. exit codes besides the usual ones and examples. */
  readonly epilogue?: string;
  /** It is also called by the first word alone: `leases` is `leases list`. */
  readonly usual?: boolean;
  /** It reads its arguments itself ({@link Input.rest}), and `--help` too. */
  readonly ownArguments?: boolean;
  /** Options and positionals to one value; throws UsageError (exit 64) or ConfigError (exit 78, all problems at once). */
  parse(input: Input): O;
  /** Does it; returns the exit code. */
  run(options: O, io: Io): Promise<number>;
}

export interface Positional {
  /** Lower case; shown as `<name>`, or `[name]` when it is optional. Must not be the name of an option. */
  readonly name: string;
  readonly describe: string;
  readonly optional?: boolean;
  /** The words it may be. */
  readonly choices?: readonly string[];
  /** What the shell may complete it with: names that the daemon knows, or files (the default: nothing). */
  readonly complete?: 'subnets' | 'peers' | 'files';
}

/** What the command line says. */
export interface Input {
  readonly flags: Flags;
  readonly env: Env;
  /** Positionals by name; the optional ones that are not given are absent. */
  readonly args: Readonly<Record<string, string>>;
  /** All behind the command's name, only for {@link CommandSpec.ownArguments}. */
  readonly rest: readonly string[];
}

/** The world around a command: everything it reads and prints goes by this, so that tests can stand in for it. */
export interface Io {
  readonly env: Env;
  /** Standard output. Text from etcd, the kernel or another daemon goes through `printable` (text.ts) first. */
  print(text: string): void;
  /** A line on standard error, with `loden: ` in front. */
  warn(text: string): void;
  /** All of standard input as text, at most `largest` bytes; throws LodenError. */
  read(largest: number): Promise<string>;
  /** The terminal that standard output is; undefined: it is a pipe or a file. */
  readonly terminal: { readonly columns: number; readonly rows: number } | undefined;
  /** Aborts when nobody reads standard output any more (`| head`): commands that go on for ever end then. */
  readonly signal: AbortSignal;
}

/** May text be coloured? `--color`; auto: on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb forbid it. */
export function coloured(choice: Values['color'], io: Pick<Io, 'env' | 'terminal'>): boolean {
  if (choice !== 'auto') return choice === 'always';
  return io.terminal !== undefined && !io.env.NO_COLOR && io.env.TERM !== 'dumb';
}

/** A {@link CommandSpec} whose options' type is its own business. */
export interface Command extends Omit<CommandSpec<never>, 'parse' | 'run'> {
  bind(input: Input): Invocation;
}

/** A command with its options read. */
export interface Invocation {
  readonly command: string;
  readonly options: unknown;
  run(io: Io): Promise<number>;
}

/** Make a command of its description. */
export function command<O>(spec: CommandSpec<O>): Command {
  const { parse, run, ...rest } = spec;
  return {
    ...rest,
    bind: (input) => {
      const options = parse(input);
      return { command: spec.name, options, run: (io) => run(options, io) };
    },
  };
}
