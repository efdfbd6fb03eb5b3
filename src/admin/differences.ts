import { MASK, masked } from '../config/mask.ts';
import { isObject } from '../fields.ts';

/** A member that is another one in the new config; absent: it is not there. Secrets are masked. */
export interface Difference {
  /** `Backend.VNI` */
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

/** Every member of a JSON value that is no object itself, by path. */
function* leaves(value: unknown, path: string): Generator<readonly [string, unknown]> {
  if (isObject(value) && (path === '' || Object.keys(value).length > 0))
    for (const [name, inner] of Object.entries(value))
      yield* leaves(inner, path === '' ? name : `${path}.${name}`);
  else yield [path, value];
}

/** What differs between two configs, by path; undefined: there is none. A secret that differs does so without showing. */
export function differences(from: unknown, to: unknown): Difference[] {
  const [was, is] = [from, to].map((v) => new Map(v === undefined ? [] : leaves(v, '')));
  const [wasShown, isShown] = [from, to].map((v) => new Map(v === undefined ? [] : leaves(masked(v), '')));
  const shown = (map: Map<string, unknown>, path: string): unknown => (map.has(path) ? map.get(path) : MASK);
  const paths = [...new Set([...was!.keys(), ...is!.keys()])];
  return paths
    .filter((path) => JSON.stringify(was!.get(path)) !== JSON.stringify(is!.get(path)))
    .map((path) => ({
      path,
      ...(was!.has(path) ? { from: shown(wasShown!, path) } : {}),
      ...(is!.has(path) ? { to: shown(isShown!, path) } : {}),
    }));
}
