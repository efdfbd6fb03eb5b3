import { badRequest } from './errors.ts';

/** A parameter that is true or false; undefined: absent. */
export function flag(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name);
  if (text !== null && text !== 'true' && text !== 'false') throw badRequest(`${name} must be true or false`);
  return text === null ? undefined : text === 'true';
}

/** A whole number; undefined: absent. */
export function wholeNumber(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`${name} must be a whole number`);
  return Number(text);
}
