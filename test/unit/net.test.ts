import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addr,
  addrBytes,
  addrFromBytes,
  bits,
  compareAddr,
  formatAddr,
  parseAddr,
  sameAddr,
} from '../../src/net/addr.ts';
import { localMac, mac, macBytes, macFromBytes, parseMac } from '../../src/net/mac.ts';
import {
  containsAddr,
  containsPrefix,
  everything,
  formatPrefix,
  hostPrefix,
  lastAddr,
  network,
  offset,
  overlaps,
  parsePrefix,
  prefix,
  samePrefix,
  size,
} from '../../src/net/prefix.ts';
import { scopeOf } from '../../src/net/scope.ts';
import { anyAddr, anyPrefix, crowdedPrefix } from '../fake/arbitraries.ts';

describe('an address', () => {
  test('survives text and bytes', () => {
    fc.assert(
      fc.property(anyAddr(), (a) => {
        expect(parseAddr(formatAddr(a))).toEqual(a);
        expect(addrFromBytes(addrBytes(a))).toEqual(a);
        expect(addrBytes(a)).toHaveLength(bits(a.family) / 8);
      }),
    );
  });

  test.each([
    ['10.5.0.1', '10.5.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['0.0.0.0', '0.0.0.0'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
    ['fd00:0:0:1::', 'fd00:0:0:1::'],
    ['::', '::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ])('%s is written %s', (text, canonical) => expect(formatAddr(addr(text))).toBe(canonical));

  test.each([
    '',
    '10',
    '10.5.0',
    '10.5.0.256',
    '10.5.0.01',
    '010.5.0.1',
    '10.5.0.1 ',
    '10.5.0.1.2',
    '0x0a.5.0.1',
    '1e1.5.0.1',
    '::1%eth0',
    ':::',
    '1::2::3',
    '12345::',
    '2001:db8',
    'g::',
    ':1:2:3:4:5:6:7',
    '１０.5.0.1',
    `${'0:'.repeat(30)}1`,
  ])('%j is none', (text) => {
    expect(parseAddr(text)).toBeUndefined();
    expect(() => addr(text)).toThrow(RangeError);
  });

  test('hostile text never throws', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'0123456789abcdef:./%x -') }),
        (s) => void parseAddr(s),
      ),
    );
  });

  test('equality and order follow family, then value', () => {
    fc.assert(
      fc.property(anyAddr(), anyAddr(), (a, b) => {
        expect(sameAddr(a, b)).toBe(a.family === b.family && a.value === b.value);
        expect(Math.sign(compareAddr(a, b))).toBe(-Math.sign(compareAddr(b, a)) + 0);
        expect(compareAddr(a, b) === 0).toBe(sameAddr(a, b));
        if (a.family !== b.family) expect(compareAddr(a, b)).toBe(a.family - b.family);
      }),
    );
    expect(sameAddr(undefined, undefined)).toBe(true);
    expect(sameAddr(undefined, addr('::'))).toBe(false);
    expect(sameAddr(addr('0.0.0.0'), addr('::'))).toBe(false);
  });

  test('of another length of bytes there is none', () => {
    for (const n of [0, 3, 5, 15, 17]) expect(() => addrFromBytes(new Uint8Array(n))).toThrow(RangeError);
  });
});

describe('a prefix', () => {
  test('survives text', () => {
    fc.assert(
      fc.property(anyPrefix(), (p) => {
        expect(parsePrefix(formatPrefix(p))).toEqual(p);
      }),
    );
  });

  test.each([
    '',
    '/',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '::/129',
    '10.0.0.0/ 8',
    '10.0.0.0/1e1',
  ])('%j is none', (text) => {
    expect(parsePrefix(text)).toBeUndefined();
    expect(() => prefix(text)).toThrow(RangeError);
  });

  test('holds its first and last address, and nothing beside them', () => {
    fc.assert(
      fc.property(anyPrefix(), (p) => {
        const net = network(p);
        const last = lastAddr(p);
        expect(containsAddr(p, p.addr)).toBe(true);
        expect(containsAddr(p, net.addr)).toBe(true);
        expect(containsAddr(p, last)).toBe(true);
        expect(last.value - net.addr.value + 1n).toBe(size(p));
        expect(samePrefix(network(net), net)).toBe(true);
        expect(lastAddr(net)).toEqual(last);
        if (net.addr.value > 0n) expect(containsAddr(p, offset(net.addr, -1n))).toBe(false);
        if (last.value + 1n < size(everything(p.addr.family)))
          expect(containsAddr(p, offset(last, 1n))).toBe(false);
      }),
    );
  });

  test('overlaps another exactly when they share an address', () => {
    fc.assert(
      fc.property(crowdedPrefix(4), crowdedPrefix(4), (a, b) => {
        const shared =
          network(a).addr.value <= lastAddr(b).value && network(b).addr.value <= lastAddr(a).value;
        expect(overlaps(a, b)).toBe(shared);
        const inside =
          network(a).addr.value <= network(b).addr.value && lastAddr(b).value <= lastAddr(a).value;
        expect(containsPrefix(a, b)).toBe(inside);
      }),
    );
  });

  test('never holds the other family', () => {
    expect(containsAddr(everything(4), addr('::'))).toBe(false);
    expect(overlaps(everything(4), everything(6))).toBe(false);
    expect(containsPrefix(everything(6), hostPrefix(addr('10.0.0.1')))).toBe(false);
  });

  test('arithmetic does not leave the address space', () => {
    expect(formatAddr(offset(addr('10.255.255.255'), 1n))).toBe('11.0.0.0');
    expect(() => offset(addr('255.255.255.255'), 1n)).toThrow(RangeError);
    expect(() => offset(addr('::'), -1n)).toThrow(RangeError);
    fc.assert(
      fc.property(anyAddr(6), fc.bigInt({ min: -1000n, max: 1000n }), (a, n) => {
        const value = a.value + n;
        fc.pre(value >= 0n && value < 1n << 128n);
        expect(offset(offset(a, n), -n)).toEqual(a);
      }),
    );
  });
});

describe('a MAC', () => {
  test('survives bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        expect(macBytes(macFromBytes(bytes))).toEqual(bytes);
        expect(parseMac(macFromBytes(bytes).toUpperCase())).toBe(macFromBytes(bytes));
        const [first] = macBytes(localMac(bytes));
        expect(first! & 0b11).toBe(0b10);
        expect(macBytes(localMac(bytes)).slice(1)).toEqual(bytes.slice(1));
      }),
    );
  });

  test.each([
    '',
    '00:00:00:00:00',
    '00:00:00:00:00:0g',
    '00-00-00-00-00-00',
    '0:0:0:0:0:0',
    '00:00:00:00:00:00:00',
    ' 00:00:00:00:00:00',
  ])('%j is none', (text) => {
    expect(parseMac(text)).toBeUndefined();
    expect(() => mac(text)).toThrow(RangeError);
  });
});

test.each([
  ['10.0.0.1', 'global'],
  ['100.64.0.1', 'global'],
  ['0.1.2.3', 'unspecified'],
  ['127.9.9.9', 'loopback'],
  ['169.254.1.1', 'link'],
  ['169.255.1.1', 'global'],
  ['223.255.255.255', 'global'],
  ['224.0.0.1', 'multicast'],
  ['239.255.255.255', 'multicast'],
  ['240.0.0.1', 'global'],
  ['255.255.255.255', 'broadcast'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['::2', 'global'],
  ['fe80::1', 'link'],
  ['febf:ffff::', 'link'],
  ['fec0::1', 'global'],
  ['fd00::1', 'global'],
  ['ff02::1', 'multicast'],
  ['2001:db8::1', 'global'],
])('%s has the scope %s', (text, scope) => expect(scopeOf(addr(text))).toBe(scope));
