import type { Option } from '../../config/option.ts';
import { OPTIONS, type OptionName, optionsOf } from '../../config/options.ts';
import type { Command, Positional } from '../command.ts';

/** What a word on the command line may become. Pure. */
export interface Completion {
  /** Whole words. */
  readonly words: readonly string[];
  /** What else, which only the daemon knows. */
  readonly ask: 'subnets' | 'peers' | 'nodes' | undefined;
  /** What stands in front of each of those: `--node=`. */
  readonly prefix: string;
}

const words = (list: readonly string[], prefix = ''): Completion => ({
  words: list.map((w) => prefix + w),
  ask: undefined,
  prefix,
});

const NOTHING = words([]);

/** The words of an option that is one of a few. */
function choicesOf(name: OptionName): readonly string[] {
  const { kind }: Option = OPTIONS[name];
  if (kind.flag) return ['true', 'false'];
  return kind.words ?? [];
}

/** `given`: all behind `loden`; the last, perhaps empty, is the one to complete. */
export function complete(commands: readonly Command[], given: readonly string[]): Completion {
  const current = given.at(-1) ?? '';
  const before = given.slice(0, -1);
  const { command, rest, family } = commandOf(commands, before);
  const own = command && !command.ownArguments ? optionsOf(command.name) : [];
  const previous = optionNamed(own, before.at(-1));
  if (previous && !(OPTIONS[previous] as Option).kind.flag) return valuesOf(previous, '');
  const [, written, equals] = /^(--?[^=]+)(=?)/.exec(current) ?? [];
  if (equals) {
    const name = optionNamed(own, written);
    return name ? valuesOf(name, `${written}=`) : NOTHING;
  }
  if (current.startsWith('-')) return words([...own.map((name) => dashed(name)), '--help']);
  const next = command ? positionalAt(command, rest) : undefined;
  const isWhole = command !== undefined && family === '';
  const follow = isWhole || rest.length > 0 ? [] : nextWords(commands, family);
  if (!next) return words(follow);
  const { choices = [], complete: ask } = next;
  return {
    words: [...follow, ...choices],
    ask: ask === 'subnets' || ask === 'peers' ? ask : undefined,
    prefix: '',
  };
}

const dashed = (name: OptionName): string => (name.length === 1 ? `-${name}` : `--${name}`);

function optionNamed(own: readonly OptionName[], word: string | undefined): OptionName | undefined {
  if (!word?.startsWith('-') || word.includes('=')) return undefined;
  return own.find((name) => name === word.replace(/^--?/, ''));
}

const valuesOf = (name: OptionName, prefix: string): Completion => ({
  ...words(choicesOf(name), prefix),
  ask: name === 'node' ? 'nodes' : undefined,
});

/** Which command the words name so far, and what of them is left for its positionals; `family`: a word more may follow. */
function commandOf(
  commands: readonly Command[],
  before: readonly string[],
): { readonly command: Command | undefined; readonly rest: readonly string[]; readonly family: string } {
  const plain = plainWords(before);
  const [first, second] = plain;
  const whole = commands.find((c) => c.name === `${first} ${second}`);
  if (whole) return { command: whole, rest: plain.slice(2), family: '' };
  const one = commands.find((c) => c.name === first);
  if (one) return { command: one, rest: plain.slice(1), family: '' };
  const usual = commands.find((c) => c.usual && c.name.startsWith(`${first} `));
  return { command: usual, rest: plain.slice(1), family: first ?? '' };
}

/** Without options and their values. */
function plainWords(before: readonly string[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < before.length; i++) {
    const word = before[i]!;
    if (!word.startsWith('-')) out.push(word);
    else if (!word.includes('=')) {
      const option: Option | undefined = OPTIONS[word.replace(/^--?/, '') as OptionName];
      if (option && !option.kind.flag) i++;
    }
  }
  return out;
}

/** The words that go on from none, or from a family. */
function nextWords(commands: readonly Command[], family: string): string[] {
  if (family === '') return [...new Set(commands.map(({ name }) => name.split(' ')[0]!))];
  return commands
    .filter(({ name }) => name.startsWith(`${family} `))
    .map(({ name }) => name.slice(family.length + 1));
}

const positionalAt = ({ positionals = [] }: Command, rest: readonly string[]): Positional | undefined =>
  positionals[rest.length];
