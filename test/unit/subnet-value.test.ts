import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Addr, addr, type Family, formatAddr } from '../../src/net/addr.ts';
import type { LeaseAttrs, NodeId } from '../../src/subnet/types.ts';
import { decodeValue, encodeValue, MAX_VALUE } from '../../src/subnet/value.ts';

const endpoints = (...texts: string[]) => new Map<Family, Addr>(texts.map((t) => [addr(t).family, addr(t)]));
const data = (v4?: unknown, v6?: unknown) =>
  new Map<Family, unknown>([...(v4 ? [[4, v4] as const] : []), ...(v6 ? [[6, v6] as const] : [])]);
const node = '0123456789abcdef0123456789abcdef' as NodeId;
const vtep = { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' };

/** Byte for byte what flannel writes, but for the last row and its own member. */
const GOLDEN: readonly (readonly [string, LeaseAttrs, string])[] = [
  [
    'udp, alloc',
    { endpoints: endpoints('1.2.3.4'), data: data() },
    '{"PublicIP":"1.2.3.4","PublicIPv6":null}',
  ],
  [
    'host-gw',
    { endpoints: endpoints('1.2.3.4'), backend: 'host-gw', data: data() },
    '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"host-gw"}',
  ],
  [
    'vxlan',
    { endpoints: endpoints('192.168.64.3'), backend: 'vxlan', data: data(vtep) },
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
  ],
  [
    'vxlan, two families',
    { endpoints: endpoints('192.168.64.3', '2001:db8::3'), backend: 'vxlan', data: data(vtep, vtep) },
    '{"PublicIP":"192.168.64.3","PublicIPv6":"2001:db8::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
  ],
  [
    'IPv6 alone',
    { endpoints: endpoints('2001:db8::3'), backend: 'vxlan', data: data(undefined, vtep) },
    '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
  ],
  [
    'wireguard',
    { endpoints: endpoints('1.2.3.4'), backend: 'wireguard', data: data({ PublicKey: 'a+/=', Port: 51820 }) },
    '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"a+/=","Port":51820}}',
  ],
  [
    'our own member comes last',
    { endpoints: endpoints('1.2.3.4'), backend: 'host-gw', data: data(), node, instance: '0123456789abcdef' },
    `{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"host-gw","Loden":{"node":"${node}","instance":"0123456789abcdef"}}`,
  ],
];

describe('lease values', () => {
  it.each(GOLDEN)('%s', (_, attrs, text) => {
    expect(encodeValue(attrs)).toBe(text);
    expect(decodeValue(text)).toEqual({ attrs });
  });

  it.each([
    ['{"PublicIP":"1.2.3.4"}', 'a reservation made by hand'],
    ['{"PublicIP":"1.2.3.4","Later":{"a":[1]},"PublicIPv6":null}', 'unknown members'],
    ['{"PublicIP":"1.2.3.4","BackendData":null,"BackendType":""}', 'null and empty as absent'],
    [' {"PublicIP" : "1.2.3.4"} ', 'white space'],
  ])('reads %s (%s)', (text) => {
    expect(decodeValue(text)).toEqual({ attrs: { endpoints: endpoints('1.2.3.4'), data: data() } });
  });

  it('ignores what it does not know inside its own member', () => {
    const text = `{"PublicIP":"1.2.3.4","Loden":{"node":"${node}","zone":7,"instance":9}}`;
    expect(decodeValue(text)).toEqual({ attrs: { endpoints: endpoints('1.2.3.4'), data: data(), node } });
  });

  it.each([
    ['bar', 'not JSON'],
    ['', 'not JSON'],
    ['null', 'not a JSON object'],
    ['[]', 'not a JSON object'],
    ['"x"', 'not a JSON object'],
    ['{}', 'neither'],
    ['{"PublicIP":"0.0.0.0"}', 'neither'],
    ['{"publicip":"1.2.3.4"}', 'neither'],
    ['{"PublicIP":7}', 'PublicIP is not'],
    ['{"PublicIP":"1.2.3"}', 'PublicIP is not'],
    ['{"PublicIP":"::1"}', 'PublicIP is not'],
    ['{"PublicIP":"1.2.3.4","PublicIPv6":"1.2.3.4"}', 'PublicIPv6 is not'],
    ['{"PublicIP":"1.2.3.4","BackendType":3}', 'BackendType'],
    [`{"PublicIP":"1.2.3.4","BackendType":"${'x'.repeat(65)}"}`, 'BackendType'],
    [`{"PublicIP":"1.2.3.4","BackendData":${'['.repeat(20)}${']'.repeat(20)}}`, 'deeper'],
    [`{"PublicIP":"1.2.3.4","BackendData":${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}}`, 'deeper'],
    ['{"PublicIP":"1.2.3.4","Loden":7}', 'Loden'],
    ['{"PublicIP":"1.2.3.4","Loden":{}}', 'Loden'],
    ['{"PublicIP":"1.2.3.4","Loden":{"node":"XYZ"}}', 'Loden'],
    [`{"PublicIP":"1.2.3.4","x":"${'x'.repeat(MAX_VALUE)}"}`, 'limit'],
    ['{"__proto__":{"PublicIP":"1.2.3.4"}}', 'neither'],
  ])('sets %.60s aside', (text, reason) => {
    const parsed = decodeValue(text);
    expect('reason' in parsed && parsed.reason).toContain(reason);
  });

  it.each(['"__proto__"', '"\\u005f_proto__"'])('lets no member named %s through', (name) => {
    const parsed = decodeValue(`{"PublicIP":"1.2.3.4","BackendData":{"a":1,${name}:{"polluted":1}}}`);
    const got = 'attrs' in parsed ? parsed.attrs.data.get(4) : undefined;
    expect(Object.getOwnPropertyNames(got).includes('__proto__')).toBe(false);
    expect((Object.assign({}, got) as { polluted?: number }).polluted).toBeUndefined();
  });

  it('never throws, and keeps to its limits', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const parsed = decodeValue(text);
        expect('attrs' in parsed || parsed.reason.length < 300).toBe(true);
      }),
    );
  });

  it('reads back whatever it writes', () => {
    const hex = (n: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${n}}$`));
    const attrs = fc.record(
      {
        v4: fc.bigInt({ min: 1n, max: (1n << 32n) - 1n }),
        v6: fc.option(fc.bigInt({ min: 1n, max: (1n << 128n) - 1n })),
        backend: fc.option(fc.constantFrom('vxlan', 'host-gw', 'ipip', 'x')),
        VNI: fc.nat(),
        node: fc.option(hex(32)),
        instance: hex(16),
      },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(attrs, (a) => {
        const given: LeaseAttrs = {
          endpoints: new Map<Family, Addr>([
            [4, { family: 4, value: a.v4 }],
            ...(a.v6 ? [[6, { family: 6, value: a.v6 }] as const] : []),
          ]),
          data: data({ VNI: a.VNI }),
          ...(a.backend ? { backend: a.backend } : {}),
          ...(a.node ? { node: a.node as NodeId, instance: a.instance } : {}),
        };
        expect(decodeValue(encodeValue(given))).toEqual({ attrs: given });
      }),
    );
  });

  it('refuses to write more than anybody reads', () => {
    const attrs = { endpoints: endpoints('1.2.3.4'), data: data({ x: 'x'.repeat(MAX_VALUE) }) };
    expect(() => encodeValue(attrs)).toThrow(RangeError);
    expect(formatAddr(addr('1.2.3.4'))).toBe('1.2.3.4');
  });
});
