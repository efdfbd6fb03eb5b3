import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { StoreError } from '../../../errors.ts';
import { http } from '../../../http.ts';
import type { StoreOptions } from '../../../subnet/api.ts';
import { Connection } from '../../../subnet/etcd/connection.ts';
import { parseEndpoint } from '../../../subnet/etcd/endpoint.ts';
import { within } from '../../world.ts';
import { alarmsIn, certificateWords, median, socketWords } from '../etcdWords.ts';
import type { EndpointFact } from '../facts.ts';

/** Milliseconds for one step with one endpoint. */
const STEP = 1_500;
/** Requests whose time is taken. */
const ASKED = 5;
/** Bytes of an answer to a plain request. */
const LARGEST = 64 << 10;
/** Endpoints that are tried. */
const MOST = 16;

type Partial_ = Omit<EndpointFact, 'endpoint'>;

const NOTHING: Partial_ = {
  state: 'unreachable',
  error: null,
  latency: null,
  least: null,
  asked: 0,
  clockAhead: null,
  version: null,
  alarms: [],
  certificate: null,
};

interface Tls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** Try every endpoint, all at once. */
export async function tryEndpoints(options: StoreOptions): Promise<readonly EndpointFact[]> {
  const files = await tlsFiles(options);
  return Promise.all(
    options.endpoints.slice(0, MOST).map(async (endpoint) => ({
      endpoint,
      ...(await tryEndpoint(endpoint, options, files).catch((e: Error) => ({
        ...NOTHING,
        state: 'failing' as const,
        error: e.message,
      }))),
    })),
  );
}

/** Those that can be read: the check of certificates tells of the others. */
async function tlsFiles({ caFile, certFile, keyFile }: StoreOptions): Promise<Tls> {
  const file = (path: string | undefined) => (path ? readFile(path).catch(() => undefined) : undefined);
  const [ca, cert, key] = await Promise.all([file(caFile), file(certFile), file(keyFile)]);
  return { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) };
}

async function tryEndpoint(endpoint: string, options: StoreOptions, files: Tls): Promise<Partial_> {
  const { host, port, family, isHttps } = parseEndpoint(endpoint);
  const at = { host, port: Number(port) };
  try {
    await connects(at);
  } catch (e) {
    return { ...NOTHING, error: socketWords(e as NodeJS.ErrnoException) };
  }
  const name = family === undefined ? host : undefined;
  let fact: Partial_ = NOTHING;
  if (isHttps) {
    const shaken = await handshake(at, name, files);
    fact = { ...fact, certificate: shaken.certificate };
    if (shaken.failed) {
      // A server without TLS ends such a connection in one of several ways; that it answers without tells.
      const plain = shaken.certificate ? undefined : await ask({ ...at, path: '/version' }, undefined);
      return plain && !('error' in plain)
        ? { ...fact, state: 'wrong-scheme', error: 'it does not speak TLS' }
        : { ...fact, ...shaken.failed };
    }
  }
  const plain = await ask({ ...at, path: '/version' }, isHttps ? { ...files, name } : undefined);
  if ('error' in plain) {
    const state = plain.wrongScheme ? ('wrong-scheme' as const) : ('failing' as const);
    if (plain.wrongScheme || !isHttps) return { ...fact, state, error: plain.error };
  } else {
    fact = { ...fact, version: versionIn(plain.body), clockAhead: plain.clockAhead };
    const health = await ask({ ...at, path: '/health' }, isHttps ? { ...files, name } : undefined);
    if (!('error' in health) && !/"health"\s*:\s*"true"/.test(health.body)) {
      const alarms = await ask(
        { ...at, path: '/v3/maintenance/alarm', body: '{"action":"GET"}' },
        isHttps ? { ...files, name } : undefined,
      );
      const named = alarmsIn(`${health.body} ${'error' in alarms ? '' : alarms.body}`);
      fact = {
        ...fact,
        alarms: named.length > 0 ? named : [`unhealthy: ${health.body.trim().slice(0, 120)}`],
      };
    }
  }
  return { ...fact, ...(await requests(endpoint, options)) };
}

function connects(at: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...at, timeout: STEP });
    const end = (error?: Error) => {
      socket.destroy();
      if (error) reject(error);
      else resolve();
    };
    socket.once('connect', () => end());
    socket.once('timeout', () => end(new Error(`no answer within ${STEP / 1000} s`)));
    socket.once('error', end);
  });
}

interface Handshake {
  readonly certificate: EndpointFact['certificate'];
  readonly failed: Pick<EndpointFact, 'state' | 'error'> | undefined;
}

/** The certificate is looked at also when it is not to be trusted: to say why. */
function handshake(
  at: { host: string; port: number },
  name: string | undefined,
  files: Tls,
): Promise<Handshake> {
  return new Promise((resolve) => {
    const end = (result: Handshake) => {
      socket.destroy();
      resolve(result);
    };
    const failed = (
      state: EndpointFact['state'],
      error: string,
      certificate: EndpointFact['certificate'] = null,
    ) => end({ certificate, failed: { state, error } });
    const socket = tls.connect({
      ...at,
      ...files,
      rejectUnauthorized: false,
      ...(name === undefined ? {} : { servername: name }),
    });
    socket.setTimeout(STEP, () => failed('failing', `no answer to TLS within ${STEP / 1000} s`));
    socket.once('error', (e: NodeJS.ErrnoException) => {
      failed('untrusted', certificateWords(e));
    });
    socket.once('secureConnect', () => {
      const cert = socket.getPeerCertificate();
      const certificate = cert?.valid_to
        ? {
            from: Date.parse(cert.valid_from),
            to: Date.parse(cert.valid_to),
            subject: String(cert.subject?.CN ?? ''),
          }
        : null;
      const wrongName = cert?.valid_to ? tls.checkServerIdentity(name ?? at.host, cert) : undefined;
      if (socket.authorizationError)
        failed('untrusted', certificateWords(socket.authorizationError as unknown as Error), certificate);
      else if (wrongName) failed('untrusted', certificateWords(wrongName), certificate);
      else end({ certificate, failed: undefined });
    });
  });
}

type Answer =
  | { readonly body: string; readonly clockAhead: number | null }
  | { readonly error: string; readonly wrongScheme: boolean };

/** A plain request, as etcd answers it without users. */
function ask(
  to: { host: string; port: number; path: string; body?: string },
  secure: (Tls & { readonly name: string | undefined }) | undefined,
): Promise<Answer> {
  return new Promise((resolve) => {
    const sentAt = Date.now();
    const options = {
      host: to.host,
      port: to.port,
      path: to.path,
      method: to.body === undefined ? 'GET' : 'POST',
      timeout: STEP,
      agent: false,
    } as const;
    const failed = (e: NodeJS.ErrnoException) =>
      resolve({
        error: socketWords(e),
        wrongScheme: !secure && (e.code?.startsWith('HPE_') || e.code === 'ECONNRESET'),
      });
    const answered = (res: IncomingMessage) => {
      const { date } = res.headers;
      const now = Date.now();
      // The header has whole seconds, and was written at some time between.
      const ahead = date === undefined ? Number.NaN : Date.parse(date) + 500 - (sentAt + now) / 2;
      let body = '';
      res.setEncoding('utf8');
      res.on('data', (chunk: string) => {
        body += chunk;
        if (body.length > LARGEST) req.destroy(new Error('the answer is too long'));
      });
      res.on('end', () => {
        if (/HTTP request to an HTTPS server/.test(body))
          resolve({ error: 'it speaks TLS', wrongScheme: true });
        else resolve({ body, clockAhead: Number.isNaN(ahead) ? null : Math.round(ahead) });
      });
      res.on('error', failed);
    };
    const req = secure
      ? https.request(
          { ...options, ...secure, ...(secure.name === undefined ? {} : { servername: secure.name }) },
          answered,
        )
      : http.request(options, answered);
    req.on('timeout', () => req.destroy(new Error(`no answer within ${STEP / 1000} s`)));
    req.on('error', failed);
    req.end(to.body);
  });
}

function versionIn(body: string): string | null {
  const version = /"etcdserver"\s*:\s*"([\w.+-]{1,40})"/.exec(body)?.[1];
  return version ?? null;
}

/** The same small range a few times, as the daemon asks it. */
async function requests(endpoint: string, options: StoreOptions): Promise<Partial<Partial_>> {
  const connection = new Connection({ ...options, endpoints: [endpoint] });
  const times: number[] = [];
  try {
    const key = Buffer.from(`${options.prefix.replace(/\/+$/, '')}/config`);
    // The first one also connects and logs in.
    await within(STEP * 2, connection.rawRange({ key, count_only: true }));
    while (times.length < ASKED) {
      const started = performance.now();
      await within(STEP, connection.rawRange({ key, count_only: true }));
      times.push(performance.now() - started);
    }
    return { state: 'answers', latency: median(times), least: Math.min(...times), asked: times.length };
  } catch (e) {
    const error = e as Error;
    const state =
      e instanceof StoreError && e.fault === 'unauthorized' ? 'unauthorized' : stateOf(error.message);
    return {
      state,
      error: error.message,
      latency: times.length > 0 ? median(times) : null,
      asked: times.length,
    };
  } finally {
    connection.close();
  }
}

const stateOf = (message: string): EndpointFact['state'] =>
  /certificate|bad_certificate|alert/i.test(message) ? 'untrusted' : 'failing';
