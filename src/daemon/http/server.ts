import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { ListenOptions, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { http } from '../../http.ts';
import { readJson } from './body.ts';
import { ApiError, notFound, toApiError } from './errors.ts';
import { refuseOthers } from './peer.ts';
import { Places } from './places.ts';
import type { ApiRequest, Route } from './route.ts';
import { LONGEST_PATH, Router } from './router.ts';
import { type StreamLimits, Streams } from './streams.ts';
import { turns } from './turns.ts';
import { type Answer, errorReply, write } from './write.ts';

/** Milliseconds that a request may take to come, and a connection may be silent. */
const IDLE = 10_000;
/** And while it is us who take the time. */
const WORKING = 60_000;

/** Long answers at once, and to one address: each holds a list of all that it tells of. */
const [MOST_LONG, LONG_OF_ONE] = [32, 8];

type Headers = Readonly<Record<string, string>>;

export interface ServerOptions {
  readonly routes: readonly Route[];
  /** Connections at once. */
  readonly most: number;
  /** And of one address; undefined: as many. */
  readonly ofOne?: number;
  readonly streams?: StreamLimits;
  /** Is it the control socket? */
  readonly local?: boolean;
  /** Milliseconds without a byte, from either side, before a connection is closed; {@link IDLE}. */
  readonly idle?: number;
  /** Headers of every answer. */
  readonly headers?: Headers;
  /** Looked at before anything else; throws ApiError for who may not ask. */
  readonly admit?: (req: IncomingMessage) => void;
  /** Takes a request that is answered by other rules. */
  readonly takes?: (req: IncomingMessage, res: ServerResponse) => boolean;
  /** An error that is no answer but a bug, or something that broke. */
  readonly onFault?: (cause: unknown, method: string, path: string) => void;
}

/** An HTTP server with small limits over a table of routes: whoever is slow is cut off. */
export class ApiServer {
  readonly server: Server;
  readonly #options: ServerOptions;
  readonly #router: Router;
  readonly #streams: Streams;
  readonly #long = new Places(MOST_LONG, LONG_OF_ONE);
  readonly #idle: number;
  readonly #ending = new AbortController();

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#idle = options.idle ?? IDLE;
    this.#router = new Router(options.routes);
    this.#streams = new Streams(options.streams);
    this.server = http.createServer(
      {
        maxHeaderSize: 8 << 10,
        requestTimeout: this.#idle,
        headersTimeout: this.#idle,
        keepAliveTimeout: 2_000,
        connectionsCheckingInterval: this.#idle / 2,
      },
      (req, res) => {
        // Pipelined: it came while another of its connection is under way (RFC 9112, section 9.3.2: a client must be prepared for that). Thousands
        // of them fit in one packet or two.
        if (!res.socket) return void req.socket.destroy();
        if (options.takes?.(req, res)) return;
        // A reader that goes away in the middle is none of our business.
        this.#answer(req, res).catch(() => res.destroy());
      },
    );
    this.server.maxConnections = options.most;
    if (options.ofOne !== undefined) this.#share(options.most, options.ofOne);
    this.server.timeout = this.#idle;
  }

  /** Rejects with what the kernel says. */
  listen(where: ListenOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(where, () => {
        this.server.off('error', reject);
        resolve();
      });
    });
  }

  /** No new connections; streams end, `underway` may end, for `grace` ms; then all are closed. */
  async close(underway: ReadonlySet<Promise<void>> = new Set(), grace = 0): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.#ending.abort();
    const streams = this.#streams.close();
    await Promise.race([Promise.all(underway), sleep(grace, undefined, { ref: false })]);
    await streams;
    this.server.closeAllConnections();
    await closed;
  }

  /** Whoever connects too often from one address is turned away. */
  #share(most: number, ofOne: number): void {
    const places = new Places(most, ofOne);
    this.server.on('connection', (socket: Socket) => {
      const leave = places.take(socket.remoteAddress);
      if (leave) socket.once('close', leave);
      else socket.destroy();
    });
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { headers = {}, onFault } = this.#options;
    try {
      await turns.take();
      if (!res.destroyed) await this.#serve(req, res, headers);
    } catch (cause) {
      const error = toApiError(cause);
      if (error.status === 500) onFault?.(cause, req.method ?? '', pathOf(req));
      // In the middle of an answer there is no other way to say that it is not whole.
      if (res.headersSent) res.destroy();
      else await write(req, res, errorReply(error), { ...headers, ...error.headers });
    }
  }

  async #serve(req: IncomingMessage, res: ServerResponse, headers: Headers): Promise<void> {
    this.#options.admit?.(req);
    const { url = '/', method = '' } = req;
    const path = pathOf(req);
    if (path.length > LONGEST_PATH)
      throw new ApiError(414, 'too-long', `a path has at most ${LONGEST_PATH} characters`);
    const match = this.#router.find(method, path);
    if (!('route' in match)) throw refusal(match.allow, method, path);
    const { route, params } = match;
    if (route.audience === 'owner') refuseOthers(req.socket, `${method} ${route.path}`);
    const body = route.method === 'GET' || route.method === 'DELETE' ? undefined : await readJson(req);
    const ending = this.#ending.signal;
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    req.socket.setTimeout(WORKING);
    const reply = await route.handle({
      method: route.method,
      params,
      query: new URLSearchParams(url.slice(path.length)),
      headers: req.headers,
      body,
      local: this.#options.local ?? false,
      get signal() {
        return AbortSignal.any([gone.signal, ending]);
      },
    } satisfies ApiRequest);
    req.socket.setTimeout(this.#idle);
    if ('stream' in reply)
      return this.#streams.write(req, res, reply.stream, { ...headers, 'content-type': reply.type });
    return 'pieces' in reply ? this.#writeLong(req, res, reply, headers) : write(req, res, reply, headers);
  }

  async #writeLong(
    req: IncomingMessage,
    res: ServerResponse,
    reply: Answer,
    headers: Headers,
  ): Promise<void> {
    const leave = this.#long.take(req.socket.remoteAddress);
    if (!leave)
      throw new ApiError(503, 'busy', `${this.#long.size} long answers are under way; try again later`, {
        headers: { 'retry-after': '1' },
      });
    res.once('close', leave);
    await write(req, res, reply, headers);
  }
}

const pathOf = (req: IncomingMessage): string => (req.url ?? '/').split('?', 1)[0]!;

function refusal(allow: readonly string[], method: string, path: string): ApiError {
  if (allow.length === 0) return notFound(`there is no ${path.slice(0, 100)} here`);
  return new ApiError(
    405,
    'method-not-allowed',
    `${path} only answers ${allow.join(', ')}, not ${method.slice(0, 20)}`,
    { headers: { allow: allow.join(', ') } },
  );
}
