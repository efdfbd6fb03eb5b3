import { fields } from '../fields.ts';
import type { ParsedOptions } from './backend.ts';

/** Check the Backend object of a backend that has no options but its Type. */
export function noOptions(
  options: Readonly<Record<string, unknown>>,
): ParsedOptions<Readonly<Record<string, never>>> {
  const f = fields(options, 'Backend.');
  f.has('Type');
  return f.problems.length > 0 ? { problems: f.problems } : { config: {}, unknown: f.rest() };
}
