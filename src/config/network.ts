import { backendTypes, findBackend } from '../backends/registry.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { type Fields, fields, isObject } from '../fields.ts';
import type { Family } from '../net/addr.ts';
import type { FamilyNetwork, NetworkConfig } from '../subnet/types.ts';
import { readRange } from './range.ts';

/** Longest network config, characters. */
const LONGEST = 65_536;

/** flannel's default when there is no Backend. */
const DEFAULT_BACKEND = 'udp';

const WHAT = 'the network config cannot be used';

/**
 * The network config as it stands in etcd, checked and with defaults filled in; the options of its Backend are checked
 * too. Keys may have any case. Keys that this version does not know are reported, not refused: the config is
 * shared with other versions. Throws ConfigError with everything that is wrong.
 */
export function parseNetworkConfig(text: string): NetworkConfig {
  const f = open(text);
  const families = new Map<Family, FamilyNetwork>();
  const enabled = { 4: f.boolean('EnableIPv4', true), 6: f.boolean('EnableIPv6', false) };
  if (!enabled[4] && !enabled[6]) f.problem('EnableIPv4', 'true, unless EnableIPv6 is true', false);
  for (const family of [4, 6] as const) {
    const range = readRange(f, family, enabled[family]);
    if (range) families.set(family, range);
  }
  const enableNFTables = f.boolean('EnableNFTables', false);
  const backend = readBackend(f);
  const unknownKeys = [...f.rest(), ...backend.unknown.map((key) => `Backend.${key}`)];
  const problems = [...f.problems, ...backend.problems];
  if (problems.length > 0) throw new ConfigError(WHAT, problems);
  return { families, enableNFTables, backend: { type: backend.type, options: backend.options }, unknownKeys };
}

function open(text: string): Fields {
  const refuse = (expected: string, got: string): ConfigError =>
    new ConfigError(WHAT, [{ path: 'config', expected, got }]);
  if (text.length > LONGEST) throw refuse(`at most ${LONGEST} characters`, String(text.length));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw refuse('JSON', reasonOnly(e as SyntaxError));
  }
  if (!isObject(value)) throw refuse('a JSON object', kindOf(value));
  return fields(value);
}

/** Not the value itself, which may be a key (PSK) that somebody has put in the wrong place. */
const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;

/** JSON.parse's complaint without the piece of text it quotes, which may hold a key (PSK). */
const reasonOnly = (e: SyntaxError): string => e.message.replace(/, (?:\.\.\.)?".*/s, '');

interface ReadBackend {
  readonly type: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly problems: readonly Problem[];
  readonly unknown: readonly string[];
}

function readBackend(f: Fields): ReadBackend {
  const options = f.object('Backend');
  if (!options) {
    const type = DEFAULT_BACKEND;
    if (f.has('Backend')) return { type, options: {}, problems: [], unknown: [] };
    const found = findBackend(type, {});
    if (!('problems' in found)) return { type, options: {}, problems: [], unknown: [] };
    const problems = found.problems.map((p) => ({ ...p, got: `no Backend at all, which means ${p.got}` }));
    return { type, options: {}, problems, unknown: [] };
  }
  const b = fields(options, 'Backend.');
  const expected = `one of ${backendTypes.join(', ')}`;
  const type = b.text('Type', expected, (t) => t.toLowerCase());
  if (type === undefined) {
    if (!b.has('Type')) b.problem('Type', expected, undefined);
    return { type: '', options, problems: b.problems, unknown: [] };
  }
  const found = findBackend(type, options);
  return 'problems' in found
    ? { type, options, problems: found.problems, unknown: [] }
    : { type, options, problems: [], unknown: found.unknown };
}
