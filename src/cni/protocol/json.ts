import type { Problem } from '../../errors.ts';
import { isObject, show } from '../../fields.ts';
import { CniError, CODE } from '../errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Members of an object, and elements of a list: more are nobody's, and reading them would hold everybody up. */
const MOST_MEMBERS = 1000;
const MOST_ELEMENTS = 1000;

/** Deeper configurations are nobody's; recursion over what is let through here cannot exhaust the stack. */
const DEEPEST = 200;

/** What of a JSON text is beyond the limits, before anything is made of it; what is no JSON is not looked for. */
function excess(text: string): string | undefined {
  /** Members so far of each open object; lists have none. */
  const open: number[] = [];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) quoted = !quoted;
    else if (quoted) i += c === 0x5c ? 1 : 0;
    else if (c === 0x5b || c === 0x7b) {
      if (open.push(0) > DEEPEST) return `it is nested more than ${DEEPEST} levels deep`;
    } else if (c === 0x5d || c === 0x7d) open.pop();
    else if (c === 0x3a && open.length > 0 && ++open[open.length - 1]! > MOST_MEMBERS)
      return `an object in it has more than ${MOST_MEMBERS} members`;
  }
  return undefined;
}

/**
 * The network configuration on standard input. `null` is an empty one, as it is for Go's encoding/json.
 * Throws CniError (code 6) in libcni's words.
 */
export function parseNetConfig(stdin: string): JsonObject {
  const wrong = (why: string, cause?: unknown) =>
    new CniError(CODE.decodingFailure, `error unmarshall network config: ${why}`, undefined, cause);
  if (stdin.trim() === '') throw wrong('unexpected end of JSON input: there is nothing on standard input');
  const beyond = excess(stdin);
  if (beyond) throw wrong(beyond);
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (cause) {
    throw wrong((cause as Error).message, cause);
  }
  if (value === null) return {};
  if (!isObject(value)) throw wrong(`expected a JSON object, got ${show(value)}`);
  return value;
}

/** A member by its name in any case, the exact one first; undefined when it is absent or null. */
export function member(object: JsonObject, name: string): unknown {
  if (Object.hasOwn(object, name)) return object[name] ?? undefined;
  const lower = name.toLowerCase();
  for (const key of Object.keys(object)) if (key.toLowerCase() === lower) return object[key] ?? undefined;
  return undefined;
}

/** A text member; undefined when absent. Throws CniError (code 6): libcni decodes these before all else. */
export function textMember(object: JsonObject, name: string, what: string): string | undefined {
  const value = member(object, name);
  if (value === undefined || typeof value === 'string') return value;
  throw new CniError(CODE.decodingFailure, `${what}: ${name}: expected a string, got ${show(value)}`);
}

/** Reads one element of a list, `path` of the whole; undefined, and a problem, when it cannot be read. */
export type ReadElement<T> = (element: unknown, path: string, problems: Problem[]) => T | undefined;

/** Put further problems to those there are: a call with each of them as an argument would have too many. */
export function addAll(problems: Problem[], more: readonly Problem[]): void {
  for (const problem of more) problems.push(problem);
}

/** Note that something else was expected at `path`. */
export function complain(problems: Problem[], path: string, expected: string, got: unknown): void {
  problems.push({ path, expected, got: show(got) });
}

/** A member that is a list; an empty one when absent, with `most` elements. What is wrong goes to `problems`, under the path `at` + `name`. */
export function listMember<T>(
  object: JsonObject,
  name: string,
  problems: Problem[],
  read: ReadElement<T>,
  at = '',
  most = MOST_ELEMENTS,
): T[] {
  const value = member(object, name);
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > most) {
    complain(problems, at + name, `a list of at most ${most} elements`, value);
    return [];
  }
  return value.flatMap((element: unknown, i) => {
    const out = read(element, `${at}${name}[${i}]`, problems);
    return out === undefined ? [] : [out];
  });
}

/** Problems told; a hostile configuration could have thousands. */
const SHOWN = 20;

/** Problems, one line each, as they stand in an error; the first of many. */
export function lines(problems: readonly Problem[]): string[] {
  const shown = problems.slice(0, SHOWN).map((p) => `${p.path}: expected ${p.expected}, got ${p.got}`);
  return problems.length > SHOWN ? [...shown, `and ${problems.length - SHOWN} more`] : shown;
}

/** Throws CniError (code 7) that names the problems, if there are any. */
export function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  throw new CniError(CODE.invalidConfig, `invalid network config: ${lines(problems).join('; ')}`);
}
