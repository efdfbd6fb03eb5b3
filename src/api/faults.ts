import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { printableLines } from '../text.ts';

/** What may come of asking a daemon besides what was asked for. */

/** Nobody listens on the control socket; exit 69. */
export class NoDaemonError extends LodenError {
  constructor(socketPath: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `no loden daemon answers on ${socketPath} (${why}): start one by \`loden run\`, or name its --run-dir`,
      { exitCode: EXIT.unavailable, cause },
    );
  }
}

/** What the caller of a daemon that says nothing knows. */
export interface Known {
  /** Where it will be seen whether what was asked for has been done after all. */
  readonly seenBy?: string | undefined;
  /** What else may be done. */
  readonly instead?: string | undefined;
}

/** Somebody listens and says nothing; exit 69. */
export class SilentError extends LodenError {
  readonly #said: string;
  readonly #known: Known;
  constructor(said: string, known: Known = {}) {
    const { seenBy, instead } = known;
    const doubt = seenBy ? `, and may still do this when it goes on: see \`${seenBy}\`` : '';
    super(
      `${said}: the daemon hangs or has much to do${doubt}; restart it, which loses no packet${instead ? `, or ${instead}` : ''}`,
      { exitCode: EXIT.unavailable },
    );
    this.#said = said;
    this.#known = known;
  }

  with(known: Known): SilentError {
    return new SilentError(this.#said, { ...this.#known, ...known });
  }
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

/** What a request is broken off with when nothing comes for so long. */
export class Silence extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms < 1000 ? `${ms} ms` : `${ms / 1000} s`}`);
  }
}

const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK', 'ENOTDIR']);

/** Why there is no answer, from what the request failed with. */
export function unreachable(socketPath: string, path: string, e: Error): LodenError {
  const { code } = e as NodeJS.ErrnoException;
  if (code !== undefined && NOBODY.has(code)) return new NoDaemonError(socketPath, e);
  const asked = `asking ${socketPath} for ${path}`;
  if (e instanceof Silence) return new SilentError(`${asked}: ${e.message}`);
  const why =
    code === 'EACCES' ? 'permission denied; only root and the group of the socket may ask' : e.message;
  return new LodenError(`${asked}: ${why}`, { exitCode: EXIT.unavailable, cause: e });
}

/** Characters of a refusal that are shown: nobody knows who answers. */
const LONGEST = 4_000;

/** What an answer with another status than 200 says. */
export function refused(socketPath: string, path: string, status: number, body: string): RefusedError {
  const error = errorOf(body);
  const why =
    typeof error?.message === 'string' ? printableLines(error.message.slice(0, LONGEST)) : `HTTP ${status}`;
  const code = typeof error?.code === 'string' ? error.code : undefined;
  return new RefusedError(`the daemon on ${socketPath} refuses ${path}`, why, status, code);
}

function errorOf(body: string): { code?: unknown; message?: unknown } | undefined {
  try {
    const value = JSON.parse(body) as { error?: { code?: unknown; message?: unknown } } | null;
    return value?.error;
  } catch {
    return undefined;
  }
}
