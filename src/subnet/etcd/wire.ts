import type { IResponseHeader } from 'etcd3/lib/rpc.js';

/** One key as etcd has it (mvccpb.KeyValue). */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  /** 0n: none. */
  readonly lease: bigint;
}

/**
 * Read a RangeResponse key by key, so that a caller can pause between keys: decoding 5,000 of them at once blocks
 * the loop for 20 to 50 ms. Field numbers are those of etcd's rpc.proto and kv.proto; unknown fields are skipped.
 * Throws RangeError when the bytes are not such a message.
 */
export class RangeReader {
  readonly header: IResponseHeader;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const header = { cluster_id: '0', member_id: '0', revision: '0', raft_term: '0' };
    // etcd writes the header first (protobuf writes fields in order of number).
    for (const field of new Fields(this.#bytes)) {
      if (field.number !== 1) break;
      for (const inner of new Fields(field.bytes)) {
        if (inner.number === 1) header.cluster_id = String(BigInt.asUintN(64, inner.value));
        if (inner.number === 3) header.revision = String(inner.value);
      }
    }
    this.header = header;
  }

  /** The next key; undefined after the last. */
  next(): KeyValue | undefined {
    while (this.#at < this.#bytes.length) {
      const fields = new Fields(this.#bytes, this.#at);
      const field = fields.next().value;
      this.#at = fields.at;
      if (field && field.number === 2) return keyValue(field.bytes);
    }
    return undefined;
  }
}

function keyValue(bytes: Buffer): KeyValue {
  const kv = { key: '', value: '', createRevision: 0n, modRevision: 0n, lease: 0n };
  for (const field of new Fields(bytes)) {
    if (field.number === 1) kv.key = field.bytes.toString();
    else if (field.number === 2) kv.createRevision = field.value;
    else if (field.number === 3) kv.modRevision = field.value;
    else if (field.number === 5) kv.value = field.bytes.toString();
    else if (field.number === 6) kv.lease = field.value;
  }
  return kv;
}

interface Field {
  readonly number: number;
  /** Of a varint, as int64; else 0n. */
  readonly value: bigint;
  /** Of a length-delimited field; else empty. */
  readonly bytes: Buffer;
}

const EMPTY = Buffer.alloc(0);

/** The fields of one protobuf message, in order (protobuf.dev/programming-guides/encoding). */
class Fields implements IterableIterator<Field> {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<Field, undefined> {
    if (this.at >= this.#bytes.length) return { done: true, value: undefined };
    const tag = Number(this.#varint());
    const number = tag >>> 3;
    switch (tag & 7) {
      case 0:
        return { done: false, value: { number, value: BigInt.asIntN(64, this.#varint()), bytes: EMPTY } };
      case 1:
        return { done: false, value: { number, value: 0n, bytes: this.#take(8) } };
      case 2:
        return { done: false, value: { number, value: 0n, bytes: this.#take(Number(this.#varint())) } };
      case 5:
        return { done: false, value: { number, value: 0n, bytes: this.#take(4) } };
      default:
        throw new RangeError(`protobuf wire type ${tag & 7} at byte ${this.at}`);
    }
  }

  #take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.#bytes.length)
      throw new RangeError(`a protobuf field of ${length} bytes at ${this.at} is cut off`);
    const part = this.#bytes.subarray(this.at, end);
    this.at = end;
    return part;
  }

  #varint(): bigint {
    // Most are short: tags, lengths, low revisions. Seven bytes fit a double exactly.
    let low = 0;
    for (let i = 0; i < 7; i++) {
      const byte = this.#byte();
      low += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 49n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError(`a protobuf varint of more than 10 bytes at ${this.at}`);
  }

  #byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new RangeError('a protobuf varint is cut off');
    return byte;
  }
}
