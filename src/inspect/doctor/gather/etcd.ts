import { readFile } from 'node:fs/promises';
import { StoreError } from '../../../errors.ts';
import type { StoreOptions } from '../../../subnet/api.ts';
import { Connection } from '../../../subnet/etcd/connection.ts';
import { parseEndpoint } from '../../../subnet/etcd/endpoint.ts';
import { within } from '../../world.ts';
import { alarmsIn, median, socketWords } from '../etcdWords.ts';
import type { EndpointFact } from '../facts.ts';
import { ask, connects, handshake, STEP, type Tls } from './etcdSteps.ts';

/** Requests whose time is taken. */
const ASKED = 5;
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
