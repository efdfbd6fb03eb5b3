import {
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLMSG_HDRLEN,
} from './header.ts';
import type { Attributes, Header } from './policy.ts';
import { align, type Source, type Writer } from './wire.ts';

/** What a family of messages looks like after the netlink header. */
export interface Shape<H, A> {
  /** For messages to people: `link`, `route`, … */
  readonly name: string;
  readonly header: Header<H>;
  readonly attributes: Attributes<A>;
}

/** A message to the kernel, as a plain value; sequence number and NLM_F_ACK come when it is sent. */
export interface Request<H = unknown, A = unknown> {
  readonly shape: Shape<H, A>;
  /** nlmsg_type, e.g. RTM_NEWROUTE. */
  readonly type: number;
  /** nlmsg_flags besides NLM_F_REQUEST. */
  readonly flags: number;
  readonly header: Partial<H>;
  readonly attributes: A;
}

/** A message from the kernel. */
export interface Message<H, A> {
  readonly type: number;
  readonly flags: number;
  readonly header: H;
  readonly attributes: A;
}

/** The requests that every rtnetlink table knows, e.g. RTM_{NEW,DEL,GET}ROUTE. */
export interface Verbs<H, A> {
  /** Refused with EEXIST when it is there. */
  create(header: Partial<H>, attributes: A): Request<H, A>;
  /** Created, or changed where it exists. */
  put(header: Partial<H>, attributes: A): Request<H, A>;
  /** Changed; refused when it is not there. */
  change(header: Partial<H>, attributes: A): Request<H, A>;
  remove(header: Partial<H>, attributes: A): Request<H, A>;
  get(header: Partial<H>, attributes: A): Request<H, A>;
  /** The whole table, less what the header and attributes leave out (NETLINK_GET_STRICT_CHK). */
  dump(header: Partial<H>, attributes?: A): Request<H, A>;
}

export function verbs<H, A>(
  shape: Shape<H, A>,
  types: { readonly new: number; readonly del: number; readonly get: number },
): Verbs<H, A> {
  const request =
    (type: number, flags: number) =>
    (header: Partial<H>, attributes: A = {} as A): Request<H, A> => ({
      shape,
      type,
      flags,
      header,
      attributes,
    });
  return {
    create: request(types.new, NLM_F_CREATE | NLM_F_EXCL),
    put: request(types.new, NLM_F_CREATE | NLM_F_REPLACE),
    change: request(types.new, 0),
    remove: request(types.del, 0),
    get: request(types.get, 0),
    dump: request(types.get, NLM_F_DUMP),
  };
}

/** Appends one message. Throws RangeError when an attribute is too long. */
export function writeRequest(w: Writer, request: Request, seq: number, ack: boolean): void {
  const start = w.length;
  w.u32(0);
  w.u16(request.type);
  w.u16(request.flags | NLM_F_REQUEST | (ack ? NLM_F_ACK : 0));
  w.u32(seq);
  w.u32(0);
  request.shape.header.write(w, request.header as object);
  w.pad();
  request.shape.attributes.write(w, request.attributes);
  w.setU32(start, w.length - start);
}

/** Reads the message whose netlink header is at `start` and which ends at `end`. Throws NetlinkFormatError. */
export function readMessage<H, A>(
  shape: Shape<H, A>,
  s: Source,
  raw: { readonly type: number; readonly flags: number; readonly start: number; readonly end: number },
): Message<H, A> {
  const body = raw.start + NLMSG_HDRLEN;
  const header = shape.header.read(s, body, raw.end);
  const from = Math.min(body + align(shape.header.size), raw.end);
  // Tables without a required attribute read to an object in every case.
  const attributes = shape.attributes.read(s, from, raw.end) as A;
  return { type: raw.type, flags: raw.flags, header, attributes };
}
