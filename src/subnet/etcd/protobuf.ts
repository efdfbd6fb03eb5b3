/**
 * Protocol buffers (protobuf.dev/programming-guides/encoding) for the few messages we exchange with etcd. A table of
 * fields gives encoder, decoder and type. A library that loads .proto files costs 16 MB and 0.1 s at each start.
 */

/** One field as it stands in the bytes. */
export interface RawField {
  readonly number: number;
  /** Of a varint, as int64; else 0n. */
  readonly value: bigint;
  /** Of a length-delimited field; else empty. */
  readonly bytes: Buffer;
}

/** What may be given to be written: any part of it. */
export type Partly<T> = T extends bigint | string | boolean | undefined
  ? T
  : T extends readonly (infer U)[]
    ? readonly Partly<U>[]
    : { readonly [K in keyof T]?: Partly<T[K]> | undefined };

/** Writes and reads a message. Absent fields read as their zero. Decoding throws RangeError for bytes that are none. */
export interface Codec<T> {
  encode(value: Partly<T>): Buffer;
  decode(bytes: Buffer): T;
}

/** One line of a message's table. */
export interface Field<T> {
  readonly number: number;
  readonly zero: () => T;
  /** Nothing for the zero. */
  encode(value: Partly<T>): readonly Buffer[];
  /** `before`: what earlier occurrences of the field have given. */
  decode(raw: RawField, before: T): T;
}

/** The type of a message. */
export type MessageOf<C> = C extends Codec<infer T> ? T : never;

const EMPTY = Buffer.alloc(0);
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** int64, uint64 and enums. */
export const int64 = (number: number): Field<bigint> => ({
  number,
  zero: () => 0n,
  encode: (value) => (value === 0n ? [] : [tag(number, VARINT), varint(BigInt.asUintN(64, value))]),
  decode: (raw) => raw.value,
});

export const bool = (number: number): Field<boolean> => ({
  number,
  zero: () => false,
  encode: (value) => (value ? [tag(number, VARINT), varint(1n)] : []),
  decode: (raw) => raw.value !== 0n,
});

/** string, and bytes that hold UTF-8. */
export const text = (number: number): Field<string> => ({
  number,
  zero: () => '',
  encode: (value) => (value === '' ? [] : delimited(number, Buffer.from(value))),
  decode: (raw) => raw.bytes.toString(),
});

/** A message inside; undefined when absent. */
export const one = <T>(number: number, codec: Codec<T>): Field<T | undefined> => ({
  number,
  zero: () => undefined,
  encode: (value) => (value === undefined ? [] : delimited(number, codec.encode(value as Partly<T>))),
  decode: (raw) => codec.decode(raw.bytes),
});

/** Any number of messages. */
export const many = <T>(number: number, codec: Codec<T>): Field<readonly T[]> => ({
  number,
  zero: () => [],
  encode: (values) => (values as readonly Partly<T>[]).flatMap((v) => delimited(number, codec.encode(v))),
  decode: (raw, before) => {
    // The list is this message's own: its zero made it.
    (before as T[]).push(codec.decode(raw.bytes));
    return before;
  },
});

type Fields<T> = { readonly [K in keyof T]: Field<T[K]> };

/** A message out of its fields. */
export function message<T>(fields: Fields<T>): Codec<T> {
  const entries = Object.entries(fields) as [string, Field<unknown>][];
  const byNumber = new Map(entries.map(([name, field]) => [field.number, { name, field }]));
  return {
    encode(value) {
      const given = value as Readonly<Record<string, unknown>>;
      const write = ([name, field]: [string, Field<unknown>]) =>
        given[name] === undefined ? [] : field.encode(given[name] as never);
      return Buffer.concat(entries.flatMap(write));
    },
    decode(bytes) {
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) value[name] = field.zero();
      for (const raw of new FieldReader(bytes)) {
        const known = byNumber.get(raw.number);
        if (known) value[known.name] = known.field.decode(raw, value[known.name]);
      }
      return value as T;
    },
  };
}

const tag = (number: number, wire: number): Buffer => varint(BigInt((number << 3) | wire));

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const delimited = (number: number, bytes: Buffer): readonly Buffer[] => [
  tag(number, LENGTH),
  varint(BigInt(bytes.length)),
  bytes,
];

/** The fields of one message, in order. Throws RangeError when the bytes are not one. */
export class FieldReader implements IterableIterator<RawField> {
  readonly #bytes: Buffer;
  /** Where the next field begins. */
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<RawField, undefined> {
    if (this.at >= this.#bytes.length) return { done: true, value: undefined };
    const key = Number(this.#varint());
    const number = key >>> 3;
    switch (key & 7) {
      case VARINT:
        return { done: false, value: { number, value: BigInt.asIntN(64, this.#varint()), bytes: EMPTY } };
      case FIXED64:
        return { done: false, value: { number, value: 0n, bytes: this.#take(8) } };
      case LENGTH:
        return { done: false, value: { number, value: 0n, bytes: this.#take(Number(this.#varint())) } };
      case FIXED32:
        return { done: false, value: { number, value: 0n, bytes: this.#take(4) } };
      default:
        throw new RangeError(`protobuf wire type ${key & 7} at byte ${this.at}`);
    }
  }

  #take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.#bytes.length) {
      throw new RangeError(`a protobuf field of ${length} bytes at ${this.at} is cut off`);
    }
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
