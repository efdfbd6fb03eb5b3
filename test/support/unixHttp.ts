import { request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One HTTP request over a Unix socket: those are reached from any network namespace. Rejects when nobody answers within `timeout` ms. */
export function unixHttp(
  socketPath: string,
  path: string,
  options: { body?: string; timeout?: number } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(
      {
        socketPath,
        path,
        method: options.body === undefined ? 'GET' : 'POST',
        agent: false,
        timeout: options.timeout ?? 5_000,
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('end', () =>
          resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        );
        res.on('error', reject);
      },
    );
    req.on('timeout', () => req.destroy(new Error(`no answer from ${socketPath} to ${path}`)));
    req.on('error', reject);
    req.end(options.body);
  });
}
