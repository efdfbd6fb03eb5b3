import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Addr, addr } from '../../src/net/addr.ts';
import { type Mac, mac } from '../../src/net/mac.ts';
import * as codecs from '../../src/netlink/codecs.ts';
import { type Attributes, attributes, header, type ValuesOf } from '../../src/netlink/policy.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { NetlinkFormatError, source, Writer } from '../../src/netlink/wire.ts';
import { arbAddr, arbMac, arbValues, hex } from '../support/netlinkArbitrary.ts';

/** What a codec makes of its own output. */
function roundTrip<T>(codec: codecs.Codec<T>, value: T): T | undefined {
  const w = new Writer(1);
  codec.write(w, value);
  const bytes = w.written();
  return codec.read(source(bytes), 0, bytes.length);
}

describe('values', () => {
  test.each([
    ['u8', codecs.u8, 0xff],
    ['u16', codecs.u16, 0xfffe],
    ['u16be', codecs.u16be, 8472],
    ['u32', codecs.u32, 0xffff_fffe],
    ['u32be', codecs.u32be, 0x01020304],
    ['s32', codecs.s32, -1],
  ] as const)('%s comes back', (_, codec, value) => {
    expect(roundTrip(codec, value)).toBe(value);
  });

  test('u64, string, bytes, mac and addresses come back', () => {
    expect(roundTrip(codecs.u64, 0xffff_ffff_ffff_fffen)).toBe(0xffff_ffff_ffff_fffen);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 100 }), (text) => {
        fc.pre(!text.includes('\0'));
        expect(roundTrip(codecs.string, text)).toBe(text);
      }),
    );
    fc.assert(fc.property(fc.uint8Array(), (b) => void expect(roundTrip(codecs.bytes, b)).toEqual(b)));
    fc.assert(fc.property(arbMac, (m) => void expect(roundTrip(codecs.mac, m)).toBe(m)));
    fc.assert(fc.property(arbAddr, (a) => void expect(roundTrip(codecs.addr, a)).toEqual(a)));
  });

  test('addresses, MACs and be numbers are in network order', () => {
    const w = new Writer();
    codecs.addr.write(w, addr('10.1.2.3'));
    codecs.mac.write(w, mac('02:11:22:33:44:ff'));
    codecs.u16be.write(w, 8472);
    codecs.u32be.write(w, 0x01020304);
    codecs.addr.write(w, addr('2001:db8::1'));
    expect(hex(w.written())).toBe(
      '0a010203 02112233 44ff2118 01020304 20010db8 00000000 00000000 00000001'.replaceAll(' ', ''),
    );
  });

  test.each([
    ['u8', codecs.u8, 256],
    ['u8', codecs.u8, -1],
    ['u16', codecs.u16, 65536],
    ['u16be', codecs.u16be, 65536],
    ['u32', codecs.u32, 2 ** 32],
    ['u32be', codecs.u32be, 1.5],
    ['s32', codecs.s32, 2 ** 31],
    ['u32', codecs.u32, Number.NaN],
  ] as const)('%s refuses %d', (_, codec, value) => {
    expect(() => codec.write(new Writer(), value)).toThrow(RangeError);
  });

  test('link-layer addresses and addresses of other lengths are left out', () => {
    const sixteen = new Uint8Array(16);
    expect(codecs.mac.read(source(sixteen), 0, 16)).toBeUndefined();
    expect(codecs.mac.read(source(sixteen), 0, 0)).toBeUndefined();
    expect(codecs.addr.read(source(sixteen), 0, 6)).toBeUndefined();
  });

  test('a string ends at its NUL, or where the attribute does', () => {
    const text = new TextEncoder().encode('eth0\0junk');
    expect(codecs.string.read(source(text), 0, text.length)).toBe('eth0');
    expect(codecs.string.read(source(text), 0, 3)).toBe('eth');
    const long = new TextEncoder().encode(`${'x'.repeat(200)}\0${'y'.repeat(20)}`);
    expect(codecs.string.read(source(long), 0, long.length)).toBe('x'.repeat(200));
    expect(codecs.string.read(source(long), 0, 100)).toBe('x'.repeat(100));
  });
});

describe('tables', () => {
  const inner = attributes({ LOW: [1, codecs.u8] });
  const table = attributes({
    NAME: [3, codecs.string],
    ON: [7, codecs.flag],
    SIZE: [1, codecs.u32],
    NEST: [9, inner],
  });

  test('give the bytes of struct nlattr: length, type, payload, padding', () => {
    const w = new Writer();
    table.write(w, { NAME: 'ab', ON: true, SIZE: 5, NEST: { LOW: 1 } });
    // Only the host's byte order is tested: every machine Loden runs on is little-endian.
    expect(hex(w.written())).toBe(
      ['07000300 61620000', '04000700', '08000100 05000000', '0c000980 05000100 01000000']
        .join('')
        .replaceAll(' ', ''),
    );
  });

  test('undefined values and false flags are not written', () => {
    const w = new Writer();
    table.write(w, { NAME: undefined, ON: false });
    expect(w.length).toBe(0);
  });

  test('unknown attributes are skipped, flags in the type ignored, the last of two counts', () => {
    const w = new Writer();
    for (const [type, value] of [
      [1, 1],
      [2, 9],
      [1 | 0x8000 | 0x4000, 2],
    ] as const) {
      const mark = w.beginAttribute(type);
      w.u32(value);
      w.endAttribute(mark);
    }
    const bytes = w.written();
    expect(table.read(source(bytes), 0, bytes.length)).toEqual({ SIZE: 2 });
  });

  test('have the right types', () => {
    const values: ValuesOf<typeof rtnl.NDA> = {
      NDA_DST: addr('10.0.0.1'),
      NDA_LLADDR: mac('02:00:00:00:00:01'),
    };
    const dst: Addr | undefined = values.NDA_DST;
    const lladdr: Mac | undefined = values.NDA_LLADDR;
    // @ts-expect-error: a table does not have attributes of others
    void ({ RTA_DST: dst } satisfies ValuesOf<typeof rtnl.NDA>);
    // @ts-expect-error: a number is no address
    void ({ NDA_DST: 1 } satisfies ValuesOf<typeof rtnl.NDA>);
    expect([dst, lladdr]).toEqual([values.NDA_DST, values.NDA_LLADDR]);
  });

  test('an attribute over 64 KB is refused', () => {
    const big = attributes({ BIG: [1, codecs.bytes] });
    expect(() => big.write(new Writer(), { BIG: new Uint8Array(65_532) })).toThrow(RangeError);
  });

  test.each([
    ['a length beyond the end', [0x20, 0, 1, 0, 0, 0, 0, 0]],
    ['a length below the header', [0x03, 0, 1, 0]],
    ['a length of zero', [0, 0, 0, 0]],
    ['a number cut short', [0x07, 0, 1, 0, 1, 2, 3, 0]],
    ['a nest with a broken attribute', [0x0c, 0, 9, 0x80, 0x40, 0, 1, 0, 1, 0, 0, 0]],
  ])('%s is a NetlinkFormatError', (_, raw) => {
    expect(() => table.read(source(Uint8Array.from(raw)), 0, raw.length)).toThrow(NetlinkFormatError);
  });

  test('fewer than four bytes at the end are padding', () => {
    expect(table.read(source(new Uint8Array(3)), 0, 3)).toEqual({});
  });
});

describe('fixed headers', () => {
  test('have the sizes C gives them', () => {
    expect([rtnl.ifinfomsg, rtnl.ifaddrmsg, rtnl.ndmsg, rtnl.rtmsg].map((h) => h.size)).toEqual([
      16, 8, 12, 12,
    ]);
  });

  test('missing fields are zero, padding is skipped', () => {
    const h = header('test', { a: codecs.u8, _: codecs.pad(3), b: codecs.s32 });
    const w = new Writer();
    h.write(w, { b: -2 });
    expect(hex(w.written())).toBe('00000000feffffff');
    expect(h.read(source(w.written()), 0, 8)).toEqual({ a: 0, b: -2 });
    expect(() => h.read(source(w.written()), 1, 8)).toThrow(NetlinkFormatError);
  });
});

describe('every rtnetlink table', () => {
  const tables: Record<string, Attributes<unknown>> = {
    IFLA: rtnl.IFLA,
    IFLA_VXLAN: rtnl.IFLA_VXLAN,
    IFLA_BR: rtnl.IFLA_BR,
    IFLA_TUN: rtnl.IFLA_TUN,
    IFA: rtnl.IFA,
    NDA: rtnl.NDA,
    RTA: rtnl.RTA,
    RTAX: rtnl.RTAX,
  };

  test.each(Object.entries(tables))('%s reads what it wrote', (_, table) => {
    fc.assert(
      fc.property(arbValues(table), (values) => {
        const w = new Writer();
        table.write(w, values);
        const bytes = w.written();
        expect(table.read(source(bytes), 0, bytes.length)).toEqual(values);
      }),
    );
  });

  test.each(Object.entries(tables))('%s reads any bytes to values or a NetlinkFormatError', (_, table) => {
    const read = (bytes: Uint8Array) => {
      try {
        table.read(source(bytes), 0, bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(NetlinkFormatError);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), read));
    // Random bytes fail at the first length; damaged messages get further.
    fc.assert(
      fc.property(arbValues(table), fc.nat(), fc.nat(255), fc.nat(), (values, where, byte, cut) => {
        const w = new Writer();
        table.write(w, values);
        const bytes = w.written().slice();
        fc.pre(bytes.length > 0);
        bytes[where % bytes.length] = byte;
        read(bytes);
        read(bytes.subarray(0, cut % bytes.length));
      }),
    );
  });
});
