import yargs, { type Argv } from 'yargs';
import type { Option, Command as OptionOwner } from '../config/option.ts';
import { isOptionName, OPTIONS, type OptionName, optionsOf } from '../config/options.ts';
import type { Env, Flags } from '../config/sources.ts';
import { EXIT, VERSION } from '../contract.ts';
import { UsageError } from '../errors.ts';
import { normaliseArgs } from './args.ts';
import type { Command, Invocation, Io, Positional } from './command.ts';
import { COMMANDS, FAMILIES } from './registry.ts';

const EPILOGUE = `What loden run takes may also stand in the environment: --etcd-endpoints as FLANNELD_ETCD_ENDPOINTS.
A flag counts more than the environment. Single dashes (-iface=eth0) work too.

Exit codes: 0 done, 1 failed, 64 wrong usage, 69 no daemon or etcd answers, 70 a bug, 75 busy, 78 wrong options or config.`;

/** The parser takes words as they are: what they mean is the options table's business. */
const PARSER = {
  'boolean-negation': false,
  'camel-case-expansion': false,
  'dot-notation': false,
  'greedy-arrays': false,
  'parse-numbers': false,
  'parse-positional-numbers': false,
  'populate--': true,
  'short-option-groups': false,
};

/** With --help: show options that have no effect, too. */
const SHOW_HIDDEN = 'show-hidden';

/** Declare a command's options to yargs. All are text to it. */
function declare(parser: Argv, owner: OptionOwner, showHidden: boolean): Argv {
  for (const name of optionsOf(owner)) {
    const { kind, fallback, group, help, ignored, many }: Option = OPTIONS[name];
    parser.option(name, {
      describe:
        `${help}${many ? ' May be repeated.' : ''} ${kind.flag ? '' : `<${kind.placeholder}>`}`.trim(),
      group: `${group}:`,
      requiresArg: true,
      hidden: ignored !== undefined && !showHidden,
      ...(fallback === undefined ? {} : { defaultDescription: fallback }),
    });
  }
  return parser;
}

const inUsage = ({ name, optional }: Positional): string => (optional ? `[${name}]` : `<${name}>`);

type Chosen = (command: Command) => void;

/** Declare one command, called by `word` where the parser stands. */
function add(parser: Argv, word: string, command: Command, showHidden: boolean, chosen: Chosen): Argv {
  const { positionals = [], description, epilogue, name, ownArguments } = command;
  const usage = [word, ...positionals.map(inUsage)].join(' ');
  // Known to the parser only to be listed.
  if (ownArguments) return parser.command(usage, description);
  return parser.command(
    command.usual ? [usage, '$0'] : usage,
    description,
    (y) => {
      for (const { name: key, describe, choices } of positionals)
        y.positional(key, { type: 'string', describe, ...(choices ? { choices } : {}) });
      return declare(y, name, showHidden).epilogue([epilogue, EPILOGUE].filter(Boolean).join('\n\n'));
    },
    () => chosen(command),
  );
}

function addFamily(parser: Argv, family: string, showHidden: boolean, chosen: Chosen): Argv {
  const members = COMMANDS.filter(({ name }) => name.startsWith(`${family} `));
  const words = members.map(({ name }) => name.slice(family.length + 1));
  return parser.command(family, FAMILIES[family]!, (y) => {
    for (const [i, member] of members.entries()) add(y, words[i]!, member, showHidden, chosen);
    if (members.some(({ usual }) => usual)) return y;
    return y.demandCommand(1, `${words.slice(0, -1).join(', ')} or ${words.at(-1)} is missing`);
  });
}

function parser(showHidden: boolean, chosen: Chosen): Argv {
  const y = yargs()
    .scriptName('loden')
    .usage(
      '$0 <command>\n\nAn overlay network for containers: subnet leases from etcd, VXLAN and host routes.',
    )
    .locale('en')
    .exitProcess(false)
    .parserConfiguration(PARSER)
    .strict()
    .showHelpOnFail(false)
    .wrap(110)
    .help('help', 'Show this.')
    .version('version', 'Show the version.', VERSION)
    .option(SHOW_HIDDEN, {
      type: 'boolean',
      describe: "With --help: also show flanneld's options that have no effect here.",
    });
  const families = new Set<string>();
  for (const command of COMMANDS) {
    const [first, second] = command.name.split(' ') as [string, string?];
    if (second === undefined) add(y, first, command, showHidden, chosen);
    else if (!families.has(first)) addFamily(y, first, showHidden, chosen);
    families.add(first);
  }
  return y
    .demandCommand(1, 'a command is missing')
    .epilogue('loden <command> --help tells the options of a command.');
}

/** What a lone dash (standard input) is to the parser, which would take it for nothing: no argument can hold it. */
const DASH = '\0-';

/** The flags yargs found, by option. */
function flagsOf(parsed: Readonly<Record<string, unknown>>): Flags {
  const flags = new Map<OptionName, readonly string[]>();
  for (const [name, value] of Object.entries(parsed)) {
    if (isOptionName(name)) flags.set(name, (Array.isArray(value) ? value : [value]).map(String));
  }
  return flags;
}

function argsOf(
  { positionals = [] }: Command,
  parsed: Readonly<Record<string, unknown>>,
): Readonly<Record<string, string>> {
  const given = positionals.filter(({ name }) => parsed[name] !== undefined);
  return Object.fromEntries(
    given.map(({ name }) => [name, parsed[name] === DASH ? '-' : String(parsed[name])]),
  );
}

/** What `--help` and `--version` are. */
const printing = (text: string): Invocation => ({
  command: 'print',
  options: text,
  run: async (io) => {
    io.print(`${text}\n`);
    return EXIT.ok;
  },
});

/** Understand a command line; throws UsageError (exit 64) or ConfigError (exit 78, all problems at once). */
export function parseCommandLine(argv: readonly string[], env: Env): Invocation {
  const own = COMMANDS.find(({ name, ownArguments }) => ownArguments && name === argv[0]);
  if (own) return own.bind({ flags: new Map(), env, args: {}, rest: argv.slice(1) });
  let command: Command | undefined;
  let output = '';
  const args = normaliseArgs(argv).map((arg) => (arg === '-' ? DASH : arg));
  const parsed = parser(args.includes(`--${SHOW_HIDDEN}`), (c) => {
    command = c;
  })
    .fail((message, error) => {
      const words = message ?? error?.message ?? 'the command line cannot be understood';
      throw new UsageError(
        /^Not enough non-option/.test(words) ? 'an argument is missing' : words.replaceAll(DASH, '-'),
      );
    })
    .parse(args, {}, (_error: unknown, _argv: unknown, text: string) => {
      output += text;
    }) as Readonly<Record<string, unknown>>;
  if (output) return printing(output);
  const surplus = (parsed['--'] as readonly string[] | undefined) ?? [];
  if (surplus.length > 0) throw new UsageError(`Unknown argument: ${surplus.join(' ')}`);
  if (!command) throw new UsageError('a command is missing');
  return command.bind({ flags: flagsOf(parsed), env, args: argsOf(command, parsed), rest: [] });
}

/** Parse and run; resolves to the exit code. Throws what the command throws, UsageError or ConfigError. */
export const program = async (argv: readonly string[], io: Io): Promise<number> =>
  parseCommandLine(argv, io.env).run(io);

/** Exit code of whatever a command threw; what is not ours is a bug. */
export const exitCodeOf = (error: unknown): number =>
  typeof error === 'object' && error !== null && 'exitCode' in error && typeof error.exitCode === 'number'
    ? error.exitCode
    : EXIT.software;
