import type { IncomingMessage } from 'node:http';
import { ApiError, badRequest } from './errors.ts';

/** Bytes of a request's body: a network config has at most 65,536 characters. Parsing this takes some milliseconds. */
export const LARGEST_BODY = 256 << 10;

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Bytes of a body that is too long which are read all the same: who is still writing does not see an answer. */
const MOST_DISCARDED = 16 << 20;

/** The bytes of a body, at most `largest`; `tooLong` makes the error otherwise. Rejects when the client goes away. */
export function readBytes(
  req: IncomingMessage,
  largest: number,
  tooLong: () => Error,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer<ArrayBuffer>[] = [];
    let bytes = 0;
    req.on('data', (chunk: Buffer<ArrayBuffer>) => {
      bytes += chunk.length;
      if (bytes <= largest) chunks.push(chunk);
      else chunks = [];
      if (bytes > largest + MOST_DISCARDED) {
        reject(tooLong());
        req.removeAllListeners('data').resume();
      }
    });
    req.once('end', () => {
      if (bytes > largest) reject(tooLong());
      else resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    req.once('error', reject);
    req.once('aborted', () => reject(new Error('the client went away')));
  });
}

/** The parsed JSON of a request that changes something. Nothing of what came is repeated in an error: it may hold a secret. */
export async function readJson(req: IncomingMessage): Promise<unknown> {
  const type = (req.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
  const bytes = await readBytes(
    req,
    LARGEST_BODY,
    () => new ApiError(413, 'too-large', `the body is longer than ${LARGEST_BODY} bytes`),
  );
  if (type !== 'application/json')
    throw new ApiError(415, 'unsupported-type', 'the body must be application/json');
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch {
    throw badRequest('the body is no JSON in UTF-8');
  }
}
