import type { IncomingHttpHeaders } from 'node:http';

/** What a resource of the control API is told. */
export interface ApiRequest {
  readonly method: Method;
  /** Of the path's placeholders, decoded: `/v1/leases/:key` has `key`. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Parsed JSON of a request with a body. */
  readonly body: unknown;
  /** Did it come by the control socket, which not everybody may open? */
  readonly local: boolean;
  /** Aborts when the client has gone away, and at the daemon's end. */
  readonly signal: AbortSignal;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** What it answers. A thrown LodenError becomes `{"error":{"code","message"}}` with the status to match. */
export type Reply =
  | { readonly status?: number; readonly value: unknown }
  /** A long JSON text, written with pauses no faster than it is read. */
  | { readonly pieces: Iterable<string> }
  /** Until its end or the client's, e.g. text/event-stream. */
  | { readonly stream: AsyncIterable<string>; readonly type: string }
  | { readonly text: string; readonly type: string; readonly status?: number }
  | {
      readonly bytes: Uint8Array;
      readonly type: string;
      readonly headers?: Readonly<Record<string, string>>;
    };

export interface Route {
  readonly method: Method;
  /** `/v1/leases/:key` */
  readonly path: string;
  /**
   * Who may ask. `anyone`: also by TCP at --metrics-addr; only for GET. `local`: whoever can open the control socket. `owner`: root or the
   * daemon's own user, by peer credentials; all that changes anything.
   */
  readonly audience: 'anyone' | 'local' | 'owner';
  /** Must not keep the event loop for more than 10 ms. */
  handle(request: ApiRequest): Reply | Promise<Reply>;
}
