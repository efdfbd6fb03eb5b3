import * as v from 'valibot';
import type { EventJson, EventsJson } from '../api/shapes.ts';
import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { http } from '../http.ts';
import { type AnswerOf, type Resource, readAnswer } from '../inspect/answers.ts';
import { type Asked, askJson, controlSocket, getJson, type Limits, NoDaemonError } from './client.ts';
import { EventStream } from './sse.ts';

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

const Event = v.looseObject({
  id: v.number(),
  at: v.string(),
  level: v.picklist(['info', 'warn', 'error']),
  kind: v.string(),
  subject: v.nullable(v.string()),
  message: v.string(),
  fields: v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.null()])),
});

const Events = v.looseObject({
  instance: v.string(),
  first: v.number(),
  last: v.number(),
  events: v.array(Event),
}) as unknown as v.GenericSchema<unknown, EventsJson>;

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

/** Milliseconds without a sign of life, of which a daemon gives one in 15 s. */
const SILENCE = 60_000;

/**
 * The daemon's events as they happen, until `signal` aborts or it ends the stream. `seen`: the last that was seen, as `<instance>-<id>`.
 * Throws {@link NoDaemonError} when there is none, LodenError (exit 69) when the stream breaks.
 */
export async function* follow(
  runDir: string,
  options: { readonly kinds?: readonly string[]; readonly seen?: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<Followed, void, undefined> {
  const socketPath = controlSocket(runDir);
  const path = `/v1/events/stream?${kindsQuery(options.kinds ?? []).slice(1)}`;
  const broken = (e: Error): LodenError => {
    const { code } = e as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return new NoDaemonError(socketPath, e);
    return new LodenError(`following ${path} of ${socketPath}: ${e.message}`, {
      exitCode: EXIT.unavailable,
      cause: e,
    });
  };
  const headers = {
    host: 'loden',
    accept: 'text/event-stream',
    ...(options.seen === undefined ? {} : { 'last-event-id': options.seen }),
  };
  const req = http.get({ socketPath, path, agent: false, headers, signal });
  req.setTimeout(SILENCE, () => req.destroy(new Error(`nothing came for ${SILENCE / 1000} s`)));
  try {
    const res = await new Promise<NodeJS.ReadableStream & { statusCode?: number }>((resolve, reject) => {
      req.on('response', resolve);
      req.on('error', reject);
    });
    if (res.statusCode !== 200)
      throw new LodenError(`the daemon on ${socketPath} refuses ${path}: HTTP ${res.statusCode}`);
    yield { open: true };
    res.setEncoding('utf8');
    const stream = new EventStream();
    for await (const piece of res) {
      for (const { event, data, id } of stream.push(String(piece))) yield read(runDir, event, data, id);
    }
  } catch (e) {
    if (signal.aborted) return;
    throw e instanceof LodenError ? e : broken(e as Error);
  } finally {
    req.on('error', () => {});
    req.destroy();
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
  return { event: event.output as EventJson, seen: id };
}
