/** What goes wrong between this host and etcd, in words. */

const SOCKET: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: nothing listens there',
  ECONNRESET: 'the connection was reset',
  EHOSTUNREACH: 'no route to the host, or it does not answer ARP',
  ENETUNREACH: 'no route to its network',
  ETIMEDOUT: 'no answer',
  ENOTFOUND: 'the name is not found in DNS',
  EAI_AGAIN: 'DNS does not answer',
};

export const socketWords = (e: { readonly code?: string | undefined; readonly message: string }): string =>
  (e.code && SOCKET[e.code]) ?? e.message;

const CERTIFICATE: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: compare the clocks',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by the CA in --etcd-cafile',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by the CA in --etcd-cafile',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by the CA in --etcd-cafile',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself, not by the CA in --etcd-cafile',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for other names',
};

/** Node says it as an error, or by the bare code. */
export function certificateWords(e: Error | string): string {
  if (typeof e === 'string') return CERTIFICATE[e] ?? e;
  const { code, message } = e as NodeJS.ErrnoException;
  const known = (code && CERTIFICATE[code]) ?? CERTIFICATE[message];
  if (known === undefined) return `TLS: ${message}`;
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? `${known}: ${message}` : known;
}

/** `NOSPACE` and `CORRUPT`, wherever they stand in what etcd says of itself. */
export const alarmsIn = (text: string): string[] =>
  ['NOSPACE', 'CORRUPT'].filter((alarm) => text.includes(alarm));

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
