import type { Addr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import { LITTLE_ENDIAN, NetlinkFormatError, type Source, type Writer } from './wire.ts';

/** How one value stands in an attribute's payload. */
export interface Codec<T> {
  write(w: Writer, value: T): void;
  /**
   * Reads the payload [at, end). Undefined when the payload is legal but not of this type (a link-layer address that
   * is no MAC). Throws {@link NetlinkFormatError} for one that no kernel writes.
   */
  read(s: Source, at: number, end: number): T | undefined;
  /** The payload is attributes again: NLA_F_NESTED. */
  readonly nested?: boolean;
  /** The attribute says it all by being there; `false` is not written. */
  readonly flag?: boolean;
}

/** A codec of one width, fit for fixed headers too. */
export interface Struct<T> extends Codec<T> {
  /** Bytes. */
  readonly size: number;
}

function expect(what: string, size: number, at: number, end: number): void {
  if (end - at !== size) throw new NetlinkFormatError(`${end - at} bytes where ${what} needs ${size}`);
}

/** A number that does not fit would be cut short silently: a wrong port, a wrong VNI. */
function fitting(value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new RangeError(`${value} does not fit a netlink field of ${low} to ${high}`);
}

export const u8: Struct<number> = {
  size: 1,
  write: (w, value) => w.u8(fitting(value, 0, 0xff)),
  read(s, at, end) {
    expect('u8', 1, at, end);
    return s.bytes[at]!;
  },
};

export const u16: Struct<number> = {
  size: 2,
  write: (w, value) => w.u16(fitting(value, 0, 0xffff)),
  read(s, at, end) {
    expect('u16', 2, at, end);
    return s.view.getUint16(at, LITTLE_ENDIAN);
  },
};

/** Network byte order, e.g. a port. */
export const u16be: Struct<number> = {
  size: 2,
  write: (w, value) => w.u16(fitting(value, 0, 0xffff), false),
  read(s, at, end) {
    expect('be16', 2, at, end);
    return s.view.getUint16(at, false);
  },
};

export const u32: Struct<number> = {
  size: 4,
  write: (w, value) => w.u32(fitting(value, 0, 0xffff_ffff)),
  read(s, at, end) {
    expect('u32', 4, at, end);
    return s.view.getUint32(at, LITTLE_ENDIAN);
  },
};

/** Network byte order. */
export const u32be: Struct<number> = {
  size: 4,
  write: (w, value) => w.u32(fitting(value, 0, 0xffff_ffff), false),
  read(s, at, end) {
    expect('be32', 4, at, end);
    return s.view.getUint32(at, false);
  },
};

export const s32: Struct<number> = {
  size: 4,
  write: (w, value) => w.u32(fitting(value, -0x8000_0000, 0x7fff_ffff)),
  read(s, at, end) {
    expect('s32', 4, at, end);
    return s.view.getInt32(at, LITTLE_ENDIAN);
  },
};

export const u64: Struct<bigint> = {
  size: 8,
  write: (w, value) => w.u64(value),
  read(s, at, end) {
    expect('u64', 8, at, end);
    return s.view.getBigUint64(at, LITTLE_ENDIAN);
  },
};

/** Bytes of a C struct that mean nothing. */
export const pad = (size: number): Struct<undefined> => ({
  size,
  write: (w) => w.zero(size),
  read: () => undefined,
});

export const flag: Codec<boolean> = {
  flag: true,
  write: () => {},
  read: () => true,
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** UTF-8, ended by a NUL that the value does not have. */
export const string: Codec<string> = {
  write(w, value) {
    w.bytes(encoder.encode(value));
    w.u8(0);
  },
  read(s, at, end) {
    // Names are short and ASCII: cheaper without the decoder.
    let text = '';
    for (let i = at; i < end; i++) {
      const byte = s.bytes[i]!;
      if (byte === 0) return text;
      if (byte > 127 || i - at > 64) {
        const nul = s.bytes.indexOf(0, i);
        return decoder.decode(s.bytes.subarray(at, nul < 0 || nul > end ? end : nul));
      }
      text += String.fromCharCode(byte);
    }
    return text;
  },
};

/** A copy: values outlive the buffer they were read from. */
export const bytes: Codec<Uint8Array> = {
  write: (w, value) => w.bytes(value),
  read: (s, at, end) => s.bytes.slice(at, end),
};

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** Links other than Ethernet have addresses of other lengths: then the value is left out. */
export const mac: Codec<Mac> = {
  write(w, value) {
    for (let i = 0; i < 17; i += 3) w.u8(Number.parseInt(value.slice(i, i + 2), 16));
  },
  read(s, at, end) {
    if (end - at !== 6) return undefined;
    const b = s.bytes;
    const pairs = [b[at]!, b[at + 1]!, b[at + 2]!, b[at + 3]!, b[at + 4]!, b[at + 5]!].map(
      (byte) => HEX[byte]!,
    );
    // Not a template, whose text would hold on to its parts.
    return pairs.join(':') as Mac;
  },
};

/** 4 or 16 bytes; other families' addresses are left out. */
export const addr: Codec<Addr> = {
  write(w, value) {
    if (value.family === 4) {
      w.u32(Number(value.value), false);
    } else {
      w.u64(value.value >> 64n, false);
      w.u64(value.value & 0xffff_ffff_ffff_ffffn, false);
    }
  },
  read(s, at, end) {
    if (end - at === 4) return { family: 4, value: BigInt(s.view.getUint32(at, false)) };
    if (end - at !== 16) return undefined;
    return { family: 6, value: (s.view.getBigUint64(at, false) << 64n) | s.view.getBigUint64(at + 8, false) };
  },
};
