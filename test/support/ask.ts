import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http';

export interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Asking {
  /** GET, or POST of a body, unless given. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A value is sent as JSON, text as it is. */
  readonly body?: unknown;
  readonly timeout?: number;
}

/**
 * One HTTP request, to its end, on a connection of its own. `to`: the path of a Unix socket, which is reached from any network namespace, or a TCP
 * port of 127.0.0.1. Rejects when nobody answers within `timeout` ms.
 */
export function ask(to: string | number, path: string, asking: Asking = {}): Promise<Told> {
  const { headers = {}, body, timeout = 10_000 } = asking;
  const { method = body === undefined ? 'GET' : 'POST' } = asking;
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const where: RequestOptions = typeof to === 'string' ? { socketPath: to } : { host: '127.0.0.1', port: to };
  return new Promise((resolve, reject) => {
    const type = text === undefined ? {} : { 'content-type': 'application/json' };
    const req = request(
      { ...where, path, method, agent: false, timeout, headers: { ...type, ...headers } },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('error', reject);
        res.on('end', () =>
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            body: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    req.on('timeout', () => req.destroy(new Error(`no answer from ${to} to ${method} ${path}`)));
    req.on('error', reject);
    // Who is refused may still be writing.
    req.once('socket', (socket) => socket.on('error', () => {}));
    req.end(text);
  });
}
