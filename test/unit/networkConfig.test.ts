import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { EXIT } from '../../src/contract.ts';
import { ConfigError } from '../../src/errors.ts';
import { show } from '../../src/fields.ts';
import { type Addr, bits, type Family, formatAddr } from '../../src/net/addr.ts';
import { containsAddr, formatPrefix, network } from '../../src/net/prefix.ts';
import { anyPrefix } from '../fake/arbitraries.ts';

const ALLOC = { Backend: { Type: 'alloc' } };
const parse = (config: object) => parseNetworkConfig(JSON.stringify({ ...ALLOC, ...config }));

/** A family in words: network, length, first and last subnet. */
function range(config: object, family: Family) {
  const f = parse(config).families.get(family)!;
  return [formatPrefix(f.network), f.subnetLen, formatAddr(f.min), formatAddr(f.max)];
}

/** `path: expected; got`, for each problem. */
function problems(config: object | string): string[] {
  try {
    if (typeof config === 'string') parseNetworkConfig(config);
    else parse(config);
  } catch (e) {
    expect(e).toBeInstanceOf(ConfigError);
    expect((e as ConfigError).exitCode).toBe(EXIT.config);
    return (e as ConfigError).problems.map((p) => `${p.path}: ${p.expected}; ${p.got}`);
  }
  throw new Error('nothing was wrong');
}

const V6 = { EnableIPv4: false, EnableIPv6: true };

describe('the default range of', () => {
  test.each([
    ['10.3.0.0/16', 24, '10.3.1.0', '10.3.255.0'],
    ['10.0.0.0/8', 24, '10.0.1.0', '10.255.255.0'],
    ['10.3.4.0/22', 24, '10.3.5.0', '10.3.7.0'],
    ['10.3.4.0/23', 25, '10.3.4.128', '10.3.5.128'],
    ['10.3.4.0/24', 26, '10.3.4.64', '10.3.4.192'],
    ['10.3.4.16/28', 30, '10.3.4.20', '10.3.4.28'],
    // Host bits are dropped, as Go's ParseCIDR drops them.
    ['10.3.4.5/16', 24, '10.3.1.0', '10.3.255.0'],
  ])('%s is /%d from %s to %s', (net, len, min, max) => {
    expect(range({ Network: net }, 4).slice(1)).toEqual([len, min, max]);
  });

  test.each([
    ['fc00::/48', 64, 'fc00:0:0:1::', 'fc00:0:0:ffff::'],
    ['fd00:5::/62', 64, 'fd00:5:0:1::', 'fd00:5:0:3::'],
    ['fd00:5::/64', 66, 'fd00:5:0:0:4000::', 'fd00:5:0:0:c000::'],
    ['fd00:5::/124', 126, 'fd00:5::4', 'fd00:5::c'],
  ])('%s is /%d from %s to %s', (net, len, min, max) => {
    expect(range({ ...V6, IPv6Network: net }, 6).slice(1)).toEqual([len, min, max]);
  });
});

describe('families', () => {
  const both = { Network: '10.3.0.0/16', IPv6Network: 'fc00::/48' };
  test.each([
    [{}, [4]],
    [{ EnableIPv6: true }, [4, 6]],
    [{ EnableIPv4: false, EnableIPv6: true }, [6]],
    [{ EnableIPv4: true, EnableIPv6: false }, [4]],
    [{ EnableIPv4: null }, [4]],
  ])('%j are %j', (switches, families) => {
    expect([...parse({ ...both, ...switches }).families.keys()]).toEqual(families);
  });

  test('none is a problem', () => {
    expect(problems({ ...both, EnableIPv4: false })).toEqual([
      'EnableIPv4: true, unless EnableIPv6 is true; false',
    ]);
  });

  test('one that is off needs no network, and a senseless range does no harm there', () => {
    expect(parse({ Network: '10.3.0.0/16', IPv6SubnetLen: 3, IPv6SubnetMin: '::9' }).families.has(6)).toBe(
      false,
    );
  });
});

describe('what flannel refuses is refused, and said', () => {
  test.each([
    [{}, /^Network: a correct Network parameter in the flannel config, .*; nothing$/],
    [{ Network: '0.0.0.0/0' }, /^Network: a correct Network parameter/],
    [{ Network: '0.0.0.0/8', SubnetLen: 31 }, /^SubnetLen: less than \/31/],
    [
      { Network: '10.3.0.0/16', SubnetLen: 17 },
      /^SubnetLen: .*must be able to accommodate at least four subnets/,
    ],
    [{ Network: '10.3.0.0/29' }, /^Network: .*minimum useful network prefix is \/28.*; "10\.3\.0\.0\/29"$/],
    [
      { Network: '10.3.0.0/16', SubnetMin: '10.4.0.0' },
      /^SubnetMin: an address in the range of the Network 10\.3\.0\.0\/16; "10\.4\.0\.0"$/,
    ],
    [
      { Network: '10.3.0.0/16', SubnetMax: '10.2.255.0' },
      /^SubnetMax: an address in the range of the Network/,
    ],
    [
      { Network: '10.3.0.0/16', SubnetMin: '10.3.1.1' },
      /^SubnetMin: an address on a SubnetLen boundary \(\/24\); "10\.3\.1\.1"$/,
    ],
    [{ Network: '10.3.0.0/16', SubnetMax: '10.3.9.128' }, /^SubnetMax: an address on a SubnetLen boundary/],
    [
      { Network: '10.3.0.0/16', SubnetMin: '10.3.9.0', SubnetMax: '10.3.8.0' },
      /^SubnetMin: an address not after SubnetMax/,
    ],
    [{ ...V6 }, /^IPv6Network: a correct IPv6Network parameter/],
    [{ ...V6, IPv6Network: 'fc00::/48', IPv6SubnetLen: 127 }, /^IPv6SubnetLen: less than \/127/],
    [{ ...V6, IPv6Network: 'fc00::/48', IPv6SubnetLen: 49 }, /^IPv6SubnetLen: .*at least four subnets/],
    [{ ...V6, IPv6Network: 'fc00::/125' }, /^IPv6Network: .*minimum useful network prefix is \/124/],
    [
      { ...V6, IPv6Network: 'fc00::/48', IPv6SubnetMin: 'fd00::' },
      /^IPv6SubnetMin: an address in the range of the IPv6Network/,
    ],
    [
      { ...V6, IPv6Network: 'fc00::/48', IPv6SubnetMax: 'fc00::1' },
      /^IPv6SubnetMax: an address on a IPv6SubnetLen boundary/,
    ],
  ])('%j', (config, expected) => {
    expect(problems(config)).toEqual([expect.stringMatching(expected)]);
  });

  test('all at once', () => {
    const found = problems({
      Network: 'fc00::/48',
      SubnetLen: '24',
      SubnetMin: 5,
      EnableIPv6: 'yes',
      EnableNFTables: 1,
      network: '10.0.0.0/8',
      Backend: { Type: 'vxlan', VNI: 'x', Port: 70000, Typo: true },
    });
    expect(found.map((p) => p.split(':')[0])).toEqual([
      ...['network', 'EnableIPv6', 'Network', 'SubnetLen', 'SubnetMin', 'EnableNFTables'],
      ...['Backend.Port', 'Backend.VNI'],
    ]);
  });
});

describe('the backend', () => {
  const NET = { Network: '10.3.0.0/16' };
  test('is found in any case, with its options as written', () => {
    const config = parseNetworkConfig('{"NETWORK":"10.3.0.0/16","backend":{"TYPE":"VXLAN","vni":7}}');
    expect(config.backend).toEqual({ type: 'vxlan', options: { TYPE: 'VXLAN', vni: 7 } });
  });

  test.each([
    ['none at all', '{"Network":"10.3.0.0/16"}'],
    ['null', '{"Network":"10.3.0.0/16","Backend":null}'],
    ['named', '{"Network":"10.3.0.0/16","Backend":{"Type":"UDP"}}'],
  ])('is udp when it is %s', (_, text) => {
    expect(parseNetworkConfig(text).backend.type).toBe('udp');
  });

  test.each([
    [
      'wireguard',
      JSON.stringify({ ...NET, Backend: { Type: 'WireGuard', PSK: 'secret' } }),
      /"wireguard", which is not available/,
    ],
    [
      'an unknown one',
      JSON.stringify({ ...NET, Backend: { Type: 'carrier-pigeon' } }),
      /; "carrier-pigeon"$/,
    ],
    ['no type', JSON.stringify({ ...NET, Backend: {} }), /^Backend\.Type: .*; nothing$/],
    ['a number for a type', JSON.stringify({ ...NET, Backend: { Type: 5 } }), /^Backend\.Type: .*; 5$/],
    ['text', JSON.stringify({ ...NET, Backend: 'vxlan' }), /^Backend: a JSON object; "vxlan"$/],
    ['a list', JSON.stringify({ ...NET, Backend: [] }), /^Backend: a JSON object; \[\]$/],
  ])('%s is a problem', (_, text, expected) => {
    expect(problems(text)).toEqual([expect.stringMatching(expected)]);
  });
});

describe('hostile text', () => {
  test.each(['', ' ', 'null', '5', '"x"', '[]', '{', '{"Network":"10.0.0.0/8"', '{"a":1,}', 'NaN'])(
    '%j is a problem',
    (text) => {
      expect(problems(text)).toHaveLength(1);
    },
  );

  test('too much of it is not even parsed', () => {
    expect(problems(`{"Network":"${'1'.repeat(70_000)}"}`)[0]).toMatch(
      /^config: at most 65536 characters; 70014$/,
    );
  });

  test('nested as deep as it fits is refused, not followed', () => {
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
    expect(problems(`{"Network":${deep},"Backend":{"Type":"alloc"}}`)[0]).toMatch(/^Network: /);
    expect(problems(`{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan","VNI":${deep}}}`)[0]).toMatch(
      /^Backend\.VNI: /,
    );
  });

  test('keys of the prototype are keys like others', () => {
    const text =
      '{"__proto__":{"Network":"10.0.0.0/8"},"constructor":1,"Backend":{"Type":"alloc","__proto__":{"x":1}}}';
    expect(problems(text)).toEqual([expect.stringMatching(/^Network: .*; nothing$/)]);
    expect(({} as { Network?: unknown }).Network).toBeUndefined();
  });

  test('a key twice in different case is a problem, whatever the values', () => {
    expect(problems('{"Network":"10.3.0.0/16","NetWork":"10.3.0.0/16","Backend":{"Type":"alloc"}}')).toEqual([
      'NetWork: each key once (upper and lower case are the same); also "Network"',
    ]);
  });

  test('what cannot be parsed is not quoted: it may hold a key', () => {
    expect(problems('{"Backend":{"PSK":"c2VjcmV0"')[0]).not.toContain('c2VjcmV0');
    expect(problems('{"Backend":{"PSK":c2VjcmV0}}')[0]).not.toContain('c2VjcmV0');
    // Valid JSON, and still a key in the wrong place.
    expect(problems('"c2VjcmV0"')).toEqual(['config: a JSON object; a string']);
    expect(problems('["c2VjcmV0"]')).toEqual(['config: a JSON object; a list']);
    expect(problems('4711')).toEqual(['config: a JSON object; a number']);
    expect(problems('null')).toEqual(['config: a JSON object; null']);
  });

  test('unknown keys at the top are reported, not refused', () => {
    expect(parse({ Network: '10.3.0.0/16', FutureThing: 1, comment: 'x' }).unknownKeys).toEqual([
      'FutureThing',
      'comment',
    ]);
  });

  test('of any kind gives a config or problems', () => {
    const keys = [
      'Network',
      'SubnetLen',
      'SubnetMin',
      'SubnetMax',
      'EnableIPv4',
      'EnableIPv6',
      'IPv6Network',
      'IPv6SubnetLen',
      'Backend',
    ];
    const value = fc.oneof(
      fc.jsonValue(),
      anyPrefix().map(formatPrefix),
      anyPrefix().map((p) => formatAddr(p.addr)),
      fc.integer({ min: -1, max: 130 }),
      fc.boolean(),
      fc.record({ Type: fc.constantFrom('vxlan', 'alloc', 'host-gw', 'udp') }),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), value), (config) => {
        try {
          parseNetworkConfig(JSON.stringify(config));
        } catch (e) {
          expect(e).toBeInstanceOf(ConfigError);
          expect((e as ConfigError).problems.length).toBeGreaterThan(0);
        }
      }),
    );
  });
});

test('a range that is accepted is aligned, ordered, inside the network, and has room for its subnets', () => {
  const aligned = (a: Addr, len: number) => network({ addr: a, len }).addr.value === a.value;
  fc.assert(
    fc.property(anyPrefix(), fc.option(fc.integer({ min: 1, max: 128 }), { nil: undefined }), (p, len) => {
      const v6 = p.addr.family === 6;
      const config = v6
        ? { ...V6, IPv6Network: formatPrefix(p), IPv6SubnetLen: len }
        : { Network: formatPrefix(p), SubnetLen: len };
      let f: ReturnType<typeof parse>['families'];
      try {
        f = parse(config).families;
      } catch (e) {
        const tooLong = (len ?? 0) > bits(p.addr.family) - 2 || p.len > bits(p.addr.family) - 4;
        expect(tooLong || (len !== undefined && len < p.len + 2) || p.len === 0).toBe(true);
        expect(e).toBeInstanceOf(ConfigError);
        return;
      }
      const { network: net, subnetLen, min, max } = f.get(p.addr.family)!;
      expect([containsAddr(net, min), containsAddr(net, max)]).toEqual([true, true]);
      expect([aligned(min, subnetLen), aligned(max, subnetLen)]).toEqual([true, true]);
      expect(min.value).toBeLessThan(max.value);
      expect(subnetLen).toBe(len ?? subnetLen);
    }),
  );
});

test('values in messages are cut to a readable length', () => {
  expect(show('x'.repeat(1000)).length).toBeLessThan(120);
  expect(show(undefined)).toBe('nothing');
});
