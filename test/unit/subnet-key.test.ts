import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bits, type Family } from '../../src/net/addr.ts';
import { formatPrefix, network, type Prefix, prefix } from '../../src/net/prefix.ts';
import { formatKey, parseKey } from '../../src/subnet/key.ts';

const subnet = (family: Family): fc.Arbitrary<Prefix> =>
  fc
    .tuple(
      fc.bigInt({ min: 0n, max: (1n << BigInt(bits(family))) - 1n }),
      fc.integer({ min: 1, max: bits(family) }),
    )
    .map(([value, len]) => network({ addr: { family, value }, len }));

describe('subnet keys', () => {
  it.each([
    [['10.1.5.0/24'], '10.1.5.0-24'],
    [['10.12.13.0/24', 'fd00:12:13::/56'], '10.12.13.0-24&fd00:12:13::-56'],
    [['fd00:12:13::/56', '10.12.13.0/24'], '10.12.13.0-24&fd00:12:13::-56'],
    [['fd00:12:13::/56'], '0.0.0.0-0&fd00:12:13::-56'],
    [['10.1.5.7/24'], '10.1.5.0-24'],
    [['10.1.5.7/32'], '10.1.5.7-32'],
  ])('%j is written %s', (subnets, key) => {
    expect(formatKey(subnets.map(prefix))).toBe(key);
  });

  it.each([
    ['10.1.5.0-24', ['10.1.5.0/24']],
    ['10.12.13.0-24&fd00:12:13::-56', ['10.12.13.0/24', 'fd00:12:13::/56']],
    ['0.0.0.0-0&fd00:12:13::-56', ['fd00:12:13::/56']],
  ])('%s is read', (text, subnets) => {
    const parsed = parseKey(text);
    expect('key' in parsed && [parsed.key, parsed.subnets.map(formatPrefix)]).toEqual([text, subnets]);
  });

  // The first twelve are those flannel's own tests reject.
  it.each([
    '10',
    '10.12.13.0',
    '10.12.13-24',
    '10.12.13.300-24',
    '10.12.13.0-24hi',
    '&2001::-56',
    '10.12.13.0-24&:12:13:-56',
    '10.12.13.0-24&20011::-56',
    '10.12.13.0-24&2001-56',
    '10.12.13.0-24&2001::',
    '10.12.13.0-24&2001::-56hi',
    'foo',
    '',
    '-',
    '&',
    '10.12.13.0-33',
    '10.12.13.0-24&2001::-129',
    '10.12.13.0-024',
    '010.12.13.0-24',
    '10.12.13.0-24&FD00::-56',
    '10.12.13.0-24&fd00:0:0:0::-56',
    '10.12.13.0-24&fd00::-56&fd01::-56',
    '10.12.13.0-24&10.12.14.0-24',
    '10.12.13.0-24&::ffff:10.0.0.0-120',
    'fd00:12:13::-56',
    '0.0.0.0-0',
    '10.0.0.0-0',
    '0.0.0.0-0&::-0',
    'x10.12.13.0-24',
    '10.12.13.0-24\n',
    '10.12.13.0-24/',
    '__proto__',
    '1'.repeat(100_000),
  ])('%s is rejected', (text) => {
    expect(parseKey(text)).toHaveProperty('reason');
  });

  it.each([
    ['10.1.5.7-24', ['10.1.5.0/24']],
    ['10.1.5.0-24&fd00:1:2:3::-56', ['10.1.5.0/24', 'fd00:1:2::/56']],
    ['10.1.5.0-24&FD00::-56', ['10.1.5.0/24']],
    ['10.1.5.0-24&junk', ['10.1.5.0/24']],
    ['foo', []],
  ])('%s is rejected, but occupies %j', (text, occupies) => {
    const parsed = parseKey(text);
    expect('reason' in parsed && parsed.occupies.map(formatPrefix)).toEqual(occupies);
  });

  it('reads back whatever it writes', () => {
    const subnets = fc.oneof(
      fc.tuple(subnet(4)),
      fc.tuple(subnet(6)),
      fc.tuple(subnet(4), subnet(6)),
    ) as fc.Arbitrary<readonly Prefix[]>;
    fc.assert(
      fc.property(subnets, (s) => {
        const key = formatKey(s);
        expect(parseKey(key)).toEqual({ key, subnets: s });
      }),
    );
  });

  it('accepts only what it would write, and never throws', () => {
    const part = fc.stringMatching(/^[0-9a-f.:]{0,12}-[0-9]{0,3}$/);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          part,
          fc.tuple(part, part).map((p) => p.join('&')),
        ),
        (text) => {
          const parsed = parseKey(text);
          if ('key' in parsed) expect(formatKey(parsed.subnets)).toBe(text);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('refuses to write two subnets of one family, or none', () => {
    expect(() => formatKey([prefix('10.1.0.0/24'), prefix('10.2.0.0/24')])).toThrow(RangeError);
    expect(() => formatKey([])).toThrow(RangeError);
  });
});
