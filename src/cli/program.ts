import yargs, { type Argv } from 'yargs';
import {
  type CleanupOptions,
  type CniInstallOptions,
  type CniUninstallOptions,
  cleanupOptions,
  cniInstallOptions,
  cniUninstallOptions,
  type LeasesOptions,
  leasesOptions,
} from '../config/commands.ts';
import {
  type Command,
  isOptionName,
  OPTIONS,
  type Option,
  type OptionName,
  optionsOf,
} from '../config/options.ts';
import { type RunOptions, runOptions } from '../config/run.ts';
import type { Env, Flags } from '../config/sources.ts';
import { EXIT, VERSION } from '../contract.ts';
import { UsageError } from '../errors.ts';
import { normaliseArgs } from './args.ts';
import { DOCKER_OPTS_USAGE, type DockerOptsOptions, dockerOptsOptions } from './dockerOptsOptions.ts';

/** What the commands do. */
export interface Handlers {
  run(options: RunOptions): Promise<void>;
  leases(options: LeasesOptions): Promise<void>;
  cleanup(options: CleanupOptions): Promise<void>;
  cniInstall(options: CniInstallOptions): Promise<void>;
  cniUninstall(options: CniUninstallOptions): Promise<void>;
  dockerOpts(options: DockerOptsOptions): Promise<void>;
}

/** What a command line asks for. */
export type Invocation =
  | { readonly command: 'run'; readonly options: RunOptions }
  | { readonly command: 'leases'; readonly options: LeasesOptions }
  | { readonly command: 'cleanup'; readonly options: CleanupOptions }
  | { readonly command: 'cni install'; readonly options: CniInstallOptions }
  | { readonly command: 'cni uninstall'; readonly options: CniUninstallOptions }
  | { readonly command: 'docker-opts'; readonly options: DockerOptsOptions }
  /** `--help`, `--version`, `version`: text for standard output. */
  | { readonly command: 'print'; readonly text: string };

const EPILOGUE = `Every option may also stand in the environment: --etcd-endpoints as FLANNELD_ETCD_ENDPOINTS.
A flag counts more than the environment. Single dashes (-iface=eth0) work too.`;

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
function declare(parser: Argv, command: Command, showHidden: boolean): Argv {
  for (const name of optionsOf(command)) {
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

/** Known to the parser only to be listed; it has one of its own. */
const DOCKER_OPTS = 'docker-opts';

function parser(showHidden: boolean, chosen: (command: Command | 'version') => void): Argv {
  return yargs()
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
    })
    .command(
      'run',
      'Run the daemon on this host: a drop-in for flanneld.',
      (y) => declare(y, 'run', showHidden).epilogue(EPILOGUE),
      () => chosen('run'),
    )
    .command('leases', 'Who has which subnet.', (y) =>
      y.command(
        ['list', '$0'],
        'List all leases, from the running daemon or straight from etcd.',
        (z) => declare(z, 'leases', showHidden).epilogue(EPILOGUE),
        () => chosen('leases'),
      ),
    )
    .command(
      'cleanup',
      'Remove from the kernel all that a daemon put there, and nothing else. Stop the daemon first.',
      (y) => declare(y, 'cleanup', showHidden).epilogue(EPILOGUE),
      () => chosen('cleanup'),
    )
    .command('cni', 'The CNI plugin, by which pods get addresses.', (y) =>
      y
        .command(
          'install',
          'Put the plugin and a network configuration where runtimes look for them.',
          (z) => declare(z, 'cni install', showHidden).epilogue(EPILOGUE),
          () => chosen('cni install'),
        )
        .command(
          'uninstall',
          'Take away again what install has put there, and nothing else.',
          (z) => declare(z, 'cni uninstall', showHidden).epilogue(EPILOGUE),
          () => chosen('cni uninstall'),
        )
        .demandCommand(1, 'install or uninstall is missing'),
    )
    .command(DOCKER_OPTS, "Write Docker's options for this node's subnet: flannel's mk-docker-opts.sh.")
    .command(
      'version',
      'Show the version.',
      (y) => y,
      () => chosen('version'),
    )
    .demandCommand(1, 'a command is missing')
    .epilogue('loden <command> --help tells the options of a command.');
}

/** The flags yargs found, by option. */
function flagsOf(parsed: Readonly<Record<string, unknown>>): Flags {
  const flags = new Map<OptionName, readonly string[]>();
  for (const [name, value] of Object.entries(parsed)) {
    if (isOptionName(name)) flags.set(name, (Array.isArray(value) ? value : [value]).map(String));
  }
  return flags;
}

/** Understand a command line; throws UsageError (exit 64) or ConfigError (exit 78, all problems at once). */
export function parseCommandLine(argv: readonly string[], env: Env): Invocation {
  // Its options are those of a shell script, by single letters.
  if (argv[0] === DOCKER_OPTS) {
    const options = dockerOptsOptions(argv.slice(1));
    return options ? { command: DOCKER_OPTS, options } : { command: 'print', text: DOCKER_OPTS_USAGE };
  }
  let command: Command | 'version' | undefined;
  let output = '';
  const args = normaliseArgs(argv);
  const parsed = parser(args.includes(`--${SHOW_HIDDEN}`), (c) => {
    command = c;
  })
    .fail((message, error) => {
      throw new UsageError(message ?? error?.message ?? 'the command line cannot be understood');
    })
    .parse(args, {}, (_error: unknown, _argv: unknown, text: string) => {
      output += text;
    }) as Readonly<Record<string, unknown>>;
  if (output) return { command: 'print', text: output };
  const surplus = (parsed['--'] as readonly string[] | undefined) ?? [];
  if (surplus.length > 0) throw new UsageError(`Unknown argument: ${surplus.join(' ')}`);
  const flags = flagsOf(parsed);
  switch (command) {
    case 'run':
      return { command, options: runOptions(flags, env) };
    case 'leases':
      return { command, options: leasesOptions(flags, env) };
    case 'cleanup':
      return { command, options: cleanupOptions(flags, env) };
    case 'cni install':
      return { command, options: cniInstallOptions(flags, env) };
    case 'cni uninstall':
      return { command, options: cniUninstallOptions(flags, env) };
    case 'version':
      return { command: 'print', text: VERSION };
    default:
      throw new UsageError('a command is missing');
  }
}

/** Parse and run; resolves when the command is done. Throws what the handler throws, UsageError or ConfigError. */
export async function program(
  argv: readonly string[],
  env: Env,
  handlers: Handlers,
  print: (text: string) => void,
): Promise<void> {
  const invocation = parseCommandLine(argv, env);
  switch (invocation.command) {
    case 'run':
      return handlers.run(invocation.options);
    case 'leases':
      return handlers.leases(invocation.options);
    case 'cleanup':
      return handlers.cleanup(invocation.options);
    case 'cni install':
      return handlers.cniInstall(invocation.options);
    case 'cni uninstall':
      return handlers.cniUninstall(invocation.options);
    case 'docker-opts':
      return handlers.dockerOpts(invocation.options);
    case 'print':
      return print(`${invocation.text}\n`);
  }
}

/** Exit code of whatever a command threw; what is not ours is a bug. */
export const exitCodeOf = (error: unknown): number =>
  typeof error === 'object' && error !== null && 'exitCode' in error && typeof error.exitCode === 'number'
    ? error.exitCode
    : EXIT.software;
