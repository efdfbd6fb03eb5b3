import { DEFAULTS } from '../contract.ts';
import { UsageError } from '../errors.ts';
import { show } from '../fields.ts';
import type { Shape } from './dockerOptsText.ts';
import { getopts } from './getopts.ts';

/** What `loden docker-opts` was told; flannel's mk-docker-opts.sh has the same options. */
export interface DockerOptsOptions extends Shape {
  /** -f: the subnet file. */
  readonly from: string;
  /** -d: where the options are written. */
  readonly to: string;
}

export const DOCKER_OPTS_USAGE = `loden docker-opts [-f SUBNET-FILE] [-d DOCKER-FILE] [-i] [-c] [-k KEY] [-m]

Write Docker's options for this node's subnet into a file for EnvironmentFile=.

  -f  The subnet file; ${DEFAULTS.subnetFile} if not given.
  -d  The file to write; /run/docker_opts.env if not given.
  -i  Each option as a variable of its own: DOCKER_OPT_BIP, DOCKER_OPT_IPMASQ, DOCKER_OPT_MTU.
  -c  All together as one variable. Without -i and -c: both.
  -k  Name of that one variable; DOCKER_OPTS if not given. What it has in the environment is put in front.
  -m  Leave --ip-masq out.

deploy/mk-docker-opts.sh does the same where there is no Node.js.`;

/** What mk-docker-opts.sh, or the shell that runs it, sets itself: there is no telling what the environment had. */
const TAKEN =
  /^(?:(?:DOCKER_OPT_|FLANNEL_|ld_|BASH|EPOCH|OPT).*|_|PS[0-9]|IFS|LC_ALL|PATH|PWD|OLDPWD|PPID|UID|EUID|LINENO|LINES|COLUMNS|RANDOM|SRANDOM|SECONDS|SHLVL|SHELLOPTS|DIRSTACK|FUNCNAME|GROUPS|HISTCMD|HOSTNAME|HOSTTYPE|MACHTYPE|OSTYPE|PIPESTATUS|POSIXLY_CORRECT|TERM|HOME|SHELL|USER|LOGNAME)$/;

/** The options of `loden docker-opts`, or undefined when help is asked for. Throws UsageError. */
export function dockerOptsOptions(argv: readonly string[]): DockerOptsOptions | undefined {
  if (argv.some((arg) => arg === '--help' || arg === '-help')) return undefined;
  let from: string = DEFAULTS.subnetFile;
  let to = '/run/docker_opts.env';
  let key = 'DOCKER_OPTS';
  const letters = new Set<string>();
  for (const { letter, argument } of getopts('docker-opts', argv, 'f:d:icmk:h')) {
    letters.add(letter);
    if (letter === 'f') from = argument;
    if (letter === 'd') to = argument;
    if (letter === 'k') key = argument;
  }
  if (letters.has('h')) return undefined;
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) {
    throw new UsageError(`loden docker-opts: -k takes the name of a variable, not ${show(key)}`);
  }
  if (TAKEN.test(key)) {
    throw new UsageError(`loden docker-opts: -k takes a name that is not in use already, not ${key}`);
  }
  if (from === '' || to === '') throw new UsageError('loden docker-opts: -f and -d take a path');
  const both = !letters.has('i') && !letters.has('c');
  return {
    from,
    to,
    key,
    individual: both || letters.has('i'),
    combined: both || letters.has('c'),
    ipMasq: !letters.has('m'),
  };
}
