import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { chmod, rename, rm } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { CNI, EXIT, HEALTH } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { http } from '../http.ts';
import { answerPlugin, type PluginHandler } from './pluginApi.ts';

/** A resource of the control API, computed on demand: a value, or the pieces of a long JSON text. */
export type Resource = () => { readonly value: unknown } | { readonly pieces: Iterable<string> };

/** Milliseconds of computing pieces before others get a turn. */
const SLICE = 4;
/** Connections at once. A plugin's is refused only where there are more pods to come than any node has. */
const [MOST_LOCAL, MOST_REMOTE] = [1024, 64];
/** Milliseconds that calls of the plugin have at the end. */
const GRACE = 5_000;
/** Milliseconds that who has connected has to ask, at the end, and turns of the event loop until all who have are accepted. */
const [LINGER, TURNS] = [1_000, 4];
/** Characters gathered before they are written. */
const BATCH = 16_384;

export interface ApiParts {
  readonly ready: () => boolean;
  /** Path to resource, e.g. `/v1/status`. */
  readonly resources: ReadonlyMap<string, Resource>;
  /** Answers the CNI plugin. */
  readonly plugin?: PluginHandler;
}

const TEXT = 'text/plain; charset=utf-8';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Iterable<string>;
}

const json = (status: number, value: unknown): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
});

const refusal = (status: number, code: string, message: string): Answer =>
  json(status, { error: { code, message } });

/** /healthz and /readyz, with flanneld's words to the byte. */
export function health(path: string, ready: boolean): Answer | undefined {
  if (path === '/healthz') return { status: 200, type: TEXT, body: HEALTH.alive };
  if (path !== '/readyz') return undefined;
  return { status: ready ? 200 : 503, type: TEXT, body: ready ? HEALTH.ready : HEALTH.notReady };
}

const found = (resource: Resource): Answer => {
  const it = resource();
  return 'value' in it ? json(200, it.value) : { status: 200, type: 'application/json', body: it.pieces };
};

/** What a request gets. Pure but for the resources it calls. */
export function answer(method: string, url: string, parts: ApiParts): Answer {
  const path = url.split('?', 1)[0]!;
  const resource = parts.resources.get(path);
  const healthy = health(path, parts.ready());
  if (!healthy && !resource) return refusal(404, 'not-found', `there is no ${path.slice(0, 100)} here`);
  if (method !== 'GET' && method !== 'HEAD') {
    return refusal(405, 'method-not-allowed', `${path} only answers GET`);
  }
  return healthy ?? found(resource!);
}

/** Write an answer; a long one with pauses, no faster than the reader reads. */
async function write(res: ServerResponse, a: Answer, withBody: boolean): Promise<void> {
  if (typeof a.body === 'string') {
    res.writeHead(a.status, { 'content-type': a.type, 'content-length': Buffer.byteLength(a.body) });
    res.end(withBody ? a.body : undefined);
    return;
  }
  res.writeHead(a.status, { 'content-type': a.type });
  let batch = '';
  let sliceEnd = performance.now() + SLICE;
  for (const piece of withBody ? a.body : []) {
    batch += piece;
    if (batch.length < BATCH && performance.now() < sliceEnd) continue;
    if (!res.write(batch)) await once(res, 'drain');
    else await nextTurn();
    if (res.destroyed) return;
    batch = '';
    sliceEnd = performance.now() + SLICE;
  }
  res.end(batch);
}

/** A server with small limits: whoever is slow is cut off, and only the plugin's resource takes a body. */
function serve(
  respond: (method: string, url: string) => Answer,
  most: number,
  plugin?: (req: IncomingMessage, res: ServerResponse) => Promise<void>,
): Server {
  const server = http.createServer(
    { maxHeaderSize: 8 << 10, requestTimeout: 10_000, headersTimeout: 10_000, keepAliveTimeout: 2_000 },
    (req, res) => {
      if (plugin && req.method === 'POST' && req.url === CNI.resource) {
        plugin(req, res).catch(() => res.destroy());
        return;
      }
      let a: Answer;
      try {
        a = respond(req.method ?? '', req.url ?? '/');
      } catch (e) {
        a = refusal(500, 'internal', (e as Error).message);
      }
      // A reader that goes away in the middle is none of our business.
      write(res, a, req.method !== 'HEAD').catch(() => res.destroy());
    },
  );
  server.maxConnections = most;
  server.timeout = 10_000;
  return server;
}

/** No new connections; `underway` may end, for a while; then all are closed. */
const closer = (server: Server, underway?: ReadonlySet<Promise<void>>): AsyncDisposable => ({
  [Symbol.asyncDispose]: async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    await Promise.race([Promise.all(underway ?? []), sleep(GRACE, undefined, { ref: false })]);
    server.closeAllConnections();
    await closed;
  },
});

/** Who has connected and not asked yet. A server that is closed drops them, and a plugin cannot know that nothing was begun. */
class Newcomers {
  readonly #sockets = new Set<net.Socket>();
  #isEmpty: (() => void) | undefined;

  constructor(server: Server) {
    server.on('connection', (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#forget(socket));
    });
    server.on('request', ({ socket }: IncomingMessage) => this.#forget(socket));
  }

  /** Resolves when all have asked or are gone, and those that wait to be accepted too; after a while at the latest. */
  async gone(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) await nextTurn();
    if (this.#sockets.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#isEmpty = resolve));
    await Promise.race([empty, sleep(LINGER, undefined, { ref: false })]);
  }

  #forget(socket: net.Socket): void {
    this.#sockets.delete(socket);
    if (this.#sockets.size === 0) this.#isEmpty?.();
  }
}

function listen(server: Server, where: net.ListenOptions, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new LodenError(`cannot listen on ${name}: ${cause.message}`, { cause })),
    );
    server.listen(where, resolve);
  });
}

/** True when somebody accepts connections on this socket path. */
const answered = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = net.connect(path);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });

/**
 * The control API on a Unix socket, mode 0660. A socket file left by a dead daemon is replaced;
 * one that a living daemon answers on ends us with exit code 75.
 */
export async function serveControl(path: string, parts: ApiParts): Promise<AsyncDisposable> {
  if (await answered(path)) {
    throw new LodenError(`another loden daemon answers on ${path}; stop it, or choose another --run-dir`, {
      exitCode: EXIT.busy,
    });
  }
  const underway = new Set<Promise<void>>();
  const { plugin } = parts;
  const answerCall =
    plugin &&
    ((req: IncomingMessage, res: ServerResponse): Promise<void> => {
      const work = answerPlugin(req, res, plugin).finally(() => underway.delete(work));
      underway.add(work);
      return work;
    });
  const server = serve((method, url) => answer(method, url, parts), MOST_LOCAL, answerCall);
  // Under another name, no longer than its own, until its mode is right: the umask is of all threads, and others make files.
  const temporary = join(dirname(path), '.new');
  await rm(temporary, { force: true });
  await listen(server, { path: temporary, backlog: MOST_LOCAL }, path);
  const newcomers = new Newcomers(server);
  const closing = closer(server, underway);
  try {
    await chmod(temporary, 0o660);
    await rename(temporary, path);
  } catch (cause) {
    await closing[Symbol.asyncDispose]();
    throw new LodenError(`cannot listen on ${path}: ${(cause as Error).message}`, { cause });
  }
  return {
    [Symbol.asyncDispose]: async () => {
      // First, so that a plugin waits for the next daemon; who has found it is answered.
      rmSync(path, { force: true });
      await newcomers.gone();
      await closing[Symbol.asyncDispose]();
    },
  };
}

/** /healthz and /readyz over TCP (`--healthz-ip`, `--healthz-port`). */
export async function serveHealth(
  host: string,
  port: number,
  ready: () => boolean,
): Promise<AsyncDisposable> {
  const server = serve(
    (_, url) =>
      health(url.split('?', 1)[0]!, ready()) ?? refusal(404, 'not-found', 'only /healthz and /readyz'),
    MOST_REMOTE,
  );
  await listen(server, { host, port }, `${host}:${port}`);
  return closer(server);
}
