import { UsageError } from '../errors.ts';

/** What getopts(1p) finds: letters in the order given, those that take one with their argument. */
export type Opts = readonly { readonly letter: string; readonly argument: string }[];

/**
 * Read arguments as a shell's getopts does: `-ic`, `-kKEY`, `-k KEY`. `spec` has a colon behind each letter that takes an
 * argument. Throws UsageError for an unknown letter, a missing argument or anything that is no option.
 */
export function getopts(command: string, argv: readonly string[], spec: string): Opts {
  const found: { letter: string; argument: string }[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    if (arg === '--' && i === argv.length - 1) break;
    if (!/^-[^-]/.test(arg))
      throw new UsageError(`loden ${command}: unexpected argument ${JSON.stringify(arg)}`);
    for (let at = 1; at < arg.length; at++) {
      const letter = arg[at]!;
      const known = letter === ':' ? -1 : spec.indexOf(letter);
      if (known < 0) throw new UsageError(`loden ${command}: unknown option -${letter}`);
      if (spec[known + 1] !== ':') {
        found.push({ letter, argument: '' });
        continue;
      }
      const rest = arg.slice(at + 1);
      const argument = rest === '' ? argv[++i] : rest;
      if (argument === undefined) throw new UsageError(`loden ${command}: -${letter} takes an argument`);
      found.push({ letter, argument });
      break;
    }
  }
  return found;
}
