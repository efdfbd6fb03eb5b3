import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../src/netlink/header.ts';
import type { Message, Shape } from '../../src/netlink/message.ts';
import { align, type Source, source, Writer } from '../../src/netlink/wire.ts';

/** One message as the kernel writes it. */
function message(type: number, flags: number, seq: number, body: (w: Writer) => void): Uint8Array {
  const w = new Writer();
  w.u32(0);
  w.u16(type);
  w.u16(flags);
  w.u32(seq);
  w.u32(4711);
  body(w);
  w.setU32(0, w.length);
  w.pad();
  return w.written().slice();
}

export interface Extack {
  /** NLMSGERR_ATTR_MSG, _OFFS, _MISS_TYPE, _MISS_NEST */
  readonly msg?: string;
  readonly offs?: number;
  readonly missType?: number;
  readonly missNest?: number;
}

function writeExtack(w: Writer, extack: Extack): void {
  const put = (type: number, write: () => void) => {
    const mark = w.beginAttribute(type);
    write();
    w.endAttribute(mark);
  };
  const { msg, offs, missType, missNest } = extack;
  if (msg !== undefined) put(1, () => w.bytes(new TextEncoder().encode(`${msg}\0`)));
  if (offs !== undefined) put(2, () => w.u32(offs));
  if (missType !== undefined) put(5, () => w.u32(missType));
  if (missNest !== undefined) put(6, () => w.u32(missNest));
}

/** NLMSG_ERROR: `errno` 0 is an acknowledgement. `echo` is the refused request when the kernel repeats all of it. */
export function errorReply(seq: number, errno: number, extack?: Extack, echo?: Uint8Array): Uint8Array {
  const flags = (extack ? NLM_F_ACK_TLVS : 0) | (echo ? 0 : NLM_F_CAPPED);
  return message(NLMSG_ERROR, flags, seq, (w) => {
    w.u32(-errno);
    if (echo) {
      w.bytes(echo);
    } else {
      w.u32(60);
      w.zero(12);
    }
    w.pad();
    if (extack) writeExtack(w, extack);
  });
}

/** NLMSG_DONE with the errno a dump ended with. */
export const doneReply = (seq: number, errno = 0, extack?: Extack): Uint8Array =>
  message(NLMSG_DONE, NLM_F_MULTI | (extack ? NLM_F_ACK_TLVS : 0), seq, (w) => {
    w.u32(-errno);
    if (extack) writeExtack(w, extack);
  });

/** An object of a dump, or the answer to a get. */
export const objectReply = <H, A>(
  shape: Shape<H, A>,
  seq: number,
  object: Pick<Message<Partial<H>, A>, 'type' | 'flags' | 'header' | 'attributes'>,
): Uint8Array =>
  message(object.type, object.flags, seq, (w) => {
    shape.header.write(w, object.header);
    w.pad();
    shape.attributes.write(w, object.attributes);
  });

export const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** The messages of a request as sent: header fields, where they start, how long they are. */
export function sentMessages(
  bytes: Uint8Array,
): { type: number; flags: number; seq: number; at: number; length: number }[] {
  const s: Source = source(bytes);
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const length = s.view.getUint32(at, true);
    found.push({
      type: s.view.getUint16(at + 4, true),
      flags: s.view.getUint16(at + 6, true),
      seq: s.view.getUint32(at + 8, true),
      at,
      length,
    });
    at += align(length);
  }
  return found;
}
