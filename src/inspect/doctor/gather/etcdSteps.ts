import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { http } from '../../../http.ts';
import { certificateWords, socketWords } from '../etcdWords.ts';
import type { EndpointFact } from '../facts.ts';

/** One step with one endpoint of etcd each: TCP, TLS, a plain request. */

/** Milliseconds for one step with one endpoint. */
export const STEP = 1_500;
/** Bytes of an answer to a plain request. */
const LARGEST = 64 << 10;

/** What TLS is done with. */
export interface Tls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** Does something listen there? */
export function connects(at: { host: string; port: number }): Promise<void> {
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

/** What TLS came to. */
interface Handshake {
  readonly certificate: EndpointFact['certificate'];
  readonly failed: Pick<EndpointFact, 'state' | 'error'> | undefined;
}

/** The certificate is looked at also when it is not to be trusted: to say why. */
export function handshake(
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

/** What a plain request came to. */
type Answer =
  | { readonly body: string; readonly clockAhead: number | null }
  | { readonly error: string; readonly wrongScheme: boolean };

/** A plain request, as etcd answers it without users. */
export function ask(
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
