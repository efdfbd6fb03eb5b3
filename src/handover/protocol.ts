import { VERSION } from '../contract.ts';
import { isObject } from '../fields.ts';
import { type Manifest, parseManifest } from './manifest.ts';

/**
 * What two daemons say on handover.sock: one JSON object a message, by SOCK_SEQPACKET.
 *
 *     new  hello →            which network, in which version of this protocol
 *     old          ← hello    or a refusal
 *     new  give →             everything is loaded: stop now
 *     old          ← bundle   with the first descriptors; the rest comes with messages `more`
 *     new  forwarding →
 *     old                     ends as on SIGTERM, and last of all its end of the connection
 *
 * A refusal ends it at any time. A connection that ends without one before `forwarding`: the other daemon has died.
 */
export const PROTOCOL = 1;

/** Descriptors beside one message: the kernel's limit. */
export const MESSAGE_FDS = 253;

/** What both must share: they are to be the same daemon of the same host. */
export interface Place {
  /** `--etcd-prefix`. */
  readonly prefix: string;
  /** The real path of `--state-dir`: with another one it would be another node. */
  readonly stateDir: string;
  /** The network namespace, as text that names it. */
  readonly netns: string;
}

export type RefusalCode =
  /** Another version of the protocol. */
  | 'protocol'
  /** Another network, state directory or network namespace. */
  | 'place'
  /** A handover is under way, or the daemon is ending. */
  | 'busy'
  /** A message out of turn, or none at all. */
  | 'message'
  /** The old one waited too long, and goes on itself. */
  | 'late'
  /** It cannot be done, as the reason says. */
  | 'failed';

const REFUSALS: readonly string[] = [
  'protocol',
  'place',
  'busy',
  'message',
  'late',
  'failed',
] satisfies RefusalCode[];

export type Message =
  | { readonly type: 'hello'; readonly protocol: number; readonly version: string; readonly place: Place }
  | { readonly type: 'give' }
  /** `manifest` null: the backend has no forwarder. `descriptors`: how many come in all. */
  | { readonly type: 'bundle'; readonly manifest: Manifest | null; readonly descriptors: number }
  | { readonly type: 'more' }
  | { readonly type: 'forwarding' }
  | { readonly type: 'refusal'; readonly code: RefusalCode; readonly reason: string };

export type Refusal = Extract<Message, { type: 'refusal' }>;

export const refusal = (code: RefusalCode, reason: string): Refusal => ({ type: 'refusal', code, reason });

export const formatMessage = (message: Message): Uint8Array => Buffer.from(JSON.stringify(message));

const TEXT_MAX = 4096;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= TEXT_MAX;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A message, or undefined for anything else. A hello of another version need have nothing but its number. */
export function parseMessage(bytes: Uint8Array): Message | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  switch (value.type) {
    case 'hello':
      return parseHello(value);
    case 'give':
    case 'more':
    case 'forwarding':
      return { type: value.type };
    case 'bundle': {
      const { descriptors } = value;
      const manifest = value.manifest === null ? null : parseManifest(value.manifest);
      if (manifest === undefined || descriptors !== (manifest?.descriptors ?? 0)) return undefined;
      return { type: 'bundle', manifest, descriptors };
    }
    case 'refusal': {
      const { code, reason } = value;
      if (!isText(code) || !isText(reason)) return undefined;
      // A later version may have more codes; none of them lets us go on.
      return refusal(REFUSALS.includes(code) ? (code as RefusalCode) : 'failed', reason);
    }
    default:
      return undefined;
  }
}

function parseHello(value: Readonly<Record<string, unknown>>): Message | undefined {
  const { protocol } = value;
  if (!isCount(protocol)) return undefined;
  const version = isText(value.version) ? value.version : '?';
  const given = isObject(value.place) ? value.place : {};
  const { prefix, stateDir, netns } = given;
  if (isText(prefix) && isText(stateDir) && isText(netns)) {
    return { type: 'hello', protocol, version, place: { prefix, stateDir, netns } };
  }
  if (protocol === PROTOCOL) return undefined;
  return { type: 'hello', protocol, version, place: { prefix: '', stateDir: '', netns: '' } };
}

/** Why these two cannot hand over to each other; undefined when they can. `who` says that hello. */
export function against(
  mine: Place,
  hello: Extract<Message, { type: 'hello' }>,
  who: string,
): Refusal | undefined {
  if (hello.protocol !== PROTOCOL) {
    return refusal(
      'protocol',
      `${who} (loden ${hello.version}) hands over by version ${hello.protocol} of the protocol, loden ${VERSION} by version ${PROTOCOL}; stop the running daemon, then start the new one without --takeover`,
    );
  }
  const { place } = hello;
  const differences = [
    ['etcd prefix', mine.prefix, place.prefix],
    ['state directory', mine.stateDir, place.stateDir],
    ['network namespace', mine.netns, place.netns],
  ].flatMap(([what, ours, theirs]) => (ours === theirs ? [] : [`${what} ${theirs}, not ${ours}`]));
  if (differences.length === 0) return undefined;
  return refusal(
    'place',
    `${who} has ${differences.join(', ')}; give both the same options, or choose another --run-dir`,
  );
}
