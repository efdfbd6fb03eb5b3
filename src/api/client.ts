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
export const getJson = (runDir: string, path: string, limits: Limits = {}): Promise<unknown> =>
  askJson(runDir, { path }, limits);

export interface Limits {
  /** Milliseconds without a byte. */
  readonly timeout?: number;
  /** Bytes of an answer. */
  readonly largest?: number;
}

/** What a daemon is asked to do. */
export interface Asked {
  /** GET unless given. */
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/** It was understood and not done; exit 1, 78 for what is wrong in a network config, 69 when etcd does not answer the daemon. */
export class RefusedError extends LodenError {
  /** The HTTP status. */
  readonly status: number;
  /** E.g. `conflict`; docs/openapi.json lists them. */
  readonly code: string | undefined;
  /** What the daemon said, without who said it. */
  readonly reason: string;
  constructor(asked: string, reason: string, status: number, code: string | undefined) {
    super(`${asked}: ${reason}`, {
      exitCode: status === 422 ? EXIT.config : status === 503 ? EXIT.unavailable : EXIT.failure,
    });
    this.status = status;
    this.code = code;
    this.reason = reason;
  }
}

/** As {@link getJson} with any method; throws {@link RefusedError} for any status but 200 and 201. */
export async function askJson(runDir: string, asked: Asked, limits: Limits = {}): Promise<unknown> {
  const socketPath = controlSocket(runDir);
  const { status, body } = await request(socketPath, asked, limits);
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw new LodenError(`what ${socketPath} answers to ${asked.path} is not JSON: is it a loden daemon?`, {
      cause,
    });
  }
  if (status === 200 || status === 201) return value;
  throw refused(socketPath, asked.path, status, value);
}

/** `GET` any text, e.g. `/metrics`; throws as {@link getJson}. */
export async function getText(runDir: string, path: string, limits: Limits = {}): Promise<string> {
  const socketPath = controlSocket(runDir);
  const { status, body } = await request(socketPath, { path }, limits);
  if (status === 200) return body;
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    value = undefined;
  }
  throw refused(socketPath, path, status, value);
}

function refused(socketPath: string, path: string, status: number, value: unknown): RefusedError {
  const error = (value as { error?: { code?: unknown; message?: unknown } } | null | undefined)?.error;
  const why = typeof error?.message === 'string' ? cut(error.message) : `HTTP ${status}`;
  const code = typeof error?.code === 'string' ? error.code : undefined;
  return new RefusedError(`the daemon on ${socketPath} refuses ${path}`, why, status, code);
}

/** It goes to a terminal, and nobody knows who answers: no control characters but line ends, and not without end. */
const cut = (message: string): string =>
  message.slice(0, 4_000).replace(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?');

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
  { method = 'GET', path, body }: Asked,
  { timeout = TIMEOUT, largest = LARGEST }: Limits,
): Promise<{ status: number; body: string }> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    host: 'loden',
    ...(text === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
  };
  return new Promise((resolve, reject) => {
    const failed = (why: string, cause?: unknown): void => {
      reject(
        new LodenError(`asking ${socketPath} for ${path}: ${why}`, { exitCode: EXIT.unavailable, cause }),
      );
    };
    const req = http.request({ socketPath, method, path, timeout, agent: false, headers }, (res) => {
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
    req.end(text);
  });
}
