import { chmodSync, chownSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ConfigJson, EventsJson, ObjectsJson, PeersJson, StatusJson } from '../../src/api/shapes.ts';
import { DEFAULTS, FILES, KEYS } from '../../src/contract.ts';
import { type Asking, ask } from '../support/ask.ts';
import { Cluster } from '../support/cluster.ts';
import { EventStream } from '../support/eventStream.ts';
import type { Host } from '../support/host.ts';
import { OpenApi } from '../support/openapi.ts';
import { ping } from '../support/ping.ts';
import { run, until } from '../support/proc.ts';

const api = new OpenApi();
const socketOf = (host: Host): string => join(host.runDir, FILES.controlSocket);

/** Asks, and holds the answer against the document. `path` as documented; `real` with parameters and query filled in. */
async function held(host: Host, method: string, path: string, real = path, asking: Asking = {}) {
  const told = await ask(socketOf(host), real, { method, ...asking });
  expect(api.problems(method, path, told.status, told.headers['content-type'] ?? '', told.body)).toEqual([]);
  return told;
}

const NOT_HERE = new Set(['page', 'pageFile', 'pageAsset', 'cni', 'eventStream']);

/** Every documented resource that only reads, as it is and with parameters that are wrong. */
async function readsAll(host: Host): Promise<Map<string, string>> {
  const bodies = new Map<string, string>();
  for (const { path, method, operation } of api.operations) {
    if (method !== 'GET' || NOT_HERE.has(operation.operationId)) continue;
    const { lease } = await host.get<StatusJson>('/v1/status');
    const real = path.replace('{key}', encodeURIComponent(lease.lease!.key));
    const told = await held(host, method, path, real);
    expect([real, told.status]).toEqual([real, 200]);
    bodies.set(operation.operationId, told.body);
    if (path.includes('{')) {
      expect((await held(host, method, path, path.replace(/\{\w+\}/, 'nothing'))).status).toBe(404);
      expect((await held(host, method, path, path.replace(/\{\w+\}/, '%ff'))).status).toBe(400);
    }
    for (const { name, in: place } of operation.parameters ?? []) {
      if (place !== 'query') continue;
      expect((await held(host, method, path, `${path}?${name}=no%00thing`)).status).toBe(400);
    }
    const other = await ask(socketOf(host), real, { method: 'PATCH' });
    expect([other.status, other.headers.allow]).toEqual([405, expect.stringContaining('GET, HEAD')]);
    const head = await ask(socketOf(host), real, { method: 'HEAD' });
    expect([head.status, head.body]).toEqual([200, '']);
  }
  return bodies;
}

test('a running daemon answers as docs/openapi.json says: vxlan, two families, pods, failures', async () => {
  await using cluster = await Cluster.create({ families: [4, 6], args: ['--probe-interval', '500ms'] });
  const [host, other] = [await cluster.addHost(), await cluster.addHost()];
  await Promise.all([host.start(), other.start()]);
  await host.workload();
  // A route of somebody else's in the place of a peer's, a lease that cannot be served, and a key that is none.
  await host.netns.ip('route add 10.42.77.0/24 dev lo');
  await cluster.etcd.put(
    `${DEFAULTS.etcdPrefix}/subnets/10.42.77.0-24`,
    '{"PublicIP":"192.0.2.200","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:77"}}',
  );
  await cluster.etcd.put(
    `${DEFAULTS.etcdPrefix}/subnets/10.42.255.0-24`,
    '{"PublicIP":"127.0.0.1","BackendType":"vxlan"}',
  );
  await cluster.etcd.put(`${DEFAULTS.etcdPrefix}/subnets/garbage`, '{');
  const own = (await host.get<StatusJson>('/v1/status')).lease.lease!.key;
  await until('all of it to be told', async () => {
    const { peers } = await host.get<PeersJson>('/v1/peers');
    const { kernel } = await host.get<StatusJson>('/v1/status');
    return (
      kernel.conflicts.length > 0 &&
      peers.some((p) => p.problem !== null) &&
      peers.some((p) => p.paths.length === 2)
    );
  });
  await until('the peer to be probed', async () => {
    const { peers } = await host.get<PeersJson>('/v1/peers');
    return peers.some((p) => p.paths.length === 2 && p.paths.every((path) => path.health === 'reachable'));
  });
  const bodies = await readsAll(host);
  expect([...bodies.keys()].sort()).toEqual(
    api.operations
      .filter(({ method, operation }) => method === 'GET' && !NOT_HERE.has(operation.operationId))
      .map(({ operation }) => operation.operationId)
      .sort(),
  );

  // What is documented is also what is so.
  const status = JSON.parse(bodies.get('status')!) as StatusJson;
  expect(status).toMatchObject({ ready: true, setAside: 1, lease: { state: 'held', lease: { key: own } } });
  const { objects } = JSON.parse(bodies.get('objects')!) as ObjectsJson;
  expect(objects.filter((o) => o.kind === 'route' && o.state === 'inSync')).toHaveLength(2);
  expect(objects.filter((o) => o.state !== 'inSync')).toEqual([
    {
      kind: 'route',
      object: expect.stringContaining('10.42.77.0/24'),
      state: 'conflict',
      error: expect.stringContaining('lo'),
    },
  ]);
  const found = await host.get<ObjectsJson>('/v1/objects?state=conflict&kind=route');
  expect(found.objects).toEqual(objects.filter((o) => o.state === 'conflict'));
  expect((await host.get<ObjectsJson>('/v1/objects?state=conflict&kind=fdb')).objects).toEqual([]);
  const { events } = JSON.parse(bodies.get('events')!) as EventsJson;
  expect(events).toContainEqual(
    expect.objectContaining({
      kind: 'kernel',
      level: 'warn',
      message: expect.stringContaining('in conflict with'),
    }),
  );
  expect(events).toContainEqual(
    expect.objectContaining({ kind: 'peer', level: 'warn', subject: '10.42.255.0-24' }),
  );
  const peers = JSON.parse(bodies.get('peers')!) as PeersJson;
  expect(peers.peers).toHaveLength(3);
  expect(peers.peers.map((p) => p.key)).not.toContain(own);
  const config = JSON.parse(bodies.get('config')!) as ConfigJson;
  expect(config.options.find((o) => o.name === 'probe-interval')).toEqual({
    name: 'probe-interval',
    origin: 'flag',
    from: '--probe-interval',
    values: ['500ms'],
  });
  expect(config.network).toMatchObject({
    inForce: true,
    problem: null,
    config: { Backend: { Type: 'vxlan' } },
  });

  // Changes and requests that carry a body.
  const peer = peers.peers.find((p) => p.paths.length === 2)!;
  const post = (body: unknown, headers = {}) =>
    held(host, 'POST', '/v1/probes', '/v1/probes', { body, headers }).then((t) => t.status);
  expect(await post({ to: peer.key })).toBe(200);
  expect(await post({ to: peer.subnets[0]!.replace('.0/24', '.9') })).toBe(200);
  expect(await post({ to: '192.0.2.77' })).toBe(404);
  for (const body of [{}, { to: 1 }, { to: '' }, { to: peer.key, more: 1 }, [], 'null', '{', '"\ud800"'])
    expect([body, await post(body)]).toEqual([body, 400]);
  expect(await post({ to: '\u0000\ud800' })).toBe(404);
  expect(await post({ to: peer.key }, { 'content-type': 'text/plain' })).toBe(415);
  expect(await post({ to: 'x'.repeat(300_000) })).toBe(413);
  await changes(host);
});

/** What operators change in etcd, by way of the daemon: done, done already, refused, wrong. */
async function changes(host: Host): Promise<void> {
  const act = async (method: string, path: string, real: string, body?: unknown) => {
    const { status, body: text } = await held(host, method, path, real, { body });
    const told = JSON.parse(text) as { done?: string; error?: { code: string } };
    return [status, told.done ?? told.error?.code];
  };
  const reserve = (body: unknown) => act('POST', '/v1/reservations', '/v1/reservations', body);
  const network = (body: unknown) => act('PUT', '/v1/network', '/v1/network', body);
  const release = (key: string) => act('DELETE', '/v1/leases/{key}', `/v1/leases/${key}`);
  const { node } = await host.get<StatusJson>('/v1/status');
  const free = '10.42.7.0/24,fd00:42:0:7::/64';
  expect(await reserve({ subnet: '10.42.255.0/24', node: 'ffffffff' })).toEqual([409, 'refused']);
  expect(await reserve({ subnet: free, node: 5 })).toEqual([400, 'bad-request']);
  expect(await reserve({ subnet: 'nothing', node })).toEqual([400, 'bad-request']);
  const own = encodeURIComponent((await host.get<StatusJson>('/v1/status')).lease.lease!.key);
  expect(await reserve({ subnet: decodeURIComponent(own), node })).toEqual([200, 'reserved']);
  expect(await reserve({ subnet: decodeURIComponent(own), node })).toEqual([200, 'nothing']);
  expect(await release(own)).toEqual([200, 'released']);
  expect(await release('nothing')).toEqual([400, 'bad-request']);
  expect(await release(`${own}?force=perhaps`)).toEqual([400, 'bad-request']);
  const { network: now } = await host.get<ConfigJson>('/v1/config');
  const config = JSON.stringify(now.config);
  expect(await network({ config })).toEqual([200, 'nothing']);
  expect(await network({ config: config.replace('vxlan', 'vxlan","Port":"x') })).toEqual([422, 'config']);
  expect(await network({ config: config.replace('10.42.', '10.43.'), dryRun: true })).toEqual([
    200,
    'dry-run',
  ]);
  expect(await network({ config: config.replace('10.42.', '10.43.') })).toEqual([409, 'refused']);
  expect(await network({ config, more: 1 })).toEqual([400, 'bad-request']);
}

test('a running daemon answers as docs/openapi.json says: udp, without probes', async () => {
  await using cluster = await Cluster.create({ backend: { Type: 'udp' }, args: ['--probe-interval', '0'] });
  const [host, other] = [await cluster.addHost(), await cluster.addHost()];
  await Promise.all([host.start(), other.start()]);
  const [a, b] = [await host.workload(), await other.workload()];
  await until('a pod to answer', async () => (await ping(a.netns, b.addr(4))) !== undefined);
  const bodies = await readsAll(host);
  const { peers } = JSON.parse(bodies.get('peers')!) as PeersJson;
  expect(peers[0]!.traffic).toMatchObject({ inPackets: expect.toSatisfy((n: number) => n > 0) });
  expect(JSON.parse(bodies.get('status')!)).toMatchObject({ forwarder: { running: true } });
  expect((await held(host, 'POST', '/v1/probes', '/v1/probes', { body: { to: peers[0]!.key } })).status).toBe(
    409,
  );
});

test('events tell what happens, in order, by a stream that goes on where it was left', async () => {
  await using cluster = await Cluster.start(2, { args: ['--probe-interval', '200ms'] });
  const [host, other] = cluster.hosts as [Host, Host];
  using stream = await EventStream.open(socketOf(host), '/v1/events/stream?since=0');
  const told = (what: string, test: RegExp, from: EventStream = stream) =>
    until(what, () => from.events.find((e) => test.test(`${e.kind} ${e.level} ${e.message}`)), 20_000);
  await told('the start', /^daemon info started/);
  await told('its lease', /^lease info acquired/);
  await told('ready', /^daemon info ready/);
  const { peers } = await host.get<PeersJson>('/v1/peers');
  const key = peers[0]!.key;

  await host.netns.ip(`route del ${peers[0]!.subnets[0]}`);
  expect(await told('a repair', /^repair warn .*put right: route/)).toMatchObject({ fields: { route: 1 } });
  await host.netns.run(['iptables', '-F', 'FORWARD']);
  expect(await told('a repair of the firewall', /^repair warn firewall rules/)).toMatchObject({
    subject: 'firewall',
  });

  // A network config that cannot come into force, with a secret in it.
  await cluster.etcd.put(
    `${DEFAULTS.etcdPrefix}/${KEYS.config}`,
    '{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan","PSK":"very-secret"}}',
  );
  await told('a config that needs a restart', /^config warn .*restart/);
  const config = await ask(socketOf(host), '/v1/config');
  expect(config.body).not.toContain('very-secret');
  expect(JSON.parse(config.body)).toMatchObject({
    network: { inForce: false, config: { Backend: { PSK: '[redacted]' } } },
  });
  await cluster.etcd.put(`${DEFAULTS.etcdPrefix}/${KEYS.config}`, '"very-secret {');
  await until('nothing of text that is no JSON is shown', async () => {
    const { body } = await ask(socketOf(host), '/v1/config');
    expect(body).not.toContain('very-secret');
    return (JSON.parse(body) as ConfigJson).network.config === null;
  });

  // The peer goes: first nobody answers, then its lease is gone.
  const last = stream.received.at(-1)!.id!;
  stream[Symbol.dispose]();
  await other.stop('SIGKILL');
  await other.netns.ip('link set flannel.1 down');
  await until(
    'the peer to be missed',
    async () => {
      const { events } = await host.get<EventsJson>('/v1/events?kind=path');
      return events.some((e) => e.subject === key && e.fields.to === 'unreachable');
    },
    20_000,
  );
  await cluster.etcd.delete(`${DEFAULTS.etcdPrefix}/subnets/${key}`);
  using again = await EventStream.open(socketOf(host), '/v1/events/stream', { 'last-event-id': last });
  await told('the lease that is gone', /^peer info .*is free again/, again);
  const ids = again.events.map((e) => e.id);
  expect(ids).toEqual(Array.from(ids, (_, i) => Number(last.split('-')[1]) + 1 + i));

  // Only some of them, and at the end the stream ends in order, at once.
  const only = await host.get<EventsJson>('/v1/events?kind=repair,config&limit=2');
  expect(only.events).toHaveLength(2);
  expect(new Set(only.events.map((e) => e.kind))).toEqual(new Set(['config']));
  expect(await host.stop()).toBe('status 0');
  await until('the stream to end', () => again.ended);
  expect(again.events.at(-1)).toMatchObject({ kind: 'daemon', message: expect.stringMatching(/^stopping/) });
});

test('who may open the socket and is not root may read, and change nothing', async () => {
  await using cluster = await Cluster.start(1, {});
  const [host] = cluster.hosts as [Host];
  const socket = socketOf(host);
  expect(statSync(socket).mode & 0o7777).toBe(0o660);
  // As an administrator lets a group read.
  chownSync(socket, 0, 65534);
  chmodSync(host.dir, 0o711);
  const as = (uid: number, gid: number, ...args: string[]) =>
    run([
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      '--clear-groups',
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      '--unix-socket',
      socket,
      ...args,
    ]);
  expect(await as(65534, 65534, 'http://x/v1/status')).toBe('200');
  const owners = api.operations.filter(({ operation }) => operation['x-audience'] === 'owner');
  expect(owners.length).toBeGreaterThan(0);
  for (const { path, method, operation } of owners) {
    const url = `http://x${path.replace(/\{\w+\}/g, 'x')}`;
    const status = await as(
      65534,
      65534,
      '-X',
      method,
      '-H',
      'content-type: application/json',
      '-d',
      '{}',
      url,
    );
    expect([method, path, status]).toEqual([method, path, operation.operationId === 'cni' ? '400' : '403']);
  }
  await expect(as(65533, 65533, 'http://x/v1/status')).rejects.toThrow();
});
