import { NETLINK_CHUNK } from '../contract.ts';
import { NLM_F_ACK, NLM_F_REQUEST } from './header.ts';
import { type Request, writeRequest } from './message.ts';
import { Writer } from './wire.ts';

/** Messages written back to back, to be sent in one go. */
export interface Chunk {
  /** Only valid until the next chunk is written. */
  readonly bytes: Uint8Array;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly requests: readonly Request[];
}

/** Bytes in a chunk; below the kernel's default send buffer (net.core.wmem_default, 208 KiB). */
const CHUNK_BYTES = 96 * 1024;

/** Numbers messages and writes them into chunks. Requests are taken only as chunks are asked for. */
export class Encoder {
  // A pod's socket sends one kilobyte in its life; what sends more grows.
  readonly #writer = new Writer(1024);
  #seq: number;

  /** `seq` is the number of the first message. */
  constructor(seq = 1) {
    this.#seq = seq;
  }

  /**
   * The next chunk: at most NETLINK_CHUNK messages. Only the last asks for an acknowledgement; the kernel answers
   * refused messages by their own sequence numbers in any case, before that one. Undefined when there is no request left.
   */
  next(requests: Iterator<Request>): Chunk | undefined {
    const w = this.#writer;
    w.clear();
    // A chunk never straddles the wrap, so its numbers are a plain range.
    if (this.#seq > 0xffff_ffff - NETLINK_CHUNK) this.#seq = 1;
    const firstSeq = this.#seq;
    const taken: Request[] = [];
    let last = 0;
    while (taken.length < NETLINK_CHUNK && w.length < CHUNK_BYTES) {
      const step = requests.next();
      if (step.done) break;
      last = w.length;
      writeRequest(w, step.value, this.#seq++, false);
      taken.push(step.value);
    }
    if (taken.length === 0) return undefined;
    w.setU16(last + 6, NLM_F_REQUEST | NLM_F_ACK | taken.at(-1)!.flags);
    return { bytes: w.written(), firstSeq, lastSeq: this.#seq - 1, requests: taken };
  }

  /** One request by itself. `ack`: also acknowledged when it succeeds (never wanted for dumps). */
  one(request: Request, ack: boolean): Chunk {
    const w = this.#writer;
    w.clear();
    if (this.#seq === 0x1_0000_0000) this.#seq = 1;
    const seq = this.#seq++;
    writeRequest(w, request, seq, ack);
    return { bytes: w.written(), firstSeq: seq, lastSeq: seq, requests: [request] };
  }
}
