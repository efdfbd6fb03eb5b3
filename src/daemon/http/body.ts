import type { IncomingMessage } from 'node:http';
import { ApiError, badRequest } from './errors.ts';

/** Bytes of a request's body: a network config has at most 65,536 characters. Parsing this takes some milliseconds. */
export const LARGEST_BODY = 256 << 10;

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** The bytes of a body, at most `largest`; `tooLong` makes the error otherwise. Rejects when the client goes away. */
export function readBytes(
  req: IncomingMessage,
  largest: number,
  tooLong: () => Error,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer<ArrayBuffer>[] = [];
    let bytes = 0;
    req.on('data', (chunk: Buffer<ArrayBuffer>) => {
      bytes += chunk.length;
      if (bytes > largest) {
        reject(tooLong());
        req.removeAllListeners('data').resume();
      } else chunks.push(chunk);
    });
    req.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    req.once('error', reject);
    req.once('aborted', () => reject(new Error('the client went away')));
  });
}

/** The parsed JSON of a request that changes something. Nothing of what came is repeated in an error: it may hold a secret. */
export async function readJson(req: IncomingMessage): Promise<unknown> {
  const type = (req.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
  if (type !== 'application/json')
    throw new ApiError(415, 'unsupported-type', 'the body must be application/json');
  // The rest is read and thrown away, for as long as a request may take: who still writes would not see the answer.
  const tooLong = () => new ApiError(413, 'too-large', `the body is longer than ${LARGEST_BODY} bytes`);
  if (Number(req.headers['content-length'] ?? 0) > LARGEST_BODY) throw tooLong();
  const bytes = await readBytes(req, LARGEST_BODY, tooLong);
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch {
    throw badRequest('the body is no JSON in UTF-8');
  }
}
