import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { FILES } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { http } from '../http.ts';
import { textOf } from '../text.ts';
import { refused, Silence, unreachable } from './faults.ts';

/** Milliseconds without a byte from the daemon. */
const TIMEOUT = 5_000;
/** Bytes of an answer: 5,000 leases are about 2 MB. */
const LARGEST = 64 << 20;
/** Milliseconds until a stream is open, and then without a sign of life, of which a daemon gives one in 15 s. */
const PATIENCE = { open: TIMEOUT, silence: 60_000 };

export const controlSocket = (runDir: string): string => join(runDir, FILES.controlSocket);

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

/**
 * `GET` a JSON resource of the daemon in `runDir`, e.g. `/v1/leases`. Throws NoDaemonError when there is none and SilentError when it
 * says nothing (exit 69), RefusedError for any status but 200 and 201, LodenError for too much or something else than JSON.
 */
export const getJson = (runDir: string, path: string, limits: Limits = {}): Promise<unknown> =>
  askJson(runDir, { path }, limits);

/** As {@link getJson} with any method. */
export async function askJson(runDir: string, asked: Asked, limits: Limits = {}): Promise<unknown> {
  const body = await askText(runDir, asked, limits);
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new LodenError(
      `what ${controlSocket(runDir)} answers to ${asked.path} is not JSON: is it a loden daemon?`,
      { cause },
    );
  }
}

/** Any text, e.g. `/metrics`; throws as {@link getJson}. */
export async function askText(runDir: string, asked: Asked, limits: Limits = {}): Promise<string> {
  const socketPath = controlSocket(runDir);
  const { status, body } = await request(socketPath, asked, limits);
  if (status === 200 || status === 201) return body;
  throw refused(socketPath, asked.path, status, body);
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
    const failed = (e: Error): void => reject(unreachable(socketPath, path, e));
    const req = http.request({ socketPath, method, path, timeout, agent: false, headers }, (res) => {
      const done = (body: string): void => resolve({ status: res.statusCode ?? 0, body });
      textOf(res, largest).then(done, (e: Error) => {
        req.destroy();
        failed(e instanceof RangeError ? new RangeError(`the answer has ${e.message}`) : e);
      });
    });
    req.on('timeout', () => req.destroy(new Silence(timeout)));
    req.on('error', failed);
    req.end(text);
  });
}

/**
 * What goes on at `path`, piece by piece, until `signal` aborts or the daemon ends it; once it is open an empty piece comes first.
 * Throws as {@link getJson}.
 */
export async function* stream(
  runDir: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  patience = PATIENCE,
): AsyncGenerator<string, void, undefined> {
  const socketPath = controlSocket(runDir);
  const req = http.get({ socketPath, path, agent: false, headers: { host: 'loden', ...headers }, signal });
  let silence: Silence | undefined;
  const limit = (ms: number): void => {
    req.removeAllListeners('timeout').setTimeout(ms, () => {
      silence = new Silence(ms);
      req.destroy(silence);
    });
  };
  try {
    limit(patience.open);
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      req.on('response', resolve);
      req.on('error', reject);
    });
    if (res.statusCode !== 200)
      throw refused(socketPath, path, res.statusCode ?? 0, await textOf(res, LARGEST));
    limit(patience.silence);
    yield '';
    res.setEncoding('utf8');
    for await (const piece of res) yield String(piece);
  } catch (e) {
    if (signal.aborted) return;
    throw e instanceof LodenError ? e : unreachable(socketPath, path, silence ?? (e as Error));
  } finally {
    req.on('error', () => {});
    req.destroy();
  }
}
