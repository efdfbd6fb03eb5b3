import { ConfigError, LodenError, StoreError, UsageError } from '../../errors.ts';

/** What a client of the control API gets instead of an answer: an HTTP status and a code that programs may switch on. */
export class ApiError extends LodenError {
  readonly status: number;
  /** E.g. `not-found`; docs/openapi.json lists them. */
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    status: number,
    code: string,
    message: string,
    options: { readonly headers?: Readonly<Record<string, string>>; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
  }
}

export const notFound = (message: string): ApiError => new ApiError(404, 'not-found', message);

/** Something in the path, the query or the body is not as it must be. */
export const badRequest = (message: string): ApiError => new ApiError(400, 'bad-request', message);

const OF_STORE = { unavailable: 503, unauthorized: 503, compacted: 503, conflict: 409, 'lease-lost': 409 };

/** Any error as an answer. What is no error of ours is a bug, and still one line of JSON. */
export function toApiError(cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (cause instanceof StoreError) return new ApiError(OF_STORE[cause.fault], cause.fault, message);
  if (cause instanceof UsageError) return new ApiError(400, 'bad-request', message);
  if (cause instanceof ConfigError) return new ApiError(422, 'config', message);
  return new ApiError(500, cause instanceof LodenError ? 'failed' : 'internal', message, { cause });
}
