import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseEndpoint } from '../../src/subnet/etcd/endpoint.ts';
import { storeError } from '../../src/subnet/etcd/faults.ts';
import { bool, int64, many, message, one, text } from '../../src/subnet/etcd/protobuf.ts';
import { COMPARE, METHODS, RangeReader } from '../../src/subnet/etcd/rpc.ts';

const Inner = message({ name: text(1), id: int64(2) });
const Outer = message({ inner: one(3, Inner), all: many(11, Inner), flag: bool(16), n: int64(5) });
const int = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
const inner = fc.record({ name: fc.string({ unit: 'grapheme' }), id: int }, { noNullPrototype: true });
const outer = fc.record(
  {
    inner: fc.option(inner, { nil: undefined }),
    all: fc.array(inner, { maxLength: 4 }),
    flag: fc.boolean(),
    n: int,
  },
  { noNullPrototype: true },
);
const hex = (bytes: Buffer) => bytes.toString('hex');

describe('messages', () => {
  // The first two are those of protobuf.dev/programming-guides/encoding.
  it('are written as others write them', () => {
    expect(hex(message({ a: int64(1) }).encode({ a: 150n }))).toBe('089601');
    expect(hex(message({ b: text(2) }).encode({ b: 'testing' }))).toBe('120774657374696e67');
    expect(hex(message({ n: int64(1) }).encode({ n: -1n }))).toBe('08ffffffffffffffffff01');
    expect(hex(Outer.encode({ flag: true, inner: {}, all: [{ id: 1n }] }))).toBe('1a005a021001800101');
    expect(hex(Outer.encode({ flag: false, n: 0n, all: [], inner: undefined }))).toBe('');
  });

  it('are read back whatever they say', () => {
    fc.assert(
      fc.property(outer, (value) => {
        expect(Outer.decode(Outer.encode(value))).toEqual(value);
      }),
    );
  });

  it('are read past fields nobody knows', () => {
    const Newer = message({
      name: text(1),
      id: int64(2),
      later: text(3),
      more: int64(4),
      nested: one(5, Inner),
    });
    const bytes = Newer.encode({ name: 'x', later: 'y', more: 7n, id: 9n, nested: { id: 1n } });
    const fixed = Buffer.from([(6 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8, (7 << 3) | 5, 1, 2, 3, 4]);
    expect(Inner.decode(Buffer.concat([bytes, fixed]))).toEqual({ name: 'x', id: 9n });
  });

  it('that are garbage throw RangeError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          METHODS.watch.response.decode(Buffer.from(bytes));
          readAll(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 1_000 },
    );
    expect(() => readAll(Buffer.of(0x12, 0x7f, 0))).toThrow(RangeError);
    expect(() => readAll(Buffer.alloc(20, 0xff))).toThrow(RangeError);
    expect(() => Inner.decode(Buffer.of(0x08, 0x80))).toThrow(RangeError);
  });
});

const keyValue = fc.record(
  {
    key: fc.string(),
    create_revision: int,
    mod_revision: int,
    value: fc.string({ maxLength: 300 }),
    lease: int,
  },
  { noNullPrototype: true },
);

function readAll(bytes: Buffer) {
  const reader = new RangeReader(bytes);
  const kvs = [];
  for (let kv = reader.next(); kv; kv = reader.next()) kvs.push(kv);
  return { header: reader.header, kvs };
}

describe('the answer to a list', () => {
  it('is read key by key', () => {
    const header = { cluster_id: -3n, revision: 77n };
    const response = METHODS.txn.response;
    fc.assert(
      fc.property(fc.array(keyValue, { maxLength: 5 }), (kvs) => {
        // A list inside a transaction is the same message: its field 1, length-delimited, follows three bytes of frame.
        const whole = response.encode({ responses: [{ response_range: { header, kvs } }] });
        const inner = unwrap(unwrap(whole));
        expect(readAll(inner)).toEqual({ header, kvs });
      }),
    );
  });

  it('of nothing is read as nothing', () => {
    expect(readAll(Buffer.alloc(0))).toEqual({ header: { cluster_id: 0n, revision: 0n }, kvs: [] });
  });
});

/** The bytes of a message whose only field is length-delimited. */
function unwrap(bytes: Buffer): Buffer {
  let at = 1;
  while (bytes[at]! >= 0x80) at++;
  return bytes.subarray(at + 1);
}

describe('requests', () => {
  it('to etcd keep to its numbers', () => {
    const txn = METHODS.txn.request.encode({
      compare: [
        { target: COMPARE.mod, key: 'k', mod_revision: 5n },
        { target: COMPARE.version, key: 'k', version: 0n },
      ],
      success: [
        { request_put: { key: 'k', value: 'v', lease: 7n, ignore_lease: true } },
        { request_delete_range: { key: 'k' } },
      ],
      failure: [{ request_range: { key: 'k', range_end: 'l' } }],
    });
    expect(hex(txn)).toBe(
      '0a0710021a016b3005' +
        '0a031a016b' +
        '120c120a0a016b120176180730' +
        '01' +
        '12051a030a016b' +
        '1a080a060a016b12016c',
    );
    const watch = METHODS.watch.request.encode({
      create_request: { key: 'a', range_end: 'b', start_revision: 3n, fragment: true },
    });
    expect(hex(watch)).toBe('0a0a0a016112016218034001');
    expect(METHODS.leaseKeepAlive.path).toBe('/etcdserverpb.Lease/LeaseKeepAlive');
    expect(METHODS.leaseKeepAlive.name).toBe('Lease.leaseKeepAlive');
  });
});

describe('an endpoint', () => {
  it.each([
    ['http://127.0.0.1:4001', { host: '127.0.0.1', port: '4001', family: 4, isHttps: false }],
    ['http://127.0.0.1:80/', { host: '127.0.0.1', port: '80', family: 4, isHttps: false }],
    ['https://etcd.example', { host: 'etcd.example', port: '2379', family: undefined, isHttps: true }],
    ['https://[2001:db8::1]:443', { host: '2001:db8::1', port: '443', family: 6, isHttps: true }],
    ['10.0.0.1:2379', { host: '10.0.0.1', port: '2379', family: 4, isHttps: false }],
  ])('%s', (text, parsed) => {
    expect(parseEndpoint(text)).toEqual(parsed);
  });

  it.each(['', 'gopher://x', 'http://', 'http://a b'])('%j is refused', (text) => {
    expect(() => parseEndpoint(text)).toThrow(/--etcd-endpoints/);
  });
});

describe('what etcd and gRPC say', () => {
  it.each([
    [
      14,
      'No connection established. Last error: connect ECONNREFUSED 127.0.0.1:1 (2026-01-01T00:00:00Z). Resolution note: ',
      'unavailable',
      'connection refused',
    ],
    [4, 'Deadline exceeded after 5.000s', 'unavailable', 'no answer within 5 s'],
    [14, 'etcdserver: no leader', 'unavailable', 'etcdserver: no leader'],
    [7, 'etcdserver: permission denied', 'unauthorized', 'permission denied; check --etcd-username'],
    [
      3,
      'etcdserver: authentication failed, invalid user ID or password',
      'unauthorized',
      'authentication failed',
    ],
    [16, 'etcdserver: invalid auth token', 'unauthorized', 'invalid auth token'],
    [11, 'etcdserver: mvcc: required revision has been compacted', 'compacted', 'compacted'],
    [5, 'etcdserver: requested lease not found', 'lease-lost', 'lease not found'],
    [8, 'etcdserver: mvcc: database space exceeded', 'unavailable', 'space exceeded'],
  ])('%i %s is %s', (code, details, fault, words) => {
    const error = storeError({ code, details, message: details }, 'http://e:1', 'KV.range', 5_000);
    expect(error.fault).toBe(fault);
    expect(error.message).toMatch(/^etcd at http:\/\/e:1: KV\.range: /);
    expect(error.message).toContain(words);
  });
});
