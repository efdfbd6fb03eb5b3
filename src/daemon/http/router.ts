import { badRequest } from './errors.ts';
import type { Method, Route } from './route.ts';

/** Longest path, characters: a lease key of two families has 70. */
export const LONGEST_PATH = 1_024;

export interface Found {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/** What there is for a method and a path. `allow` as of RFC 9110, section 10.2.1; empty: there is no such path. */
export type Match = Found | { readonly allow: readonly string[] };

interface Pattern {
  /** Undefined: a placeholder. */
  readonly segments: readonly { readonly name: string; readonly literal: string | undefined }[];
  readonly route: Route;
}

/** Finds the route of a request. A literal segment counts more than a placeholder. */
export class Router {
  readonly #patterns: readonly Pattern[];

  constructor(routes: readonly Route[]) {
    this.#patterns = routes
      .map((route) => ({
        route,
        segments: split(route.path).map((s) =>
          s.startsWith(':') ? { name: s.slice(1), literal: undefined } : { name: s, literal: s },
        ),
      }))
      .sort((a, b) => placeholders(a) - placeholders(b));
  }

  /** `path` as it came, without the query. Throws ApiError for escapes that mean nothing. */
  find(method: string, path: string): Match {
    const wanted = split(path);
    const asked = method === 'HEAD' ? 'GET' : method;
    const allow = new Set<string>();
    for (const { route, segments } of this.#patterns) {
      if (!fits(segments, wanted)) continue;
      if (route.method === asked) return { route, params: paramsOf(segments, wanted) };
      for (const m of methodsOf(route.method)) allow.add(m);
    }
    return { allow: [...allow] };
  }
}

const split = (path: string): string[] => path.split('/').slice(1);
const methodsOf = (method: Method): readonly string[] => (method === 'GET' ? ['GET', 'HEAD'] : [method]);
const placeholders = ({ segments }: Pattern): number =>
  segments.filter(({ literal }) => literal === undefined).length;

const fits = (segments: Pattern['segments'], wanted: readonly string[]): boolean =>
  segments.length === wanted.length &&
  segments.every(({ literal }, i) => (literal === undefined ? wanted[i] !== '' : literal === wanted[i]));

function paramsOf(segments: Pattern['segments'], wanted: readonly string[]): Record<string, string> {
  const params: Record<string, string> = {};
  for (const [i, { name, literal }] of segments.entries()) {
    if (literal !== undefined) continue;
    try {
      params[name] = decodeURIComponent(wanted[i]!);
    } catch {
      throw badRequest('the path has an escape (%) that is no UTF-8 text');
    }
  }
  return params;
}
