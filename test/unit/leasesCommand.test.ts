import { link, mkdtemp, rename, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { controlSocket, getJson } from '../../src/api/client.ts';
import { NoDaemonError } from '../../src/api/faults.ts';
import type { LeasesJson } from '../../src/api/shapes.ts';
import { leases, leasesFromDaemon } from '../../src/cli/leases/list.ts';
import { paint } from '../../src/cli/paint.ts';
import { exitCodeOf } from '../../src/cli/program.ts';
import { renderLeases as render } from '../../src/cli/render/leases.ts';
import { table } from '../../src/cli/render.ts';
import { leasesOptions } from '../../src/config/commands.ts';
import { EXIT } from '../../src/contract.ts';
import { leaseJson, leasesJson } from '../../src/subnet/json.ts';
import type { LeaseSnapshot } from '../../src/subnet/types.ts';
import { type FakeIo, fakeIo } from '../fake/io.ts';
import { lease, peer, peerMac } from '../fake/overlay.ts';

const PLAIN = paint(false);
const renderLeases = (list: LeasesJson, networkBackend?: string): string =>
  render(list, { paint: PLAIN, networkBackend });

const NODE = '0123456789abcdef0123456789abcdef';

const ours = { ...peer(7, [4, 6], { node: NODE }), instance: 'fedcba9876543210' };
const reserved = { ...peer(200, [4], { backend: null }), etcdLease: 'reservation' as const, data: new Map() };
const SNAPSHOT: LeaseSnapshot = {
  epoch: 0,
  revision: 9_223_372_036_854_775_807n,
  leases: new Map([reserved, peer(9, [4], { backend: 'host-gw' }), ours].map((l) => [l.key, l])),
  setAside: new Map([['foo', 'it is not a subnet']]),
};

describe('a lease as JSON', () => {
  test('has every member of the contract', () => {
    expect(leaseJson(ours, true)).toEqual({
      key: '10.5.7.0-24&fd00:5:0:7::-64',
      subnets: ['10.5.7.0/24', 'fd00:5:0:7::/64'],
      publicIP: '192.0.2.7',
      publicIPv6: '2001:db8::7',
      backend: 'vxlan',
      data: { VNI: 1, VtepMAC: peerMac(7) },
      dataV6: { VNI: 1, VtepMAC: peerMac(7, 6) },
      node: NODE,
      instance: 'fedcba9876543210',
      reservation: false,
      etcdLease: '7587',
      createRevision: '7',
      modRevision: '7',
      self: true,
    });
  });

  test('has null for what is absent', () => {
    expect(leaseJson({ ...reserved, endpoints: new Map() }, false)).toMatchObject({
      publicIP: null,
      publicIPv6: null,
      backend: null,
      data: null,
      dataV6: null,
      node: null,
      instance: null,
      reservation: true,
      etcdLease: null,
      self: false,
    });
  });

  test('comes ordered by subnet, int64 numbers whole', () => {
    const list = leasesJson(SNAPSHOT, 'etcd', ours.key);
    expect(list.leases.map((l) => l.key)).toEqual([
      '10.5.7.0-24&fd00:5:0:7::-64',
      '10.5.9.0-24',
      '10.5.200.0-24',
    ]);
    expect(list.leases.map((l) => l.self)).toEqual([true, false, false]);
    expect(list.revision).toBe('9223372036854775807');
    expect(list.setAside).toEqual([{ key: 'foo', reason: 'it is not a subnet' }]);
    expect(JSON.parse(JSON.stringify(list))).toEqual(list);
  });
});

describe('the table', () => {
  test('of leases', async () => {
    await expect(renderLeases(leasesJson(SNAPSHOT, 'daemon', ours.key), 'udp')).toMatchFileSnapshot(
      'golden/cli-leases.txt',
    );
  });

  test.each([80, 60, 44])('in %d columns, subnets and addresses whole', async (columns) => {
    const list = leasesJson(SNAPSHOT, 'daemon', ours.key);
    const text = render(list, { paint: PLAIN, networkBackend: 'udp', columns });
    const lines = text.split('\n').slice(0, list.leases.length + 2);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    for (const { subnets, publicIP, publicIPv6 } of list.leases)
      for (const word of [...subnets, publicIP, publicIPv6])
        if (word !== null) expect(text.split(/[\s,]+/)).toContain(word);
    await expect(text).toMatchFileSnapshot(`golden/cli-leases-${columns}.txt`);
  });

  test('of no leases is a sentence', () => {
    const none = leasesJson(
      { epoch: 0, revision: 5n, leases: new Map(), setAside: new Map() },
      'etcd',
      undefined,
    );
    expect(renderLeases(none)).toBe('0 leases at revision 5, from etcd\n');
  });

  test('lets no control character through', () => {
    const evil = lease({
      subnets: ['10.5.9.0/24'],
      backend: '\u001b[2J\u202evxlan\n',
      node: '\u0000\u001b]0;x\u0007',
    });
    const setAside = new Map([['\u001b[31mkey', 'because\u001b[0m\nof that']]);
    const text = renderLeases(
      leasesJson(
        { epoch: 0, revision: 1n, leases: new Map([[evil.key, evil]]), setAside },
        'etcd',
        undefined,
      ),
    );
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(text.split('\n')).toHaveLength(5);
  });

  test('lines up', () =>
    expect(
      table([
        ['a', 'bb'],
        ['ccc', ''],
      ]),
    ).toBe('a    bb\nccc\n'));
});

describe('loden leases', () => {
  let runDir: string;
  let server: http.Server | undefined;
  let io: FakeIo;
  let printed: string[];
  const fromEtcd = async () => SNAPSHOT;
  const noEtcd = async () => {
    throw new Error('etcd was asked');
  };
  const options = (given: Record<string, string> = {}) =>
    leasesOptions(
      new Map(Object.entries({ 'run-dir': runDir, ...given }).map(([k, v]) => [k as 'json', [v]])),
      {},
    );

  const daemon = async (respond: http.RequestListener) => {
    server = http.createServer(respond);
    await new Promise<void>((resolve) => server!.listen(controlSocket(runDir), resolve));
  };
  const answering = (status: number, body: string) =>
    daemon((req, res) => res.writeHead(req.url === '/v1/leases' ? status : 500).end(body));

  beforeEach(async () => {
    runDir = await mkdtemp(join(tmpdir(), 'ld-leases-'));
    io = fakeIo();
    printed = io.printed;
  });
  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    server = undefined;
    await rm(runDir, { recursive: true });
  });

  test('asks the daemon, and not etcd where one runs', async () => {
    const list = leasesJson(SNAPSHOT, 'daemon', ours.key);
    await answering(200, JSON.stringify({ ...list, later: 'addition' }));
    expect(await leasesFromDaemon(runDir)).toMatchObject(list);
    await leases(options(), noEtcd, io);
    await leases(options({ json: 'true' }), noEtcd, io);
    expect(printed[0]).toBe(renderLeases(list));
    expect(JSON.parse(printed[1]!)).toMatchObject(list);
  });

  test('asks etcd where no daemon runs, or when told', async () => {
    await leases(options(), fromEtcd, io);
    await answering(500, '');
    await leases(options({ source: 'etcd', json: 'true' }), fromEtcd, io);
    expect(printed[0]).toMatch(/3 leases at revision 9223372036854775807, from etcd/);
    expect(JSON.parse(printed[1]!)).toEqual(leasesJson(SNAPSHOT, 'etcd', undefined));
  });

  test('says which socket nobody answers on', async () => {
    const failure = leases(options({ source: 'daemon' }), noEtcd, io);
    await expect(failure).rejects.toThrow(NoDaemonError);
    await expect(failure).rejects.toThrow(`no loden daemon answers on ${runDir}/loden.sock (connect ENOENT`);
    await failure.catch((e) => expect(exitCodeOf(e)).toBe(EXIT.unavailable));
  });

  test('a socket left behind is no daemon', async () => {
    await answering(200, '{}');
    // Closing removes the file; a hard link keeps one that nobody listens on, as after kill -9.
    const left = join(runDir, 'left');
    await link(controlSocket(runDir), left);
    server!.closeAllConnections();
    await new Promise<void>((resolve) => server!.close(() => resolve()));
    server = undefined;
    await rename(left, controlSocket(runDir));
    await leases(options(), fromEtcd, io);
    expect(printed[0]).toMatch(/from etcd/);
  });

  test.each([
    [
      'refuses',
      503,
      '{"error":{"code":"busy","message":"come back later"}}',
      /refuses \/v1\/leases: come back later/,
    ],
    ['refuses without a word', 503, '{}', /refuses \/v1\/leases: HTTP 503/],
    ['does not speak JSON', 200, '<html>', /is not JSON/],
    [
      'answers something else',
      200,
      '{"revision":"1","source":"daemon","leases":[{}],"setAside":[]}',
      /in another shape: leases\.0\./,
    ],
    ['answers null', 200, 'null', /in another shape/],
  ])('a daemon that %s is an error, not a reason to ask etcd', async (_, status, body, reason) => {
    await answering(status, body);
    await expect(leases(options(), noEtcd, io)).rejects.toThrow(reason);
    expect(printed).toEqual([]);
  });

  test('a daemon that says nothing, too much, or hangs up is given up', async () => {
    let behave: http.RequestListener = () => {};
    await daemon((req, res) => behave(req, res));
    await expect(getJson(runDir, '/v1/leases', { timeout: 50 })).rejects.toThrow(/no answer within 50 ms/);
    behave = (_, res) => void res.end('x'.repeat(2000));
    await expect(getJson(runDir, '/v1/leases', { largest: 1000 })).rejects.toThrow(/more than 1000 bytes/);
    behave = (_, res) => void res.destroy();
    await expect(getJson(runDir, '/v1/leases')).rejects.toThrow(/asking .*loden\.sock for \/v1\/leases: /);
    behave = (_, res) => {
      res.writeHead(200, { 'content-length': 100 });
      res.write('{');
      setTimeout(() => res.destroy(), 10);
    };
    await expect(getJson(runDir, '/v1/leases')).rejects.toThrow(/asking .*loden\.sock/);
  });
});
