import { readFileSync } from 'node:fs';
import { checkServerIdentity } from 'node:tls';
import grpc from '@grpc/grpc-js';
import { ConfigError } from '../../errors.ts';
import { type Family, parseAddr } from '../../net/addr.ts';
import type { StoreOptions } from '../api.ts';

/** Milliseconds without a sign of life before a ping. etcd hangs up on pings more often than every 5 s. */
const KEEPALIVE_TIME = 8_000;
/** Milliseconds until an unanswered ping means that the connection is dead: a black hole is found in 16 s. */
const KEEPALIVE_TIMEOUT = 8_000;
/** Bytes of one answer: 5,000 leases are 1.4 MB; gRPC's own limit is 4 MB. */
const MAX_MESSAGE = 64 << 20;

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.keepalive_time_ms': KEEPALIVE_TIME,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT,
  'grpc.max_receive_message_length': MAX_MESSAGE,
  // A new channel is a new TCP connection: never one that others found dead, or that others share.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
};

type TlsFiles = Pick<StoreOptions, 'caFile' | 'certFile' | 'keyFile'>;

/**
 * A client for one endpoint, which connects at its first call. TLS when the scheme or any of the files asks for it;
 * the files are read now. Throws ConfigError when the endpoint is no URL or a file cannot be used.
 */
export function openEndpoint(endpoint: string, files: TlsFiles): grpc.Client {
  const { host, port, family, isHttps } = parseEndpoint(endpoint);
  const target =
    family === undefined
      ? `dns:${host}:${port}`
      : family === 4
        ? `ipv4:${host}:${port}`
        : `ipv6:[${host}]:${port}`;
  if (!isHttps && !files.caFile && !files.certFile && !files.keyFile) {
    return new grpc.Client(target, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
  }
  if (family === undefined) return new grpc.Client(target, tls(files, {}), CHANNEL_OPTIONS);
  // TLS has no server name for an address (RFC 6066, 3): another is sent, and the certificate checked for the address.
  const options = { ...CHANNEL_OPTIONS, 'grpc.ssl_target_name_override': 'etcd' };
  return new grpc.Client(
    target,
    tls(files, { checkServerIdentity: (_, cert) => checkServerIdentity(host, cert as never) }),
    options,
  );
}

/** Host without brackets; etcd's port where none is given. */
export function parseEndpoint(endpoint: string): {
  host: string;
  port: string;
  family: Family | undefined;
  isHttps: boolean;
} {
  const url = URL.parse(endpoint.includes('://') ? endpoint : `http://${endpoint}`);
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new ConfigError('cannot reach etcd', [
      { path: '--etcd-endpoints', expected: 'http://host:port or https://host:port', got: endpoint },
    ]);
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // Not url.port: that hides a port that is the scheme's own.
  const port = /:(\d+)\/?$/.exec(endpoint)?.[1] ?? '2379';
  return { host, port, family: parseAddr(host)?.family, isHttps: url.protocol === 'https:' };
}

function tls({ caFile, certFile, keyFile }: TlsFiles, verify: grpc.VerifyOptions): grpc.ChannelCredentials {
  const [ca, key, cert] = [
    readPem(caFile, '--etcd-cafile'),
    readPem(keyFile, '--etcd-keyfile'),
    readPem(certFile, '--etcd-certfile'),
  ];
  if (!key !== !cert) {
    throw tlsError(
      key ? '--etcd-certfile' : '--etcd-keyfile',
      'both a certificate and its key',
      'one of them',
    );
  }
  try {
    return grpc.credentials.createSsl(ca, key, cert, verify);
  } catch (cause) {
    throw tlsError('--etcd-cafile, --etcd-certfile, --etcd-keyfile', 'PEM', (cause as Error).message);
  }
}

function readPem(path: string | undefined, option: string): Buffer | null {
  if (!path) return null;
  try {
    return readFileSync(path);
  } catch (cause) {
    throw tlsError(option, 'a readable PEM file', (cause as Error).message);
  }
}

const tlsError = (path: string, expected: string, got: string): ConfigError =>
  new ConfigError('cannot set up TLS to etcd', [{ path, expected, got }]);
