import type { RowJson } from '../../api/matrix.ts';
import { http } from '../../http.ts';
import { type Addr, formatAddr } from '../../net/addr.ts';
import { parseRow } from './row.ts';

/** Milliseconds that an answer may take, and its bytes. */
const [LIMIT, LARGEST] = [2_000, 256 << 10];

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: another --metrics-addr, or none',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
};

export type FetchRow = (addr: Addr, signal: AbortSignal) => Promise<RowJson>;

/**
 * Asks another node's daemon for its row: `GET /v1/row` at an address and our own port. Follows nothing, takes no more than it must, and
 * believes nothing that it has not looked at. Rejects with words for people.
 */
export function rowFetcher(
  port: number,
  limits: { readonly time?: number; readonly size?: number } = {},
): FetchRow {
  const { time = LIMIT, size = LARGEST } = limits;
  return (addr, signal) =>
    new Promise((resolve, reject) => {
      const fail = (why: string) => {
        reject(new Error(why));
        req.destroy();
      };
      const req = http.get({
        host: formatAddr(addr),
        port,
        path: '/v1/row',
        agent: false,
        headers: { accept: 'application/json' },
        maxHeaderSize: 4 << 10,
        signal,
      });
      const timer = setTimeout(() => fail(`no whole answer within ${time / 1000} s`), time).unref();
      req.once('close', () => clearTimeout(timer));
      req.on('error', (e: NodeJS.ErrnoException) =>
        reject(new Error(WORDS[e.code ?? ''] ?? e.message.slice(0, 200))),
      );
      req.once('response', (res) => {
        if (res.statusCode !== 200) {
          fail(`answers ${res.statusCode}${res.statusCode === 404 ? ': a version that tells no row' : ''}`);
          return;
        }
        const chunks: Buffer[] = [];
        let length = 0;
        res.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > size) fail(`more than ${size >> 10} KiB`);
          else chunks.push(chunk);
        });
        res.once('error', (e) => reject(new Error(e.message.slice(0, 200))));
        res.once('end', () => {
          const row = parseRow(Buffer.concat(chunks).toString('utf8'));
          if (row) resolve(row);
          else reject(new Error('what it answers is no row'));
        });
      });
    });
}
