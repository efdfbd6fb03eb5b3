import { LodenError } from '../errors.ts';

/** A reply that is not what linux/netlink.h says it is: cut short, or with lengths that lead outside. */
export class NetlinkFormatError extends LodenError {
  constructor(what: string) {
    super(`cannot read a netlink reply: ${what}`, { retry: 'resync' });
  }
}

/** Netlink speaks the host's byte order. */
export const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** `nla_len` counts the header, not the padding that brings the next attribute to a multiple of four. */
export const ALIGN = 4;
export const align = (n: number): number => (n + 3) & ~3;
/** sizeof(struct nlattr): length and type, 16 bits each. */
export const ATTRIBUTE_HEADER = 4;
/** Flags in the two upper bits of `nla_type`. */
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;

/** Builds messages in a buffer that grows; kept and reused, so that encoding makes no garbage. */
export class Writer {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Forget everything; the memory stays. */
  clear(): void {
    this.#length = 0;
  }

  /** What was written, as a view that the next write may overwrite. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Makes room for `n` bytes and returns where they start. May replace the buffer: first the place, then the write. */
  #grow(n: number): number {
    const at = this.#length;
    const needed = at + n;
    if (needed > this.#bytes.length) {
      const bigger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      bigger.set(this.#bytes.subarray(0, at));
      this.#bytes = bigger;
      this.#view = new DataView(bigger.buffer);
    }
    this.#length = needed;
    return at;
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }
  u16(value: number, littleEndian = LITTLE_ENDIAN): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, littleEndian);
  }
  u32(value: number, littleEndian = LITTLE_ENDIAN): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, littleEndian);
  }
  u64(value: bigint, littleEndian = LITTLE_ENDIAN): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value, littleEndian);
  }
  bytes(value: Uint8Array): void {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
  }
  zero(n: number): void {
    const at = this.#grow(n);
    this.#bytes.fill(0, at, at + n);
  }
  /** Pads with zeros to the next multiple of four. */
  pad(): void {
    const odd = this.#length & 3;
    if (odd !== 0) this.zero(ALIGN - odd);
  }

  setU16(at: number, value: number): void {
    this.#view.setUint16(at, value, LITTLE_ENDIAN);
  }
  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, LITTLE_ENDIAN);
  }

  /** Starts an attribute; its payload follows, then {@link endAttribute} with the returned mark. */
  beginAttribute(type: number): number {
    const mark = this.#length;
    this.u16(0);
    this.u16(type);
    return mark;
  }
  /** Fills in the length and pads. Throws RangeError when it does not fit 16 bits. */
  endAttribute(mark: number): void {
    const length = this.#length - mark;
    if (length > 0xffff) throw new RangeError(`a netlink attribute of ${length} bytes: 65535 is the most`);
    this.setU16(mark, length);
    this.pad();
  }
}

/** Bytes to read from, with the view that reads numbers. */
export interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export const source = (bytes: Uint8Array): Source => ({
  bytes,
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
});

/**
 * Calls `each(type, at, end)` for every attribute in [at, end): type without flags, payload without padding.
 * Throws {@link NetlinkFormatError} when a length leads outside. Fewer than four bytes at the end are padding.
 */
export function eachAttribute(
  s: Source,
  at: number,
  end: number,
  each: (type: number, at: number, end: number) => void,
): void {
  let here = at;
  while (end - here >= ATTRIBUTE_HEADER) {
    const length = s.view.getUint16(here, LITTLE_ENDIAN);
    if (length < ATTRIBUTE_HEADER || length > end - here) {
      throw new NetlinkFormatError(`an attribute claims ${length} of ${end - here} bytes`);
    }
    each(s.view.getUint16(here + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK, here + ATTRIBUTE_HEADER, here + length);
    here += align(length);
  }
}
