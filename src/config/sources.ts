import type { Problem } from '../errors.ts';
import { show } from '../fields.ts';
import type { Command, Option } from './option.ts';
import {
  envName,
  hasEnvName,
  OPTIONS,
  type OptionName,
  optionNames,
  optionsOf,
  type Values,
} from './options.ts';

/** Where a value came from. */
export type Origin = 'flag' | 'environment' | 'default';

/** An option as it was settled, in words that may be shown: secrets are masked. */
export interface Setting {
  readonly name: OptionName;
  readonly origin: Origin;
  /** `--iface` or `FLANNELD_IFACE`: what to change to change it. */
  readonly from: string;
  /** One for each repetition; empty: not set. */
  readonly texts: readonly string[];
}

export type Settings = ReadonlyMap<OptionName, Setting>;

/** What the command line says, by option, in the order given. */
export type Flags = ReadonlyMap<OptionName, readonly string[]>;

export type Env = Readonly<Record<string, string | undefined>>;

const NOTHING_GIVEN: Flags = new Map();

/** Longest text of one option, characters. */
const LONGEST = 32_768;

const MASK = '[redacted]';

/** The text as it may be shown: secrets masked, and passwords inside URLs too. */
const shown = (option: Option, text: string): string =>
  option.secret ? MASK : text.replace(/\/\/[^/@\s]*@/g, `//${MASK}@`);

/** Which texts count for an option: flags over environment over default. An empty variable is none, as in flanneld. */
function settle(name: OptionName, flags: Flags, env: Env): Setting {
  const option: Option = OPTIONS[name];
  const given = flags.get(name);
  if (given && given.length > 0) {
    return { name, origin: 'flag', from: `--${name}`, texts: option.many ? given : given.slice(-1) };
  }
  const variable = hasEnvName(name) ? env[envName(name)] : undefined;
  if (variable) return { name, origin: 'environment', from: envName(name), texts: [variable] };
  return {
    name,
    origin: 'default',
    from: `--${name}`,
    texts: option.fallback === undefined ? [] : [option.fallback],
  };
}

/**
 * Settle and parse the options of a command. Those of other commands have their defaults, whatever the environment
 * says. Where there are problems, the values concerned are not to be used.
 */
export function readSources(
  command: Command,
  flags: Flags,
  env: Env,
): { readonly values: Values; readonly settings: Settings; readonly problems: Problem[] } {
  const values: Partial<Record<OptionName, unknown>> = {};
  const settings = new Map<OptionName, Setting>();
  const problems: Problem[] = [];
  const mine = new Set(optionsOf(command));
  for (const name of optionNames) {
    const option: Option = OPTIONS[name];
    const setting = mine.has(name) ? settle(name, flags, env) : settle(name, NOTHING_GIVEN, {});
    const texts = option.optional ? setting.texts.filter((t) => t !== '') : setting.texts;
    const parsed = texts.map((t) => {
      const value = t.length > LONGEST ? undefined : option.kind.parse(t);
      if (value === undefined) {
        problems.push({ path: setting.from, expected: option.kind.expected, got: show(shown(option, t)) });
      }
      return value;
    });
    values[name] = option.many ? parsed : parsed[0];
    if (mine.has(name)) settings.set(name, { ...setting, texts: texts.map((t) => shown(option, t)) });
  }
  return { values: values as Values, settings, problems };
}

const PREFIX = 'FLANNELD_';

/** What Kubernetes tells containers of a Service called `flanneld`. */
const OF_SERVICE = /^FLANNELD_(?:SERVICE_(?:HOST|PORT)|PORT)(?:_|$)/;

/** Variables that look like ours but are nobody's: probably misspelt. */
export function strangeVariables(env: Env): string[] {
  const known = new Set(optionNames.filter(hasEnvName).map(envName));
  return Object.keys(env).filter((key) => key.startsWith(PREFIX) && !known.has(key) && !OF_SERVICE.test(key));
}
