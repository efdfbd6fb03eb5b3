import { string, u32 } from './codecs.ts';
import type { Chunk } from './encoder.ts';
import { errnoName } from './errno.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSG_MIN_TYPE,
} from './header.ts';
import { type Message, type Request, readMessage, writeRequest } from './message.ts';
import { attributes, type ValuesOf } from './policy.ts';
import { align, eachAttribute, LITTLE_ENDIAN, NetlinkFormatError, type Source, Writer } from './wire.ts';

/** Why a message was not carried out. */
export interface NetlinkFailure {
  /**
   * `refused`: the kernel said no. `unknown`: its answer was lost (receive buffer overrun); look at the kernel's state
   * before going on.
   */
  readonly outcome: 'refused' | 'unknown';
  /** Positive; ENOBUFS when unknown. */
  readonly errno: number;
  /** Symbolic name, e.g. `EEXIST`. */
  readonly code: string;
  /** The kernel's own words, with the attribute it means, if it said any. */
  readonly extack?: string;
}

/** A message in a reply, not yet read. */
export interface RawMessage {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Where its header starts and its payload ends. */
  readonly start: number;
  readonly end: number;
}

/** The messages in a reply, one by one. Throws {@link NetlinkFormatError} where a length leads outside. */
export function* messages(s: Source): Generator<RawMessage> {
  const size = s.bytes.length;
  let start = 0;
  while (start < size) {
    const length = size - start < NLMSG_HDRLEN ? 0 : s.view.getUint32(start, LITTLE_ENDIAN);
    if (length < NLMSG_HDRLEN || length > size - start) {
      throw new NetlinkFormatError(`a message claims ${length} of ${size - start} bytes`);
    }
    yield {
      type: s.view.getUint16(start + 4, LITTLE_ENDIAN),
      flags: s.view.getUint16(start + 6, LITTLE_ENDIAN),
      seq: s.view.getUint32(start + 8, LITTLE_ENDIAN),
      start,
      end: start + length,
    };
    start += align(length);
  }
}

/** enum nlmsgerr_attrs */
const NLMSGERR = attributes({
  NLMSGERR_ATTR_MSG: [1, string],
  /** Where in the request the fault is, bytes from its header. */
  NLMSGERR_ATTR_OFFS: [2, u32],
  /** The attribute type that is missing, and in which nest. */
  NLMSGERR_ATTR_MISS_TYPE: [5, u32],
  NLMSGERR_ATTR_MISS_NEST: [6, u32],
});

/**
 * Reads an NLMSG_ERROR or NLMSG_DONE: undefined for success. `request` is what it answers, to name the attribute the
 * kernel points at. Throws {@link NetlinkFormatError}.
 */
export function readStatus(
  s: Source,
  raw: RawMessage,
  request: Request | undefined,
): NetlinkFailure | undefined {
  const body = raw.start + NLMSG_HDRLEN;
  if (raw.end - body < 4) {
    // Before 5.x some families ended a dump without a status.
    if (raw.type === NLMSG_DONE) return undefined;
    throw new NetlinkFormatError('an error without a number');
  }
  const errno = -s.view.getInt32(body, LITTLE_ENDIAN);
  if (errno <= 0) return undefined;
  const failure = { outcome: 'refused', errno, code: errnoName(errno) } as const;
  if ((raw.flags & NLM_F_ACK_TLVS) === 0) return failure;

  let at = body + 4;
  if (raw.type === NLMSG_ERROR) {
    // struct nlmsgerr: after the number, the header of the refused request, and all of it unless capped.
    if (raw.end - at < NLMSG_HDRLEN) throw new NetlinkFormatError('an error without the refused header');
    const echoed = raw.flags & NLM_F_CAPPED ? NLMSG_HDRLEN : s.view.getUint32(at, LITTLE_ENDIAN);
    if (echoed > raw.end - at) throw new NetlinkFormatError('an error that echoes more than it holds');
    at = Math.min(at + align(echoed), raw.end);
  }
  const extack = explain(NLMSGERR.read(s, at, raw.end) ?? {}, request);
  return extack === undefined ? failure : { ...failure, extack };
}

function explain(a: ValuesOf<typeof NLMSGERR>, request: Request | undefined): string | undefined {
  const parts: string[] = [];
  if (a.NLMSGERR_ATTR_MSG !== undefined) parts.push(a.NLMSGERR_ATTR_MSG);
  if (request !== undefined) {
    if (a.NLMSGERR_ATTR_OFFS !== undefined) {
      const name = attributeAt(request, a.NLMSGERR_ATTR_OFFS);
      if (name !== undefined) parts.push(`at ${name}`);
    }
    if (a.NLMSGERR_ATTR_MISS_TYPE !== undefined && a.NLMSGERR_ATTR_MISS_NEST === undefined) {
      const type = a.NLMSGERR_ATTR_MISS_TYPE;
      parts.push(`${request.shape.attributes.nameOf(type) ?? `attribute ${type}`} is missing`);
    }
  }
  return parts.length === 0 ? undefined : parts.join(', ');
}

/** The name of the outermost attribute of a request that holds the byte at `offset`. */
function attributeAt(request: Request, offset: number): string | undefined {
  const w = new Writer();
  writeRequest(w, request, 0, false);
  const bytes = w.written();
  const s = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  let found: string | undefined;
  eachAttribute(s, NLMSG_HDRLEN + align(request.shape.header.size), bytes.length, (type, at, end) => {
    if (offset >= at - 4 && offset < Math.max(end, at)) found = request.shape.attributes.nameOf(type);
  });
  return found;
}

/**
 * What became of each message of a chunk, in order: undefined for done. After an overrun everything not explicitly
 * refused is `unknown`, because the refusal may be among the lost replies. Throws {@link NetlinkFormatError}.
 */
export function readOutcomes(chunk: Chunk, s: Source, overrun: boolean): (NetlinkFailure | undefined)[] {
  const lost: NetlinkFailure = { outcome: 'unknown', errno: 105, code: 'ENOBUFS' };
  const outcomes = new Array<NetlinkFailure | undefined>(chunk.requests.length).fill(
    overrun ? lost : undefined,
  );
  for (const raw of messages(s)) {
    if (raw.type !== NLMSG_ERROR) continue;
    const index = raw.seq - chunk.firstSeq;
    if (index < 0 || index >= outcomes.length) continue;
    outcomes[index] = readStatus(s, raw, chunk.requests[index]);
  }
  return outcomes;
}

/** What the gets of a chunk have found, with their place in it. Throws {@link NetlinkFormatError}. */
export function* readReplies(
  chunk: Chunk,
  s: Source,
): Generator<{ readonly index: number; readonly message: Message<unknown, unknown> }> {
  for (const raw of messages(s)) {
    const index = raw.seq - chunk.firstSeq;
    const request = chunk.requests[index];
    if (raw.type >= NLMSG_MIN_TYPE && request) yield { index, message: readMessage(request.shape, s, raw) };
  }
}

/** A dump's messages, found but not yet read. */
export interface Dump {
  readonly messages: readonly RawMessage[];
  /** NLM_F_DUMP_INTR: something changed while it ran. */
  readonly interrupted: boolean;
  /** From NLMSG_ERROR, or the number in NLMSG_DONE. */
  readonly failure: NetlinkFailure | undefined;
  /** NLMSG_DONE (or an error) was there: nothing is missing at the end. */
  readonly complete: boolean;
}

/** Sorts the reply to a dump. Throws {@link NetlinkFormatError}. */
export function readDump(request: Request, s: Source): Dump {
  const found: RawMessage[] = [];
  let interrupted = false;
  let failure: NetlinkFailure | undefined;
  let complete = false;
  for (const raw of messages(s)) {
    if (raw.flags & NLM_F_DUMP_INTR) interrupted = true;
    if (raw.type === NLMSG_DONE || raw.type === NLMSG_ERROR) {
      complete = true;
      failure ??= readStatus(s, raw, request);
    } else if (raw.type >= NLMSG_MIN_TYPE) {
      found.push(raw);
    }
  }
  return { messages: found, interrupted, failure, complete };
}
