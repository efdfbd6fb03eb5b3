import { status } from '@grpc/grpc-js';
import { StoreError, type StoreFault } from '../../errors.ts';

/** Errors of connect(2), in words. */
const SOCKET_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  ETIMEDOUT: 'connection timed out',
  ENOTFOUND: 'host name not found',
};

/** etcd's own words (etcdserver/api/v3rpc/rpctypes/error.go) for what is not the network's fault. */
const ETCD_ERRORS: readonly (readonly [RegExp, StoreFault])[] = [
  [/invalid auth token|auth store is old/, 'unauthorized'],
  [/authentication failed|permission denied|user name is empty|user name not found/, 'unauthorized'],
  [/required revision has been compacted/, 'compacted'],
  [/requested lease not found/, 'lease-lost'],
];

/** The token was once good and is not any more, or etcd has got users since: ask for another. */
export const isStaleToken = (error: unknown): boolean =>
  /invalid auth token|auth store is old|user name is empty/.test(
    (error as { details?: string }).details ?? '',
  );

/** etcd has no users: a name and password are not needed. */
export const isAuthOff = (error: unknown): boolean =>
  /authentication is not enabled/.test((error as { details?: string }).details ?? '');

/**
 * A gRPC error as {@link StoreError}, e.g. `etcd at http://127.0.0.1:2379: KV.range: connection refused`.
 * `deadline` in milliseconds is told when it passed.
 */
export function storeError(error: unknown, endpoint: string, method: string, deadline: number): StoreError {
  if (error instanceof StoreError) return error;
  const { code, details } = error as { code?: number; details?: string };
  const text = details || (error as Error).message;
  let fault: StoreFault = 'unavailable';
  let reason = text;
  if (code === status.DEADLINE_EXCEEDED) reason = `no answer within ${deadline / 1000} s`;
  else if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED) fault = 'unauthorized';
  fault = ETCD_ERRORS.find(([words]) => words.test(text))?.[1] ?? fault;
  if (code === status.UNAVAILABLE) {
    const socket = /\b(E[A-Z]{5,})\b/.exec(text)?.[1];
    // grpc-js appends its own resolution notes and an upstream stack of "last error"s.
    reason =
      (socket && SOCKET_ERRORS[socket]) ??
      text.replace(/^No connection established\. Last error: /, '').replace(/ ?Resolution note:.*$/s, '');
  }
  let hint = '';
  if (fault === 'unauthorized') hint = '; check --etcd-username, --etcd-password and the user’s roles';
  if (code === status.UNAVAILABLE && /certificate|wrong version number/.test(reason)) {
    // Node.js has a hint of its own, which is not for users of a daemon.
    reason = reason.replace(/^Error: /, '').replace(/; if the root CA is installed locally.*$/, '');
    hint = '; check --etcd-cafile, --etcd-certfile, --etcd-keyfile and whether the endpoint is http or https';
  }
  return new StoreError(fault, `etcd at ${endpoint}: ${method}: ${reason}${hint}`, error);
}
