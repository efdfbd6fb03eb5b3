import type { IncomingMessage } from 'node:http';
import { isIP, type Socket } from 'node:net';
import type { ListenAddress } from '../../config/kinds.ts';
import { EXIT } from '../../contract.ts';
import { LodenError } from '../../errors.ts';
import { formatAddr, parseAddr } from '../../net/addr.ts';
import { scopeOf } from '../../net/scope.ts';
import { ApiError } from './errors.ts';
import { healthRoutes } from './health.ts';
import type { Route } from './route.ts';
import { ApiServer, type ServerOptions } from './server.ts';

/** Connections at once, and from one address. */
const [MOST_HEALTH, HEALTH_OF_ONE] = [64, 32];
const [MOST, OF_ONE] = [256, 64];

/**
 * Nothing that we answer is to be run or framed by others. The page loads its own files and asks its own server; it has no inline
 * script and no inline style.
 */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
} as const;

const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there (`ss -ltnp` tells which)',
  EADDRNOTAVAIL: 'this host has no such address',
  EACCES: 'a port below 1024 needs CAP_NET_BIND_SERVICE',
};

async function listen(api: ApiServer, host: string | undefined, port: number, option: string): Promise<void> {
  const name = `${host === undefined ? '' : host.includes(':') ? `[${host}]` : host}:${port}`;
  await api.listen({ port, ...(host === undefined ? {} : { host }) }).catch((cause) => {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    const why = WORDS[code] ? `${code}: ${WORDS[code]}; choose another ${option}` : message;
    throw new LodenError(`cannot listen on ${name}: ${why}`, { cause, exitCode: EXIT.failure });
  });
}

/** /healthz and /readyz alone (`--healthz-ip`, `--healthz-port`). */
export async function serveHealth(
  host: string,
  port: number,
  ready: () => boolean,
): Promise<AsyncDisposable> {
  const api = new ApiServer({ routes: healthRoutes(ready), most: MOST_HEALTH, ofOne: HEALTH_OF_ONE });
  await listen(api, host, port, '--healthz-ip or --healthz-port');
  return { [Symbol.asyncDispose]: () => api.close() };
}

/** The name in a Host header (RFC 9110, section 7.2), without port and brackets. */
const hostName = (header: string): string => header.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');

/** Of the connection, not of what is listened on: a wildcard is that too. An IPv4 address may come as `::ffff:127.0.0.1`. */
function isLoopback(address: string): boolean {
  const addr = parseAddr(address.replace(/^::ffff:(?=\d+\.)/, ''));
  return addr !== undefined && scopeOf(addr) === 'loopback';
}

/**
 * At a loopback address, whichever the daemon listens on, only the host's own programs may ask, and a browser is one that asks on behalf of strangers: whoever makes a name
 * of theirs resolve to 127.0.0.1 (DNS rebinding) would read here. Such a request has that name in its Host header.
 */
export function refuseStrangeName({
  headers,
  socket,
}: Pick<IncomingMessage, 'headers'> & { readonly socket: Pick<Socket, 'localAddress'> }): void {
  if (!isLoopback(socket.localAddress ?? '')) return;
  const name = hostName(headers.host ?? '');
  if (isIP(name) || /^localhost\.?$/i.test(name)) return;
  throw new ApiError(
    421,
    'misdirected',
    'on a loopback address only requests to an IP address or to localhost are answered',
  );
}

export interface PublicParts extends Pick<ServerOptions, 'onFault' | 'streams' | 'idle'> {
  readonly ready: () => boolean;
  readonly routes: readonly Route[];
}

/** What anybody may read, at --metrics-addr: metrics, the page and what it reads. Throws LodenError when it cannot listen there. */
export async function servePublic(
  { host, port }: ListenAddress,
  { ready, routes, ...options }: PublicParts,
): Promise<AsyncDisposable> {
  const open = routes.filter(({ method, audience }) => method === 'GET' && audience === 'anyone');
  const api = new ApiServer({
    ...options,
    routes: [...healthRoutes(ready), ...open],
    most: MOST,
    ofOne: OF_ONE,
    headers: HEADERS,
    admit: refuseStrangeName,
  });
  await listen(api, host && formatAddr(host), port, '--metrics-addr');
  return { [Symbol.asyncDispose]: () => api.close() };
}
