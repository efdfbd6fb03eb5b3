import * as v from 'valibot';
import { type Asked, askJson, controlSocket, getJson, type Limits, stream } from '../api/client.ts';
import { NoDaemonError, SilentError } from '../api/faults.ts';
import type { EventJson, EventKind, EventsJson } from '../api/shapes.ts';
import { LodenError } from '../errors.ts';
import { type AnswerOf, type Resource, readAnswer } from '../inspect/answers.ts';
import { EventStream, type ServerEvent } from './sse.ts';

/** What the daemon answers, checked: it may be of another version, or no daemon of ours at all. */

const strange = (runDir: string, path: string, what: string): LodenError =>
  new LodenError(`${controlSocket(runDir)} answers ${path} in another shape: ${what}`);

/** `GET` one of its resources. Throws as `getJson`, and LodenError for an answer of another shape. */
export async function ask<R extends Resource>(
  runDir: string,
  resource: R,
  limits?: Limits,
): Promise<AnswerOf<R>> {
  const answer = readAnswer(resource, await getJson(runDir, resource, limits));
  if ('strange' in answer) throw strange(runDir, resource, answer.strange);
  return answer.value;
}

/** Any request, with the shape its answer must have. */
export async function askFor<T>(
  runDir: string,
  asked: Asked,
  shape: v.GenericSchema<unknown, T>,
  limits?: Limits,
): Promise<T> {
  const answer = v.safeParse(shape, await askJson(runDir, asked, limits));
  if (answer.success) return answer.output;
  const [issue] = answer.issues;
  throw strange(runDir, asked.path, `${v.getDotPath(issue) ?? ''} ${issue.message}`.trim());
}

/** What `--source` says; auto: from the daemon, and straight from etcd where none runs. */
export async function fromEither<T>(
  source: 'auto' | 'daemon' | 'etcd',
  daemon: () => Promise<T>,
  etcd: () => Promise<T>,
): Promise<T> {
  if (source === 'etcd') return etcd();
  try {
    return await daemon();
  } catch (e) {
    if (e instanceof SilentError) throw e.with({ instead: WITHOUT });
    if (source === 'daemon' || !(e instanceof NoDaemonError)) throw e;
    return etcd();
  }
}

/** What else may be done when the daemon says nothing. */
export const WITHOUT = 'go without it by --source=etcd';

const Event = v.looseObject({
  id: v.number(),
  at: v.string(),
  level: v.picklist(['info', 'warn', 'error']),
  // A newer daemon may know more of them.
  kind: v.custom<EventKind>((kind) => typeof kind === 'string'),
  subject: v.nullable(v.string()),
  message: v.string(),
  fields: v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.null()])),
});

const Events: v.GenericSchema<unknown, EventsJson> = v.looseObject({
  instance: v.string(),
  first: v.number(),
  last: v.number(),
  events: v.array(Event),
});

/** `kind=…` for a query; empty: all. */
const kindsQuery = (kinds: readonly string[]): string => kinds.map((k) => `&kind=${k}`).join('');

/** The events that are kept. */
export const events = (
  runDir: string,
  query: { readonly since?: number; readonly kinds?: readonly string[] },
): Promise<EventsJson> =>
  askFor(runDir, { path: `/v1/events?since=${query.since ?? 0}${kindsQuery(query.kinds ?? [])}` }, Events);

export type Followed =
  /** The stream is open: what happens from now on will come. */
  | { readonly open: true }
  /** `seen`: where to go on after a break. */
  | { readonly event: EventJson; readonly seen: string }
  /** So many were dropped before the next. */
  | { readonly missed: number };

const Missed = v.looseObject({ missed: v.number() });

/**
 * The daemon's events as they happen, until `signal` aborts or it ends the stream. `seen`: the last that was seen, as `<instance>-<id>`.
 * Throws as `getJson`.
 */
export async function* follow(
  runDir: string,
  { kinds = [], seen }: { readonly kinds?: readonly string[]; readonly seen?: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<Followed, void, undefined> {
  const path = `/v1/events/stream?${kindsQuery(kinds).slice(1)}`;
  const headers = {
    accept: 'text/event-stream',
    ...(seen === undefined ? {} : { 'last-event-id': seen }),
  };
  const reader = new EventStream();
  for await (const piece of stream(runDir, path, headers, signal)) {
    if (piece === '') yield { open: true };
    for (const { event, data, id } of complete(runDir, reader, piece)) yield read(runDir, event, data, id);
  }
}

function complete(runDir: string, reader: EventStream, piece: string): ServerEvent[] {
  try {
    return [...reader.push(piece)];
  } catch (e) {
    throw strange(runDir, '/v1/events/stream', (e as RangeError).message);
  }
}

function read(runDir: string, name: string, data: string, id: string): Followed {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    throw strange(runDir, '/v1/events/stream', 'it is not JSON');
  }
  if (name === 'missed' && v.is(Missed, value)) return { missed: value.missed };
  const event = v.safeParse(Event, value);
  if (!event.success) throw strange(runDir, '/v1/events/stream', event.issues[0].message);
  return { event: event.output, seen: id };
}
