import { OBJECT_STATES } from '../../api/objectStates.ts';
import { KIND_ORDER } from '../../kernel/types.ts';
import { badRequest } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** A parameter that is one of a few words; undefined: absent. */
function oneOf(query: URLSearchParams, name: string, words: readonly string[]): string | undefined {
  const word = query.get(name);
  if (word !== null && !words.includes(word)) throw badRequest(`${name} must be one of ${words.join(', ')}`);
  return word ?? undefined;
}

type Parts = Pick<RouteParts, 'reconciler'>;

function* objectsText({ reconciler }: Parts, state?: string, kind?: string): Generator<string> {
  const revision = reconciler.status().desired;
  yield `{"revision":${revision === undefined ? 'null' : `"${revision}"`},"objects":[`;
  let comma = '';
  for (const row of reconciler.objects()) {
    // Also where there is nothing to tell, for what is looked at takes time.
    if ((state !== undefined && row.state !== state) || (kind !== undefined && row.kind !== kind)) yield '';
    else {
      yield `${comma}\n${JSON.stringify(row)}`;
      comma = ',';
    }
  }
  yield ']}\n';
}

/** `GET /v1/objects`: what the kernel is to hold, and how each of it stands. */
export const objectRoutes = (parts: Parts): Route[] => [
  {
    method: 'GET',
    path: '/v1/objects',
    audience: 'local',
    handle: ({ query }) => {
      const state = oneOf(query, 'state', OBJECT_STATES);
      const kind = oneOf(query, 'kind', KIND_ORDER);
      return { pieces: objectsText(parts, state, kind) };
    },
  },
];
