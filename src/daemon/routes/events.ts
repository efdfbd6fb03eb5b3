import { EVENT_KINDS } from '../../api/eventKinds.ts';
import type { EventsJson } from '../../api/shapes.ts';
import type { EventLog, Followed } from '../events/log.ts';
import { badRequest } from '../http/errors.ts';
import { wholeNumber } from '../http/query.ts';
import type { ApiRequest, Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

const KINDS: ReadonlySet<string> = new Set(EVENT_KINDS);

/** `kind=path&kind=mtu` or `kind=path,mtu`; undefined: all. */
function kinds(query: URLSearchParams): ReadonlySet<string> | undefined {
  const asked = query.getAll('kind').flatMap((k) => k.split(','));
  const strange = asked.find((k) => !KINDS.has(k));
  if (strange !== undefined) throw badRequest(`kind must be one of ${EVENT_KINDS.join(', ')}`);
  return asked.length === 0 ? undefined : new Set(asked);
}

/**
 * Where a stream begins: behind the event that the reader has seen last (`Last-Event-ID`, WHATWG HTML section 9.2.4, or `since`), at the
 * oldest that is kept when that was another daemon's, as an id that is greater than any must be, and at the newest when nothing is said.
 */
export function beginning(
  log: Pick<EventLog, 'instance' | 'last'>,
  { headers, query }: Pick<ApiRequest, 'headers' | 'query'>,
): number {
  const seen = headers['last-event-id'];
  if (typeof seen !== 'string' || seen === '') {
    const since = wholeNumber(query, 'since') ?? log.last;
    return since > log.last ? 0 : since;
  }
  const [, instance, id] = /^([0-9a-f]{1,32})-(\d{1,15})$/.exec(seen) ?? [];
  if (instance !== log.instance) return 0;
  return Math.min(Number(id), log.last);
}

/** Events as text/event-stream. What was missed is an event `missed` of its own, with their number. */
async function* asStream(
  log: EventLog,
  followed: AsyncIterable<Followed>,
  wanted: ReadonlySet<string> | undefined,
): AsyncGenerator<string, void, undefined> {
  for await (const it of followed) {
    if ('missed' in it) yield `event: missed\ndata: ${JSON.stringify({ missed: it.missed })}\n\n`;
    else if (!wanted || wanted.has(it.event.kind))
      yield `id: ${log.instance}-${it.event.id}\ndata: ${JSON.stringify(it.event)}\n\n`;
  }
}

function* asText({ events, ...rest }: EventsJson): Generator<string> {
  yield `${JSON.stringify(rest).slice(0, -1)},"events":[`;
  for (const [i, event] of events.entries()) yield `${i === 0 ? '' : ','}\n${JSON.stringify(event)}`;
  yield ']}\n';
}

/** `GET /v1/events` and `GET /v1/events/stream` */
export const eventRoutes = ({ events }: Pick<RouteParts, 'events'>): Route[] => [
  {
    method: 'GET',
    path: '/v1/events',
    audience: 'anyone',
    handle: ({ query }) => {
      const [since, wanted, limit] = [wholeNumber(query, 'since'), kinds(query), wholeNumber(query, 'limit')];
      return {
        pieces: asText(
          events.read({
            ...(since === undefined ? {} : { since }),
            ...(wanted ? { kinds: wanted } : {}),
            ...(limit === undefined ? {} : { limit }),
          }),
        ),
      };
    },
  },
  {
    method: 'GET',
    path: '/v1/events/stream',
    audience: 'anyone',
    handle: (request) => ({
      stream: asStream(
        events,
        events.follow(beginning(events, request), request.signal),
        kinds(request.query),
      ),
      type: 'text/event-stream',
    }),
  },
];
