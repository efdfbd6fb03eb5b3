import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LocalEtcd } from '../support/etcd.ts';
import { until } from '../support/proc.ts';
import { type NodeOptions, StoreNode, vxlanAttrs } from '../support/storeNode.ts';
import { TcpProxy } from '../support/tcpProxy.ts';

const SUBNETS = '/coreos.com/network/subnets/';
const foreign = (ip: string) => `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"vxlan"}`;
/** Milliseconds in which anything that was healed must be noticed. */
const NOTICED = 20_000;

/** What one test starts; the tests run side by side, for most of their time is waiting. */
class World implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  async etcd(options = {}): Promise<LocalEtcd> {
    return this.#stack.use(await LocalEtcd.create(options));
  }
  async proxy(etcd: LocalEtcd): Promise<TcpProxy> {
    return this.#stack.use(await TcpProxy.to(etcd.clientPort));
  }
  start(endpoints: string | string[], options: NodeOptions): StoreNode {
    return this.#stack.use(new StoreNode(endpoints, options));
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

const sees = (node: StoreNode, key: string, timeout = NOTICED) =>
  until(
    `${key} in the view`,
    () => [...(node.snapshot?.leases.keys() ?? [])].includes(key as never),
    timeout,
  );

describe.concurrent('a lease that is lost', () => {
  it('is made again, with the same subnet, when it is revoked or its key deleted', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1' });
    const first = await node.held();
    await etcd.ctl('lease', 'revoke', BigInt(first.etcdLease).toString(16));
    const second = await node.held((l) => l !== first);
    expect(second.key).toBe(first.key);
    expect(node.states.some((s) => s.state === 'fenced')).toBe(true);
    await etcd.delete(SUBNETS + first.key);
    const third = await node.held((l) => l !== first && l !== second);
    expect(third.key).toBe(first.key);
    expect(node.reports.filter((r) => r.event === 'lost').length).toBe(2);
    expect(node.reports.filter((r) => r.event === 'moved')).toEqual([]);
  });

  it('to another node is left to it: another subnet, an error, and not one write to its key', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1' });
    const first = await node.held();
    await etcd.put(SUBNETS + first.key, foreign('192.0.2.66'));
    const theirs = await etcd.get(SUBNETS + first.key);
    const second = await node.held((l) => l.key !== first.key);
    expect(await etcd.get(SUBNETS + first.key)).toEqual(theirs);
    const moved = await node.reported('moved');
    expect(moved).toMatchObject({ level: 'error', fields: { key: second.key } });
    expect(moved.message).toContain('192.0.2.66');
  });

  it('to an operator’s garbage is written anew', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1' });
    const first = await node.held();
    await etcd.put(SUBNETS + first.key, 'bar');
    const again = await node.held((l) => l.modRevision > first.modRevision);
    // etcdctl put took it off its etcd lease: that makes it a reservation.
    expect([again.key, again.etcdLease]).toEqual([first.key, 'reservation']);
    await until('our value', async () => (await etcd.get(SUBNETS + first.key))!.value.includes(node.node));
    expect((await etcd.get(SUBNETS + first.key))!.lease).toBe('0');
    expect(node.reports.filter((r) => r.event === 'lost')).toEqual([]);
  });

  it('by restoring a backup is made again; the same subnet if it is free', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    await etcd.put(`${SUBNETS}10.5.9.0-24`, foreign('192.0.2.9'));
    const backup = await etcd.backup();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1', previous: ['10.5.7.0/24'] });
    const first = await node.held();
    for (let i = 0; i < 5; i++) await etcd.put(`${SUBNETS}10.5.10${i}.0-24`, foreign(`192.0.2.10${i}`));
    await sees(node, '10.5.104.0-24');
    await etcd.restore(backup);
    const second = await node.held((l) => l !== first, NOTICED);
    expect(second.key).toBe('10.5.7.0-24');
    expect(node.reports.map((r) => r.event)).toContain('restored');
    await until('the view of the restored etcd', () => node.snapshot?.leases.size === 2);
    expect([...node.snapshot!.leases.keys()].sort()).toEqual(['10.5.7.0-24', '10.5.9.0-24']);
  });

  it('by restoring a backup, in which the subnet is another node’s, is given up', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    await etcd.put(`${SUBNETS}10.5.7.0-24`, foreign('192.0.2.9'), await etcd.grant(1000));
    const backup = await etcd.backup();
    await etcd.delete(`${SUBNETS}10.5.7.0-24`);
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1', previous: ['10.5.7.0/24'] });
    expect((await node.held()).key).toBe('10.5.7.0-24');
    await etcd.restore(backup);
    const second = await node.held((l) => l.key !== '10.5.7.0-24', NOTICED);
    expect((await etcd.get(`${SUBNETS}10.5.7.0-24`))!.value).toBe(foreign('192.0.2.9'));
    expect((await etcd.get(SUBNETS + second.key))!.value).toContain(node.node);
    await node.reported('moved');
  });
});

describe.concurrent('an etcd that is away', () => {
  it('is waited for at the start, and the status says for what', async () => {
    await using world = new World();
    const etcd = await world.etcd({ start: false });
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1' });
    await until('a reason', () => node.store.status.value!.error?.includes('connection refused'));
    expect(node.store.status.value!.error).toContain(`waiting for etcd at ${etcd.endpoint}: `);
    expect(node.store.status.value!.connected).toBe(false);
    expect(node.state).toEqual({ state: 'waiting', reason: 'waiting for etcd' });
    await sleep(1_500);
    await etcd.start();
    await node.held(undefined, NOTICED);
    await until('connected', () => node.store.status.value!.connected);
    expect(node.reports.filter((r) => r.event === 'disconnected').length).toBe(1);
  });

  it('for a restart costs nothing: the lease is the same, and what happened meanwhile is seen', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1', ttl: 30 });
    const lease = await node.held();
    await etcd.restart();
    await etcd.put(`${SUBNETS}10.5.99.0-24`, foreign('192.0.2.9'));
    await sees(node, '10.5.99.0-24');
    expect(node.lease).toBe(lease);
    expect(node.snapshot!.leases.get(lease.key)).toBeDefined();
    expect(node.reports.filter((r) => r.level === 'error')).toEqual([]);
  });

  it('and compacts its history meanwhile is listed anew, and unchanged leases keep their identity', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const proxy = await world.proxy(etcd);
    const node = world.start(proxy.endpoint, { ip: '192.0.2.1', ttl: 60 });
    const lease = await node.held();
    await etcd.put(`${SUBNETS}10.5.98.0-24`, foreign('192.0.2.8'));
    await etcd.put(`${SUBNETS}10.5.97.0-24`, foreign('192.0.2.7'));
    await sees(node, '10.5.97.0-24');
    const [same, changed] = ['10.5.98.0-24', '10.5.97.0-24'].map((k) =>
      node.snapshot!.leases.get(k as never),
    );
    proxy.blackHole();
    proxy.hangUp();
    await etcd.put(`${SUBNETS}10.5.99.0-24`, foreign('192.0.2.9'));
    await etcd.put(`${SUBNETS}10.5.97.0-24`, foreign('192.0.2.77'));
    await etcd.compact();
    proxy.heal();
    await sees(node, '10.5.99.0-24');
    const now = node.snapshot!.leases;
    expect(now.get('10.5.98.0-24' as never)).toBe(same);
    expect(now.get('10.5.97.0-24' as never)).not.toBe(changed);
    expect(now.get(lease.key)).toEqual(lease);
  });

  it('in a black hole is found missing and found again', { timeout: 90_000 }, async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const proxy = await world.proxy(etcd);
    const node = world.start(proxy.endpoint, { ip: '192.0.2.1', ttl: 600 });
    const lease = await node.held();
    proxy.blackHole();
    await until('disconnected', () => !node.store.status.value!.connected, NOTICED);
    await etcd.put(`${SUBNETS}10.5.99.0-24`, foreign('192.0.2.9'));
    await sleep(8_000);
    proxy.heal();
    await sees(node, '10.5.99.0-24');
    expect(node.lease).toBe(lease);
  });

  it('for longer than the TTL fences the lease; it comes back with the same subnet if nobody took it', {
    timeout: 90_000,
  }, async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const proxy = await world.proxy(etcd);
    const node = world.start(proxy.endpoint, { ip: '192.0.2.1', ttl: 5 });
    const first = await node.held();
    proxy.blackHole();
    await until('fenced', () => node.state?.state === 'fenced' && node.state.lease.key === first.key, 15_000);
    await until('the key gone', async () => !(await etcd.get(SUBNETS + first.key)), 15_000);
    proxy.heal();
    expect((await node.held(undefined, NOTICED)).key).toBe(first.key);
    expect(node.reports.filter((r) => r.event === 'fenced').length).toBe(1);
  });

  it('for longer than the TTL, when another node takes the subnet: that keeps it', {
    timeout: 90_000,
  }, async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const proxy = await world.proxy(etcd);
    const node = world.start(proxy.endpoint, { ip: '192.0.2.1', ttl: 5 });
    const first = await node.held();
    proxy.blackHole();
    await until('the key gone', async () => !(await etcd.get(SUBNETS + first.key)), 15_000);
    const other = world.start(etcd.endpoint, { ip: '192.0.2.2', previous: [first.key.replace('-', '/')] });
    const theirs = await other.held();
    expect(theirs.key).toBe(first.key);
    expect(node.state?.state).toBe('fenced');
    proxy.heal();
    const second = await node.held(undefined, NOTICED);
    expect(second.key).not.toBe(first.key);
    expect(await node.reported('moved')).toMatchObject({ level: 'error' });
    expect(other.lease).toBe(theirs);
  });

  it('held still for a while (SIGSTOP) and let go on is followed again', { timeout: 90_000 }, async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const node = world.start(etcd.endpoint, { ip: '192.0.2.1', ttl: 5 });
    const first = await node.held();
    etcd.signal('SIGSTOP');
    await until('fenced', () => node.state?.state === 'fenced', 15_000);
    expect(node.store.status.value!.error ?? node.state).toBeDefined();
    etcd.signal('SIGCONT');
    expect((await node.held(undefined, NOTICED)).key).toBe(first.key);
    await etcd.put(`${SUBNETS}10.5.99.0-24`, foreign('192.0.2.9'));
    await sees(node, '10.5.99.0-24');
  });

  it('at one of several endpoints is sought at the others', async () => {
    await using world = new World();
    const etcd = await world.etcd();
    const [a, b] = [await world.proxy(etcd), await world.proxy(etcd)];
    const node = world.start(['http://127.0.0.1:1', a.endpoint, b.endpoint], { ip: '192.0.2.1', ttl: 60 });
    const lease = await node.held();
    await a.refuse();
    await etcd.put(`${SUBNETS}10.5.99.0-24`, foreign('192.0.2.9'));
    await sees(node, '10.5.99.0-24');
    node.update({ attrs: vxlanAttrs('192.0.2.1', '0e:00:00:00:00:77') });
    await node.held((l) => l !== lease);
  });
});
