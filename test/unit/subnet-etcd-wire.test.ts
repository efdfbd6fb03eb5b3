import { createRequire } from 'node:module';
import type { ServiceDefinition } from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseEndpoint } from '../../src/subnet/etcd/endpoint.ts';
import { storeError } from '../../src/subnet/etcd/faults.ts';
import { RangeReader } from '../../src/subnet/etcd/wire.ts';

const proto = protoLoader.loadSync(createRequire(import.meta.url).resolve('etcd3/proto/rpc.proto'), {
  keepCase: true,
  longs: String,
});
const { responseSerialize } = (proto['etcdserverpb.KV'] as ServiceDefinition).Range!;

const int64 = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n });
const keyValue = fc.record({
  key: fc.string({ minLength: 1, unit: 'grapheme' }),
  value: fc.string({ unit: 'grapheme', maxLength: 300 }),
  createRevision: int64,
  modRevision: int64,
  lease: int64,
});

function readAll(bytes: Uint8Array) {
  const reader = new RangeReader(bytes);
  const kvs = [];
  for (let kv = reader.next(); kv; kv = reader.next()) kvs.push(kv);
  return { revision: reader.header.revision, cluster: reader.header.cluster_id, kvs };
}

describe('the answer to a list', () => {
  it('is read key by key as protobuf.js would read it at once', () => {
    fc.assert(
      fc.property(
        fc.array(keyValue, { maxLength: 5 }),
        int64,
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        (kvs, revision, cluster) => {
          const bytes = responseSerialize({
            header: {
              cluster_id: String(cluster),
              member_id: '5',
              revision: String(revision),
              raft_term: '3',
            },
            kvs: kvs.map((kv) => ({
              key: Buffer.from(kv.key),
              value: Buffer.from(kv.value),
              create_revision: String(kv.createRevision),
              mod_revision: String(kv.modRevision),
              version: '4',
              lease: String(kv.lease),
            })),
            more: true,
            count: String(kvs.length),
          });
          expect(readAll(bytes)).toEqual({ revision: String(revision), cluster: String(cluster), kvs });
        },
      ),
    );
  });

  it('of nothing is read as nothing', () => {
    expect(readAll(new Uint8Array())).toEqual({ revision: '0', cluster: '0', kvs: [] });
  });

  it('that is garbage throws RangeError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          readAll(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 1_000 },
    );
    expect(() => readAll(Uint8Array.of(0x12, 0x7f, 0))).toThrow(RangeError);
    expect(() => readAll(new Uint8Array(20).fill(0xff))).toThrow(RangeError);
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
