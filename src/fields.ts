import type { Problem } from './errors.ts';

/**
 * Reading a JSON object written by people, as Go's encoding/json does for flannel: keys in any case, `null` like an
 * absent key. Nothing throws: whatever is wrong becomes a {@link Problem}, so that all of it can be told at once.
 */
export interface Fields {
  /** A whole number in min..max; `fallback` when absent. */
  integer(name: string, min: number, max: number, fallback: number): number;
  boolean(name: string, fallback: boolean): boolean;
  /** Text that `parse` understands; undefined when absent or wrong. */
  text<T>(name: string, expected: string, parse: (text: string) => T | undefined): T | undefined;
  /** A JSON object; undefined when absent or wrong. */
  object(name: string): Readonly<Record<string, unknown>> | undefined;
  /** Keys nobody asked for, as written. Call it last. */
  rest(): readonly string[];
  /** Was the key given (in any case, and not null)? */
  has(name: string): boolean;
  problem(name: string, expected: string, got: unknown): void;
  readonly problems: readonly Problem[];
}

/** A plain JSON object: neither an array nor null. */
export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const SHOWN = 80;

/** A value in a message: JSON, cut to a readable length; never throws on hostile nesting. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = `a ${Array.isArray(value) ? 'list' : typeof value} that is nested too deep`;
  }
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}… (${text.length} characters)` : text;
}

/** Open an object for reading; `at` is put before the names in problems, e.g. `Backend.`. */
export function fields(source: Readonly<Record<string, unknown>>, at = ''): Fields {
  const problems: Problem[] = [];
  const values = new Map<string, { readonly as: string; readonly value: unknown }>();
  const asked = new Set<string>();
  const complain = (name: string, expected: string, got: string): void => {
    problems.push({ path: at + name, expected, got });
  };
  for (const [as, value] of Object.entries(source)) {
    const earlier = values.get(as.toLowerCase());
    if (earlier)
      complain(as, 'each key once (upper and lower case are the same)', `also ${show(earlier.as)}`);
    else values.set(as.toLowerCase(), { as, value });
  }
  const take = (name: string): unknown => {
    asked.add(name.toLowerCase());
    return values.get(name.toLowerCase())?.value ?? undefined;
  };
  return {
    problems,
    problem: (name, expected, got) => complain(name, expected, show(got)),
    has: (name) => take(name) !== undefined,
    integer(name, min, max, fallback) {
      const value = take(name);
      if (value === undefined) return fallback;
      if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
      complain(name, `a whole number from ${min} to ${max}`, show(value));
      return fallback;
    },
    boolean(name, fallback) {
      const value = take(name);
      if (value === undefined) return fallback;
      if (typeof value === 'boolean') return value;
      complain(name, 'true or false', show(value));
      return fallback;
    },
    text(name, expected, parse) {
      const value = take(name);
      if (value === undefined) return undefined;
      const parsed = typeof value === 'string' ? parse(value) : undefined;
      if (parsed === undefined) complain(name, expected, show(value));
      return parsed;
    },
    object(name) {
      const value = take(name);
      if (value === undefined) return undefined;
      if (isObject(value)) return value;
      complain(name, 'a JSON object', show(value));
      return undefined;
    },
    rest: () => [...values].filter(([key]) => !asked.has(key)).map(([, v]) => v.as),
  };
}
