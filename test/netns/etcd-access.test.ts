import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, StoreError } from '../../src/errors.ts';
import type { StoreOptions } from '../../src/subnet/api.ts';
import { EtcdStore, listOnce } from '../../src/subnet/store.ts';
import { LocalEtcd } from '../support/etcd.ts';
import { until } from '../support/proc.ts';
import { StoreNode, vxlanAttrs } from '../support/storeNode.ts';

const PREFIX = '/coreos.com/network';
const foreign = '{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan"}';

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());
const etcdServer = async (options = {}) => stack.use(await LocalEtcd.create(options));
const start = (etcd: LocalEtcd, store: Partial<StoreOptions>, endpoint = etcd.endpoint) =>
  stack.use(new StoreNode(endpoint, { ip: '192.0.2.1', ttl: 60, store }));

async function withUsers(etcd: LocalEtcd): Promise<void> {
  await etcd.ctl('user', 'add', 'root:rootpw');
  await etcd.ctl('user', 'grant-role', 'root', 'root').catch(() => {});
  await etcd.ctl('role', 'add', 'overlay');
  await etcd.ctl('role', 'grant-permission', 'overlay', '--prefix=true', 'readwrite', `${PREFIX}/`);
  await etcd.ctl('user', 'add', 'loden:secret');
  await etcd.ctl('user', 'grant-role', 'loden', 'overlay');
  await etcd.ctl('auth', 'enable');
  etcd.ctlArgs = ['--user=root:rootpw'];
}

describe('TLS', () => {
  it('is turned on by a CA file alone, also for an http endpoint', async () => {
    const etcd = await etcdServer({ tls: true });
    const caFile = etcd.pki!.ca;
    await start(etcd, { caFile }).held();
    await start(etcd, { caFile }, etcd.endpoint.replace('https', 'http')).held();
  });

  it('with a client certificate works as well', async () => {
    const etcd = await etcdServer({ tls: true });
    const { ca, clientCert, clientKey } = etcd.pki!;
    await start(etcd, { caFile: ca, certFile: clientCert, keyFile: clientKey }).held();
  });

  it('refuses an etcd that another authority vouches for, and says why', async () => {
    const etcd = await etcdServer({ tls: true });
    const other = await etcdServer({ tls: true, start: false });
    const node = start(etcd, { caFile: other.pki!.ca });
    const error = await until(
      'a reason',
      () => node.store.status.value!.error?.includes('certificate') && node.store.status.value!.error,
    );
    expect(error).toContain(etcd.endpoint);
    expect(node.state?.state).toBe('waiting');
  });

  it('says at once which file is missing or wrong', async () => {
    const etcd = await etcdServer({ tls: true, start: false });
    const options = { endpoints: [etcd.endpoint], prefix: PREFIX };
    expect(() => new EtcdStore({ ...options, caFile: '/nowhere/ca.crt' })).toThrow(/--etcd-cafile.*ENOENT/s);
    expect(() => new EtcdStore({ ...options, certFile: etcd.pki!.cert })).toThrow(/--etcd-keyfile/);
    const junk = join(etcd.dir, 'junk.crt');
    writeFileSync(junk, 'not PEM');
    expect(() => new EtcdStore({ ...options, caFile: etcd.pki!.ca, certFile: junk, keyFile: junk })).toThrow(
      ConfigError,
    );
    expect(() => new EtcdStore({ ...options, endpoints: ['gopher://x'] })).toThrow(/--etcd-endpoints/);
    expect(() => new EtcdStore({ ...options, endpoints: [] })).toThrow(/--etcd-endpoints/);
  });
});

describe('a name and password', () => {
  it('are enough for all the daemon does, also when the token runs out', { timeout: 60_000 }, async () => {
    const etcd = await etcdServer();
    await withUsers(etcd);
    const node = start(etcd, { username: 'loden', password: 'secret' });
    const lease = await node.held();
    // etcd forgets tokens after 3 s here.
    await sleep(5_000);
    node.update({ attrs: vxlanAttrs('192.0.2.1', '0e:00:00:00:00:77'), ttl: 90 });
    await node.held((l) => l.etcdLease !== lease.etcdLease);
    await etcd.put(`${PREFIX}/subnets/10.5.99.0-24`, foreign);
    await until('a change in the view', () => node.snapshot?.leases.has('10.5.99.0-24' as never), 20_000);
    await etcd.restart();
    await etcd.put(`${PREFIX}/subnets/10.5.98.0-24`, foreign);
    await until('a change after a restart', () => node.snapshot?.leases.has('10.5.98.0-24' as never), 20_000);
  });

  it('that are wrong or missing are told, without the password', async () => {
    const etcd = await etcdServer();
    await withUsers(etcd);
    for (const store of [{ username: 'loden', password: 'wr0ng' }, {}]) {
      const node = start(etcd, store);
      const error = await until(
        'a reason',
        () => node.store.status.value!.error?.includes('--etcd-password') && node.store.status.value!.error,
      );
      expect(error).not.toContain('wr0ng');
      expect(node.state?.state).toBe('waiting');
    }
    const wrong = { endpoints: [etcd.endpoint], prefix: PREFIX, username: 'loden', password: 'wr0ng' };
    await expect(listOnce(wrong)).rejects.toMatchObject({ fault: 'unauthorized', exitCode: 69 });
  });

  it('are not needed by an etcd that has no users, and are taken up when it gets them', async () => {
    const etcd = await etcdServer();
    const node = start(etcd, { username: 'loden', password: 'secret' });
    await node.held();
    await withUsers(etcd);
    node.update({ attrs: vxlanAttrs('192.0.2.1', '0e:00:00:00:00:77') });
    await until('the change', async () =>
      (await etcd.get(`${PREFIX}/subnets/${node.lease.key}`))?.value.includes(':77'),
    );
  });
});

describe('for commands', () => {
  it('one list shows what there is', async () => {
    const etcd = await etcdServer();
    await etcd.put(`${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
    await etcd.put(`${PREFIX}/subnets/10.5.9.0-24`, foreign);
    await etcd.put(`${PREFIX}/subnets/foo`, 'bar');
    const list = await listOnce({ endpoints: [etcd.endpoint], prefix: `${PREFIX}/` });
    expect([...list.leases.keys()]).toEqual(['10.5.9.0-24']);
    expect([...list.setAside.keys()]).toEqual(['foo']);
    expect(list.config).toBe('{"Network":"10.5.0.0/16"}');
    expect(list.revision).toBe(4n);
  });

  it('one list fails soon, saying which etcd does not answer', async () => {
    const etcd = await etcdServer({ start: false });
    const error = await listOnce({ endpoints: [etcd.endpoint], prefix: PREFIX }).catch((e) => e);
    expect(error).toBeInstanceOf(StoreError);
    expect(error.message).toBe(`etcd at ${etcd.endpoint}: KV.range: connection refused`);
  });
});

it('the network config is followed: its text, its absence and its changes', async () => {
  const etcd = await etcdServer();
  const store = stack.use(new EtcdStore({ endpoints: [etcd.endpoint], prefix: PREFIX }));
  const seen: (string | undefined)[] = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const text of store.network(stop.signal)) seen.push(text);
  })();
  const until1 = (n: number) => until(`${n} values`, () => seen.length === n);
  await until1(1);
  await etcd.put(`${PREFIX}/config`, '{"a":1}');
  await until1(2);
  await etcd.put(`${PREFIX}/subnets/foo`, 'not its business');
  await etcd.put(`${PREFIX}/config`, '{"a":2}');
  await until1(3);
  await etcd.delete(`${PREFIX}/config`);
  await until1(4);
  expect(seen).toEqual([undefined, '{"a":1}', '{"a":2}', undefined]);
  stop.abort();
  await following;
});

it('requests are counted and measured', async () => {
  const etcd = await etcdServer();
  const seen: string[] = [];
  const node = start(etcd, {
    onRequest: (r) => seen.push(`${r.method} ${r.ok} ${r.milliseconds >= 0} ${r.endpoint === etcd.endpoint}`),
  });
  await node.held();
  expect(seen).toEqual([
    'KV.range true true true',
    'Lease.leaseGrant true true true',
    'KV.txn true true true',
  ]);
});
