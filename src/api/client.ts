import { join } from 'node:path';
import { EXIT, FILES } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { http } from '../http.ts';

/** Milliseconds without a byte from the daemon. */
const TIMEOUT = 5_000;
/** Bytes of an answer: 5,000 leases are about 2 MB. */
const LARGEST = 64 << 20;

/** Nobody listens on the control socket; exit 69. */
export class NoDaemonError extends LodenError {
  constructor(socketPath: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `no loden daemon answers on ${socketPath} (${why}): start one by \`loden run\`, or name its --run-dir`,
      {
        exitCode: EXIT.unavailable,
        cause,
      },
    );
  }
}

export const controlSocket = (runDir: string): string => join(runDir, FILES.controlSocket);

const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK', 'ENOTDIR']);

/**
 * `GET` a JSON resource of the daemon in `runDir`, e.g. `/v1/leases`. Throws {@link NoDaemonError} when there is none
 * (exit 69), LodenError when it refuses, stays silent, sends too much or something else than JSON.
 */
export async function getJson(
  runDir: string,
  path: string,
  limits: { readonly timeout?: number; readonly largest?: number } = {},
): Promise<unknown> {
  const socketPath = controlSocket(runDir);
  const { status, body } = await request(
    socketPath,
    path,
    limits.timeout ?? TIMEOUT,
    limits.largest ?? LARGEST,
  );
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw new LodenError(`what ${socketPath} answers to ${path} is not JSON: is it a loden daemon?`, {
      cause,
    });
  }
  if (status === 200) return value;
  throw new LodenError(`the daemon on ${socketPath} refuses ${path}: ${refusal(value) ?? `HTTP ${status}`}`);
}

function refusal(value: unknown): string | undefined {
  const message = (value as { error?: { message?: unknown } } | null)?.error?.message;
  return typeof message === 'string' ? message.slice(0, 500) : undefined;
}

/** The whole text of an answer of at most `largest` bytes. */
async function read(answer: AsyncIterable<Buffer>, largest: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer) {
    size += chunk.length;
    if (size > largest) throw new RangeError(`the answer is larger than ${largest} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function request(
  socketPath: string,
  path: string,
  timeout: number,
  largest: number,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const failed = (why: string, cause?: unknown): void => {
      reject(
        new LodenError(`asking ${socketPath} for ${path}: ${why}`, { exitCode: EXIT.unavailable, cause }),
      );
    };
    const req = http.get({ socketPath, path, timeout, agent: false, headers: { host: 'loden' } }, (res) => {
      const done = (body: string): void => resolve({ status: res.statusCode ?? 0, body });
      read(res, largest).then(done, (e: Error) => {
        req.destroy();
        failed(e.message, e);
      });
    });
    req.on('timeout', () => req.destroy(new Error(`no answer within ${timeout} ms`)));
    req.on('error', (e: NodeJS.ErrnoException) => {
      if (e.code !== undefined && NOBODY.has(e.code)) reject(new NoDaemonError(socketPath, e));
      else if (e.code === 'EACCES')
        failed('permission denied; only root and the group of the socket may ask', e);
      else failed(e.message, e);
    });
  });
}
