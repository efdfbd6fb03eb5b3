import type { Problem } from '../errors.ts';
import { fields } from '../fields.ts';
import { WINDOWS_OPTIONS } from './windows.ts';

/** Check the Backend object of a backend that has no options but its Type. */
export function noOptions(
  options: Readonly<Record<string, unknown>>,
): { readonly config: Readonly<Record<string, never>> } | { readonly problems: readonly Problem[] } {
  const f = fields(options, 'Backend.');
  f.has('Type');
  for (const key of f.rest()) {
    if (!WINDOWS_OPTIONS.has(key.toLowerCase())) f.problem(key, 'Type alone', key);
  }
  return f.problems.length > 0 ? { problems: f.problems } : { config: {} };
}
