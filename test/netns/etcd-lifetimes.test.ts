import { expect, test } from 'vitest';
import type { LifetimesJson } from '../../src/api/shapes.ts';
import { Lifetimes } from '../../src/daemon/lifetimes.ts';
import { LocalEtcd } from '../support/etcd.ts';
import { until } from '../support/proc.ts';
import { StoreNode } from '../support/storeNode.ts';

test('a real etcd tells how long leases have left', async () => {
  await using etcd = await LocalEtcd.create();
  await using node = new StoreNode(etcd.endpoint, { ip: '192.0.2.1', ttl: 300 });
  const own = await node.held();
  const flannel = '10.5.77.0-24';
  const value =
    '{"PublicIP":"192.0.2.9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}';
  const lease = await etcd.grant(86_400);
  await etcd.put(`/coreos.com/network/subnets/${flannel}`, value, lease);
  await etcd.put('/coreos.com/network/subnets/10.5.78.0-24', value);
  await until('all of them to be seen', () => node.snapshot?.leases.size === 3);

  const lifetimes = new Lifetimes({
    leases: () => node.snapshot?.leases,
    ask: (etcdLease) => node.store.timeToLive(etcdLease),
  });
  const read = () => (JSON.parse([...lifetimes.text()].join('')) as LifetimesJson).leases;
  try {
    await until('etcd to tell', () => Object.values(read()).every((told) => told !== null));
    expect(Object.keys(read()).sort()).toEqual([own.key, flannel].sort());
    expect(read()[own.key]!.ttl).toBe(300);
    expect(read()[own.key]!.secondsLeft).toBeGreaterThan(190);
    expect(read()[flannel]!.ttl).toBe(86_400);
    expect(read()[flannel]!.secondsLeft).toBeGreaterThan(86_300);
    expect(await node.store.timeToLive(4_711n)).toBeUndefined();

    // What is known stays while etcd is away.
    await etcd.stop();
    await expect(node.store.timeToLive(own.etcdLease as bigint)).rejects.toThrow();
    expect(read()[flannel]!.ttl).toBe(86_400);
  } finally {
    lifetimes.stop();
  }
  expect(read()[flannel]).toBeNull();
  lifetimes.stop();
});
