import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CniError, CODE } from '../cni/errors.ts';
import { parseCall } from '../cni/protocol/call.ts';
import { failure } from '../cni/protocol/failure.ts';
import type { PluginAnswer, PluginCall } from '../cni/types.ts';
import { CNI } from '../contract.ts';
import { readBytes } from './http/body.ts';
import { isOwner, peerUid } from './http/peer.ts';

/** `POST /v1/cni`: what the plugin binary asks, and what it is told. */

/** Answers calls; never throws. */
export type PluginHandler = (call: PluginCall) => Promise<PluginAnswer>;

/** Whoever may attach pods may do anything on this host, so only root and the daemon's own user may. */
function refuseStranger(socket: Socket): void {
  const uid = peerUid(socket);
  if (isOwner(uid)) return;
  throw new CniError(
    CODE.invalidEnvironment,
    `user ${uid ?? 'unknown'} may not attach pods: the plugin must run as root, or as the daemon's own user`,
  );
}

/** The request's body; throws {@link CniError} when it is longer than {@link CNI.largestRequest} bytes. */
const readBody = async (req: IncomingMessage): Promise<string> =>
  (
    await readBytes(
      req,
      CNI.largestRequest,
      () =>
        new CniError(CODE.decodingFailure, `the plugin's request is longer than ${CNI.largestRequest} bytes`),
    )
  ).toString('utf8');

/**
 * In one go, on the event loop: a request has some kilobytes. One of the greatest length, a configuration and an environment of 1 MiB
 * each, escaped, and a delegate's result, takes a tenth of a second, and only root can send it.
 */
function parseBody(text: string): PluginCall {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new CniError(
      CODE.decodingFailure,
      `the plugin's request is no JSON: ${(cause as Error).message}`,
      undefined,
      cause,
    );
  }
  return parseCall(body);
}

/** HTTP status of an error; the plugin only looks whether it is one. */
const statusOf = (code: number): number =>
  code === CODE.tryAgainLater || code === CODE.notAvailable ? 503 : code === CODE.internal ? 500 : 400;

/** A header is one line of plain characters. */
const headerText = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 4000);

function send(res: ServerResponse, answer: PluginAnswer): void {
  const [status, type, body] =
    answer.kind === 'error'
      ? [statusOf(answer.error.code), 'application/json', JSON.stringify(answer.error)]
      : answer.kind === 'delegates'
        ? [200, CNI.delegates, JSON.stringify({ delegates: answer.delegates })]
        : [200, 'application/json', answer.result === undefined ? '' : JSON.stringify(answer.result)];
  const warning =
    answer.kind === 'done' && answer.warning !== undefined ? headerText(answer.warning) : undefined;
  res.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    ...(warning === undefined ? {} : { [CNI.warning]: warning }),
  });
  res.end(body);
}

/** Answer one request. Never throws. */
export async function answerPlugin(
  req: IncomingMessage,
  res: ServerResponse,
  handle: PluginHandler,
): Promise<void> {
  let answer: PluginAnswer;
  try {
    refuseStranger(req.socket);
    const call = parseBody(await readBody(req));
    // From here on it is us who take the time, not the plugin.
    req.socket.setTimeout(2 * CNI.timeout);
    answer = await handle(call);
  } catch (error) {
    answer = { kind: 'error', error: failure(undefined, error) };
  }
  // Who went away meanwhile asks again: a DEL is idempotent, and what an ADD has made is deleted by the DEL after it.
  if (!res.destroyed) send(res, answer);
}
