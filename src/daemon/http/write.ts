import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ApiError } from './errors.ts';
import type { Reply } from './route.ts';
import { turns } from './turns.ts';

/** Milliseconds of computing pieces before others get a turn, and that a reader has for all of a long answer. */
const [SLICE, LONGEST] = [4, 60_000];
/** Characters gathered before they are written. */
const BATCH = 16_384;

const JSON_TYPE = 'application/json';
export const TEXT_TYPE = 'text/plain; charset=utf-8';

/** All of a reply but `stream` (streams.ts). */
export type Answer = Exclude<Reply, { readonly stream: unknown }>;

/** An error as its answer. */
export const errorReply = (error: ApiError): Answer => ({
  status: error.status,
  value: { error: { code: error.code, message: error.message } },
});

/** Resolves when what was written has left, or the reader has. */
export function drained(res: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      res.off('drain', done).off('close', done);
      resolve();
    };
    res.on('drain', done).on('close', done);
    if (res.destroyed) done();
  });
}

type Headers = Readonly<Record<string, string>>;

function whole(
  req: IncomingMessage,
  res: ServerResponse,
  body: string | Uint8Array,
  status: number,
  headers: Headers,
): void {
  const { etag } = headers;
  if (etag !== undefined && req.headers['if-none-match']?.split(/\s*,\s*/).includes(etag)) {
    res.writeHead(304, { ...headers }).end();
    return;
  }
  res.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  res.end(req.method === 'HEAD' ? undefined : body);
}

async function piecewise(req: IncomingMessage, res: ServerResponse, pieces: Iterable<string>): Promise<void> {
  let batch = '';
  const late = setTimeout(() => res.destroy(), LONGEST).unref();
  res.once('close', () => clearTimeout(late));
  // Others may have waited for the same as this one.
  await turns.take();
  let sliceEnd = performance.now() + SLICE;
  for (const piece of req.method === 'HEAD' ? [] : pieces) {
    batch += piece;
    if (batch.length < BATCH && performance.now() < sliceEnd) continue;
    if (batch !== '' && !res.write(batch)) await drained(res);
    await turns.take();
    if (res.destroyed) return;
    batch = '';
    sliceEnd = performance.now() + SLICE;
  }
  res.end(batch);
}

/** Write an answer; a long one with pauses, no faster than the reader reads. `extra`: headers that all answers have. */
export async function write(
  req: IncomingMessage,
  res: ServerResponse,
  reply: Answer,
  extra: Headers = {},
): Promise<void> {
  if ('pieces' in reply) {
    res.writeHead(200, { ...extra, 'content-type': JSON_TYPE });
    await piecewise(req, res, reply.pieces);
  } else if ('text' in reply)
    whole(req, res, reply.text, reply.status ?? 200, { ...extra, 'content-type': reply.type });
  else if ('bytes' in reply)
    whole(req, res, reply.bytes, 200, { ...extra, 'content-type': reply.type, ...reply.headers });
  else
    whole(req, res, `${JSON.stringify(reply.value)}\n`, reply.status ?? 200, {
      ...extra,
      'content-type': JSON_TYPE,
    });
}
