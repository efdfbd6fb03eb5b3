import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { formatPrefix, overlaps } from '../../src/net/prefix.ts';
import type { NodeId } from '../../src/subnet/types.ts';
import { decodeValue } from '../../src/subnet/value.ts';
import { LocalEtcd } from '../support/etcd.ts';
import { until } from '../support/proc.ts';
import { hex, type NodeOptions, networkConfig, StoreNode, vxlanAttrs } from '../support/storeNode.ts';

const SUBNETS = '/coreos.com/network/subnets/';
/** As flanneld writes it. */
const flannelValue = (ip: string, mac = 'c6:d2:32:6f:8f:44') =>
  `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`;

let etcd: LocalEtcd;
let stack: AsyncDisposableStack;
beforeAll(async () => {
  etcd = await LocalEtcd.create();
});
afterAll(() => etcd?.[Symbol.asyncDispose]());
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  await etcd.ctl('del', '--prefix', '/coreos.com/');
});

const start = (options: NodeOptions) => stack.use(new StoreNode(etcd.endpoint, options));

describe('a lease in a real etcd', () => {
  it('is made under an etcd lease, with our node id last, and renewed without a new revision', async () => {
    const node = start({ ip: '192.0.2.1', ttl: 5 });
    const lease = await node.held();
    const made = (await etcd.get(SUBNETS + lease.key))!;
    expect(made.value).toBe(
      `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0e:00:00:00:00:01"},"Loden":{"node":"${node.node}","instance":"${node.instance}"}}`,
    );
    await sleep(6_500);
    expect(await etcd.get(SUBNETS + lease.key)).toEqual(made);
    expect(node.lease).toBe(lease);
    expect(await etcd.ctl('lease', 'timetolive', BigInt(made.lease).toString(16))).toContain(
      'granted with TTL(5s)',
    );
  });

  it('costs a number of requests that has nothing to do with the number of peers', async () => {
    const count = async (ip: string) => {
      const node = start({ ip });
      await node.held();
      await until('its own lease in the view', () => node.snapshot!.leases.has(node.lease.key));
      return node.store.status.value!.requests;
    };
    const alone = await count('192.0.2.1');
    for (let i = 0; i < 20; i++)
      await etcd.put(`${SUBNETS}10.5.${100 + i}.0-24`, flannelValue(`198.51.100.${i}`));
    const among = await count('192.0.2.2');
    expect(among).toBe(alone);
    // List, watch, grant, create.
    expect(alone).toBe(4);
  });

  it('of flanneld, with our PublicIP, is taken over on its etcd lease; it is taken back when flanneld rewrites it', async () => {
    const key = `${SUBNETS}10.5.33.0-24`;
    const first = await etcd.grant(86_400);
    await etcd.put(key, flannelValue('192.0.2.7'), first);
    const node = start({ ip: '192.0.2.7' });
    expect((await node.held()).subnets.map(formatPrefix)).toEqual(['10.5.33.0/24']);
    const adopted = (await etcd.get(key))!;
    expect(BigInt(adopted.lease)).toBe(BigInt(`0x${first}`));
    expect(adopted.value).toContain(node.node);
    expect(node.reports.map((r) => r.event)).toContain('adopted');

    // As flanneld does at its start: the value without our member, under a new etcd lease.
    const second = await etcd.grant(86_400);
    await etcd.put(key, flannelValue('192.0.2.7'), second);
    await node.reported('rewritten');
    const again = await until('our node id in it again', async () => {
      const kv = await etcd.get(key);
      return kv?.value.includes(node.node) && kv;
    });
    expect(BigInt(again.lease)).toBe(BigInt(`0x${second}`));
    expect(node.state?.state).toBe('held');
  });

  it('of flanneld with another PublicIP, or with another’s node id, is left alone', async () => {
    const theirs = flannelValue('192.0.2.7').replace(
      /}$/,
      `,"Loden":{"node":"${hex(16)}","instance":"${hex(8)}"}}`,
    );
    await etcd.put(`${SUBNETS}10.5.33.0-24`, theirs);
    await etcd.put(`${SUBNETS}10.5.34.0-24`, flannelValue('192.0.2.8'));
    const node = start({ ip: '192.0.2.7', previous: ['10.5.34.0/24'] });
    expect(['10.5.33.0-24', '10.5.34.0-24']).not.toContain((await node.held()).key);
    expect((await etcd.get(`${SUBNETS}10.5.33.0-24`))!.value).toBe(theirs);
  });

  it('that is a reservation is still one after three restarts and a change', async () => {
    const key = `${SUBNETS}10.5.44.0-24`;
    await etcd.put(key, '{"PublicIP":"192.0.2.4"}');
    const id = hex(16) as NodeId;
    for (let i = 0; i < 3; i++) {
      const node = new StoreNode(etcd.endpoint, { ip: '192.0.2.4', node: id, ttl: 5 });
      const lease = await node.held();
      expect([lease.key, lease.etcdLease]).toEqual(['10.5.44.0-24', 'reservation']);
      expect(node.state).not.toHaveProperty('expiresAt');
      node.update({ attrs: vxlanAttrs('192.0.2.4', `0e:00:00:00:00:0${i}`), ttl: 7 });
      await node.held((l) => JSON.stringify(l.data.get(4)).includes(`:0${i}"`));
      await node[Symbol.asyncDispose]();
      const kv = (await etcd.get(key))!;
      expect([kv.lease, kv.value.includes(id)]).toEqual(['0', true]);
    }
  });

  it('is found again by node id after a restart, also when the address has changed meanwhile', async () => {
    const id = hex(16) as NodeId;
    const before = new StoreNode(etcd.endpoint, { ip: '192.0.2.1', node: id });
    const { key } = await before.held();
    await before[Symbol.asyncDispose]();
    const same = new StoreNode(etcd.endpoint, { ip: '192.0.2.1', node: id });
    expect((await same.held()).key).toBe(key);
    await same[Symbol.asyncDispose]();
    // Nobody answers its challenge, so it is no copy.
    const moved = start({ ip: '192.0.2.99', node: id });
    expect((await moved.held(undefined, 15_000)).key).toBe(key);
    expect((await etcd.get(SUBNETS + key))!.value).toContain('192.0.2.99');
    expect(moved.node).toBe(id);
    expect(await etcd.list('/coreos.com/network/loden/')).toEqual([]);
  });

  it('is not given to a copy of the state directory: the owner answers, the copy becomes a node of its own', async () => {
    const id = hex(16) as NodeId;
    const owner = start({ ip: '192.0.2.1', node: id });
    const { key, modRevision } = await owner.held();
    const copy = start({ ip: '192.0.2.2', node: id, previous: ['10.5.77.0/24'] });
    const other = await copy.held(undefined, 15_000);
    expect(other.key).toBe('10.5.77.0-24');
    expect(copy.node).not.toBe(id);
    expect(copy.reports.find((r) => r.event === 'cloned')?.level).toBe('error');
    expect(owner.reports.find((r) => r.event === 'cloned')?.level).toBe('error');
    expect(owner.state).toMatchObject({ state: 'held', lease: { key, modRevision } });
    expect(await etcd.list('/coreos.com/network/loden/')).toEqual([]);
  });

  it('changes its value when what it says changes, on the same etcd lease', async () => {
    const node = start({ ip: '192.0.2.1' });
    const before = await node.held();
    node.update({ attrs: vxlanAttrs('192.0.2.9', '0e:00:00:00:00:99') });
    const after = await node.held((l) => l !== before);
    const kv = (await etcd.get(SUBNETS + before.key))!;
    expect(decodeValue(kv.value)).toMatchObject({
      attrs: { data: new Map([[4, { VNI: 1, VtepMAC: '0e:00:00:00:00:99' }]]) },
    });
    expect([kv.lease, kv.modRevision]).toEqual([String(before.etcdLease), String(after.modRevision)]);
  });

  it('moves under a new etcd lease when the TTL changes; the old one is revoked and the key stays', async () => {
    const node = start({ ip: '192.0.2.1', ttl: 100 });
    const before = await node.held();
    node.update({ ttl: 200 });
    const after = await node.held((l) => l.etcdLease !== before.etcdLease);
    expect(after.key).toBe(before.key);
    expect(after.createRevision).toBe(before.createRevision);
    const leases = await etcd.ctl('lease', 'list');
    expect(leases).not.toContain(BigInt(before.etcdLease).toString(16));
    expect(await etcd.ctl('lease', 'timetolive', BigInt(after.etcdLease).toString(16))).toContain(
      'TTL(200s)',
    );
  });

  it('gives way to the network config: the old key goes, another comes', async () => {
    const node = start({ ip: '192.0.2.1' });
    const before = await node.held();
    node.update({ network: networkConfig(['10.77.0.0/16', 24]) });
    const after = await node.held((l) => l.key.startsWith('10.77.'));
    expect((await etcd.list(SUBNETS)).map((kv) => kv.key)).toEqual([SUBNETS + after.key]);
    expect(node.reports.find((r) => r.event === 'moved')).toMatchObject({
      level: 'info',
      fields: { key: after.key },
    });
    expect(before.key).not.toBe(after.key);
  });

  it('says so when no subnet is left, and takes the first that comes free', async () => {
    const network = networkConfig(['10.6.0.0/28', 30]);
    const others = await Promise.all([1, 2].map((i) => start({ ip: `192.0.2.${i}`, network }).held()));
    const leaving = new StoreNode(etcd.endpoint, { ip: '192.0.2.3', network });
    const last = await leaving.held();
    const late = start({ ip: '192.0.2.9', network });
    await late.reported('exhausted');
    expect(late.state).toMatchObject({
      state: 'waiting',
      reason: expect.stringContaining('all 3 /30 subnets'),
    });
    expect(new Set([...others, last].map((l) => l.key)).size).toBe(3);
    await leaving[Symbol.asyncDispose]();
    await etcd.delete(SUBNETS + last.key);
    expect((await late.held()).key).toBe(last.key);
  });

  it('with two families, that overlaps an older one by IPv6 alone, is given up for another', async () => {
    const network = networkConfig(['10.5.0.0/16', 24], ['fd00:5::/48', 64]);
    const node = start({ ip: '192.0.2.1', network, previous: ['10.5.9.0/24'] });
    const first = await node.held();
    expect(first.key).toBe('10.5.9.0-24&fd00:5:0:9::-64');
    // flanneld picks the families apart: its key is another, its IPv6 subnet is that of a lease made before.
    await etcd.put(`${SUBNETS}10.5.20.0-24&fd00:5:0:14::-64`, flannelValue('192.0.2.3'));
    await etcd.put(
      `${SUBNETS}10.5.30.0-24&fd00:5:0:14::-64`,
      `{"PublicIP":"192.0.2.2"}`,
      await etcd.grant(100),
    );
    const younger = start({ ip: '192.0.2.2', network });
    const lease = await younger.held();
    expect(lease.key).not.toBe('10.5.30.0-24&fd00:5:0:14::-64');
    const all = (await etcd.list(SUBNETS)).map((kv) => kv.key.slice(SUBNETS.length));
    expect(all.sort()).toEqual(['10.5.20.0-24&fd00:5:0:14::-64', first.key, lease.key].sort());
    expect(node.lease).toBe(first);
  });

  it('is not disturbed by garbage next to it, which is set aside and counted', async () => {
    const node = start({ ip: '192.0.2.1' });
    const peer = start({ ip: '192.0.2.2' });
    const lease = await node.held();
    const peerLease = await peer.held();
    await until('both in the view', () => node.snapshot?.leases.size === 2);
    const before = node.snapshot!.leases.get(peerLease.key);
    await etcd.put(`${SUBNETS}foo`, 'bar');
    await etcd.put(`${SUBNETS}10.5.200.0-24`, '{"PublicIP":7}');
    await until('two keys set aside', () => node.store.status.value!.setAside === 2);
    expect([...node.snapshot!.setAside.keys()].sort()).toEqual(['10.5.200.0-24', 'foo']);
    expect(node.snapshot!.leases.size).toBe(2);
    expect(node.snapshot!.leases.get(peerLease.key)).toBe(before);
    expect(node.lease).toBe(lease);
    expect(node.reports.filter((r) => r.event === 'set-aside').length).toBe(2);
  });
});

it('500 nodes that start at once all get subnets of their own', { timeout: 180_000 }, async () => {
  const grants = async () =>
    [...(await etcd.ctl('lease', 'list')).matchAll(/^[0-9a-f]{10,}$/gm)].map(([id]) => BigInt(`0x${id}`));
  const before = new Set(await grants());
  const network = networkConfig(['10.16.0.0/14', 24]);
  const nodes = Array.from(
    { length: 500 },
    (_, i) => new StoreNode(etcd.endpoint, { ip: `10.99.${i >> 8}.${i & 255}`, network, ttl: 600 }),
  );
  const hold = async (node: StoreNode) => {
    try {
      return await node.held(undefined, 170_000);
    } finally {
      // Each keeps a copy of all leases: in one process that is much. The leases stay.
      await node[Symbol.asyncDispose]();
    }
  };
  const leases = await Promise.all(nodes.map(hold));
  const keys = await etcd.list(SUBNETS);
  expect(keys.length).toBe(500);
  const byKey = new Map(keys.map((kv) => [kv.key.slice(SUBNETS.length), kv]));
  for (const [i, lease] of leases.entries()) {
    const value = decodeValue(byKey.get(lease.key)!.value);
    expect('attrs' in value && value.attrs.node).toBe(nodes[i]!.node);
    expect(nodes[i]!.reports.filter((r) => r.level === 'error')).toEqual([]);
  }
  const sorted = leases.flatMap((l) => l.subnets).sort((a, b) => (a.addr.value < b.addr.value ? -1 : 1));
  expect(sorted.some((s, i) => i > 0 && overlaps(s, sorted[i - 1]!))).toBe(false);
  // What attempts that lost a race had been granted is given back; only an answer that never came leaves something.
  const used = new Set(keys.map((kv) => BigInt(kv.lease)));
  const left = (await grants()).filter((id) => !before.has(id) && !used.has(id));
  expect(left.length).toBeLessThanOrEqual(
    nodes.flatMap((n) => n.reports.filter((r) => r.event === 'retry')).length,
  );
});
