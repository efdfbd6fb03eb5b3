import { describe, expect, test } from 'vitest';
import { differences } from '../../src/admin/differences.ts';
import { leaseView } from '../../src/daemon/overlay.ts';
import { LodenError, UsageError } from '../../src/errors.ts';
import { formatPrefix, prefix } from '../../src/net/prefix.ts';
import { orphans, readSubnets, release, reserve } from '../../src/subnet/admin.ts';
import { findNode } from '../../src/subnet/adminNode.ts';
import { parseKey } from '../../src/subnet/key.ts';
import type { Lease, LeaseRequest, NodeId } from '../../src/subnet/types.ts';
import { encodeValue } from '../../src/subnet/value.ts';
import type { Unreadable } from '../../src/subnet/view.ts';
import { FakeEtcd } from '../fake/etcd.ts';
import { FakeNode, PREFIX, request } from '../fake/leaseWorld.ts';
import { peer } from '../fake/overlay.ts';
import { networkConfig } from '../support/storeNode.ts';

const V4 = networkConfig(['10.5.0.0/16', 24]);
const DUAL = networkConfig(['10.5.0.0/16', 24], ['fd00:5::/48', 64]);
const UDP = { ...V4, backend: { type: 'udp', options: {} } };
const [A, B] = ['a1'.repeat(16), 'a2'.repeat(16)] as [NodeId, NodeId];

/** With an instance, as a daemon of ours writes it. */
const held = (n: number, node: NodeId, families: readonly (4 | 6)[] = [4]): Lease => ({
  ...peer(n, families, { node }),
  instance: '0'.repeat(16),
});
const reservation = (lease: Lease): Lease => ({ ...lease, etcdLease: 'reservation' });
const bare = (lease: Lease): Lease => {
  const { backend: _b, instance: _i, ...rest } = reservation(lease);
  return { ...rest, data: new Map() };
};

const view = (leases: readonly Lease[], unreadable: Readonly<Record<string, readonly string[]>> = {}) => ({
  leases: new Map(leases.map((l) => [l.key, l])),
  unreadable: new Map(
    Object.entries(unreadable).map(([key, occupies]): [string, Unreadable] => [
      key,
      {
        reason: 'garbage',
        occupies: occupies.map(prefix),
        createRevision: 1n,
        modRevision: 5n,
        etcdLease: 'reservation',
      },
    ]),
  ),
});

const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (e) {
    if (e instanceof LodenError) return e.message;
    throw e;
  }
  throw new Error('it was not refused');
};

describe('a subnet on the command line', () => {
  test.each([
    ['10.5.7.0/24', ['10.5.7.0/24']],
    ['10.5.7.0-24', ['10.5.7.0/24']],
    ['10.5.7.0-24&fd00:5:0:7::-64', ['10.5.7.0/24', 'fd00:5:0:7::/64']],
    ['fd00:5:0:7::/64, 10.5.7.0/24', ['10.5.7.0/24', 'fd00:5:0:7::/64']],
    ['0.0.0.0-0&fd00:5:0:7::-64', ['fd00:5:0:7::/64']],
  ])('%s', (text, subnets) => expect(readSubnets(text).map(formatPrefix)).toEqual(subnets));
  test.each([
    '',
    '10.5.7.0',
    '10.5.7.0/33',
    '10.5.7.0/24,10.5.8.0/24',
    'x',
    '10.5.7.0/24,',
    '../config',
    '10.5.7.0/24\u0000',
  ])('%j is none', (text) => expect(() => readSubnets(text)).toThrow(UsageError));
});

describe('a node on the command line', () => {
  const leases = view([held(2, A), held(3, B), peer(4)]);
  test('by its id, or the beginning of it', () => {
    expect(findNode(leases, A).node).toBe(A);
    expect(findNode(leases, 'a2a2').leases.map((l) => l.key)).toEqual(['10.5.3.0-24']);
  });
  test('by its address', () => {
    expect(findNode(leases, '192.0.2.3').node).toBe(B);
    expect(findNode(leases, '192.0.2.4')).toMatchObject({
      node: undefined,
      leases: [{ key: '10.5.4.0-24' }],
    });
    expect(findNode(leases, '192.0.2.99')).toMatchObject({ node: undefined, leases: [] });
  });
  test.each([
    ['a', /too short/],
    ['A1A1', /neither a node id/],
    ['nodename', /neither a node id/],
    ['bbbb', /no lease has a node id that begins with bbbb, so its PublicIP is not known/],
    ['b'.repeat(32), /no lease has the node id b/],
  ])('%s is none', (text, why) => expect(refusal(() => findNode(leases, text))).toMatch(why));
  test('is not guessed where several fit', () => {
    const similar = view([
      held(2, `a1a1${'0'.repeat(28)}` as NodeId),
      held(3, `a1a1${'1'.repeat(28)}` as NodeId),
    ]);
    expect(refusal(() => findNode(similar, 'a1a1'))).toMatch(/several node ids begin with a1a1/);
    const twice = view([held(2, A), { ...held(3, B), endpoints: held(2, A).endpoints }]);
    expect(refusal(() => findNode(twice, '192.0.2.2'))).toMatch(
      /several nodes have the PublicIP 192\.0\.2\.2/,
    );
  });
});

describe('reserving', () => {
  const ask = (subnet: string, node: string) => ({ subnets: readSubnets(subnet), node });
  const leases = view([held(2, A), peer(4)], { junk: ['10.5.9.0/24'] });

  test.each([
    ['10.6.0.0/24', /10\.6\.0\.0\/24 is not in the network 10\.5\.0\.0\/16/],
    ['10.5.7.0/25', /another length than the subnets of this network, \/24/],
    ['10.5.7.1/24', /address bits behind its length; 10\.5\.7\.0\/24 is the subnet/],
    ['10.5.0.0/24', /not from 10\.5\.1\.0 to 10\.5\.255\.0/],
    ['fd00:5:0:7::/64', /the network has no IPv6/],
    ['10.5.2.0/24', /10\.5\.2\.0\/24 is taken by node a1a1/],
    ['10.5.4.0/24', /10\.5\.4\.0\/24 is taken by the node at 192\.0\.2\.4/],
    ['10.5.9.0/24', /taken by the key "junk", which cannot be read/],
  ])('%s for another node is refused', (subnet, why) => {
    expect(refusal(() => reserve(leases, V4, ask(subnet, '192.0.2.99')))).toMatch(why);
  });

  test("a node's own lease becomes a reservation, whoever wrote it", () => {
    for (const node of [A, 'a1a1a1', '192.0.2.2'])
      expect(reserve(leases, V4, ask('10.5.2.0/24', node))).toMatchObject({
        step: { do: 'reserve', lease: { key: '10.5.2.0-24' } },
        notes: [],
      });
    expect(reserve(leases, V4, ask('10.5.4.0/24', '192.0.2.4')).step).toMatchObject({
      do: 'reserve',
      lease: { key: '10.5.4.0-24' },
    });
  });

  test('what is reserved already stays as it is', () =>
    expect(reserve(view([reservation(held(2, A))]), V4, ask('10.5.2.0/24', A)).step.do).toBe('nothing'));

  test('a lease that does not fit the config any more is not nailed down', () => {
    const narrow = networkConfig(['10.5.0.0/16', 25]);
    expect(refusal(() => reserve(leases, narrow, ask('10.5.2.0-24', A)))).toMatch(/another length/);
  });

  test('for an address that nobody has yet is a value without a node id, as flannel could have written it', () => {
    const { step, notes } = reserve(leases, V4, ask('10.5.7.0/24', '192.0.2.99'));
    expect(step).toMatchObject({ do: 'create', key: '10.5.7.0-24' });
    if (step.do === 'create')
      expect(encodeValue(step.attrs)).toBe('{"PublicIP":"192.0.2.99","PublicIPv6":null}');
    expect(notes).toEqual([expect.stringMatching(/starts with the PublicIP 192\.0\.2\.99/)]);
  });

  test('for a node that has another subnet says when it moves', () => {
    const { step, notes } = reserve(leases, V4, ask('10.5.7.0/24', A));
    if (step.do !== 'create') throw new Error(step.do);
    expect(encodeValue(step.attrs)).toBe(
      `{"PublicIP":"192.0.2.2","PublicIPv6":null,"Loden":{"node":"${A}"}}`,
    );
    expect(notes).toEqual([expect.stringMatching(/keeps 10\.5\.2\.0\/24 for as long as its daemon runs/)]);
  });

  test('in two families finds the other subnet by the number of the first', () => {
    const both = view([held(2, A, [4, 6])]);
    expect(reserve(both, DUAL, ask('10.5.7.0/24', A)).step).toMatchObject({
      do: 'create',
      key: '10.5.7.0-24&fd00:5:0:7::-64',
    });
    expect(reserve(both, DUAL, ask('10.5.7.0/24,fd00:5:0:77::/64', A)).step).toMatchObject({
      key: '10.5.7.0-24&fd00:5:0:77::-64',
    });
    expect(reserve(both, DUAL, ask('10.5.2.0/24', A)).step).toMatchObject({ do: 'reserve' });
    expect(refusal(() => reserve(both, DUAL, ask('10.5.7.0/24,fd00:5:0:2::/64', A)))).toMatch(
      /is taken by the lease 10\.5\.2\.0-24&/,
    );
  });
});

describe('releasing', () => {
  const plan = (
    leases: ReturnType<typeof view>,
    subnet: string,
    more: { force?: boolean; config?: typeof V4 | undefined } = {},
  ) =>
    release(leases, 'config' in more ? more.config : V4, { subnet, force: more.force ?? false, ttl: 86_400 });

  test('a reservation in use becomes an ordinary lease', () => {
    expect(plan(view([reservation(held(2, A))]), '10.5.2.0/24').step).toMatchObject({
      do: 'release',
      ttl: 86_400,
    });
    // flannel's.
    expect(plan(view([reservation(peer(4))]), '10.5.4.0-24').step).toMatchObject({ do: 'release' });
  });

  test('one that nobody has taken up is deleted', () => {
    expect(plan(view([bare(peer(4))]), '10.5.4.0/24').step).toMatchObject({
      do: 'delete',
      key: '10.5.4.0-24',
      modRevision: 4n,
    });
    expect(plan(view([bare(held(2, A))]), '10.5.2.0/24', { config: UDP }).step.do).toBe('delete');
  });

  test('but not where flannel’s udp, whose values say no more than that, may use it', () => {
    expect(plan(view([bare(peer(4))]), '10.5.4.0/24', { config: UDP }).step.do).toBe('release');
    expect(plan(view([bare(peer(4))]), '10.5.4.0/24', { config: undefined }).step.do).toBe('release');
  });

  test('a lease is left to its node unless forced', () => {
    expect(refusal(() => plan(view([held(2, A)]), '10.5.2.0/24'))).toMatch(
      /is no reservation but the lease of node a1.*--force deletes it/,
    );
    expect(plan(view([held(2, A)]), '10.5.2.0/24', { force: true })).toMatchObject({
      step: { do: 'delete', etcdLease: 7587n },
      notes: [/is alive it takes a lease anew/].map((r) => expect.stringMatching(r)),
    });
    expect(plan(view([reservation(held(2, A))]), '10.5.2.0/24', { force: true }).step.do).toBe('delete');
  });

  test('nothing is not released', () => {
    expect(refusal(() => plan(view([held(2, A)]), '10.5.3.0/24'))).toBe('nobody has 10.5.3.0/24');
    expect(() => plan(view([]), 'x')).toThrow(UsageError);
  });

  test('a key that cannot be read goes only by force', () => {
    const leases = view([], { junk: [] });
    expect(refusal(() => plan(leases, 'junk'))).toMatch(/cannot be read \(garbage\); --force deletes it/);
    expect(plan(leases, 'junk', { force: true }).step).toMatchObject({
      do: 'delete',
      key: 'junk',
      modRevision: 5n,
    });
  });
});

describe('a new network config', () => {
  const all = [held(2, A), reservation(peer(200)), held(3, B, [4, 6])];
  const keys = (config: typeof V4) => orphans(all, config).map(({ lease, why }) => `${lease.key}: ${why}`);
  test('orphans leases outside of it, of another length, or of families it has not', () => {
    expect(keys(V4)).toEqual([expect.stringMatching(/^10\.5\.3\.0-24&.*the network has no IPv6/)]);
    expect(keys(networkConfig(['10.5.0.0/17', 24]))).toHaveLength(2);
    expect(keys(networkConfig(['10.5.0.0/16', 25]))).toHaveLength(3);
    expect(keys(DUAL)).toEqual([
      expect.stringMatching(/^10\.5\.2\.0-24: it has no subnet of a family/),
      expect.stringMatching(/^10\.5\.200\.0-24/),
    ]);
  });

  test('differs by path; secrets do not show', () => {
    const from = { Network: '10.5.0.0/16', Backend: { Type: 'ipsec', PSK: 'hunter2', List: [1] } };
    const to = {
      Network: '10.5.0.0/16',
      SubnetLen: 25,
      Backend: { Type: 'ipsec', PSK: 'hunter3', List: [1, 2] },
    };
    const found = differences(from, to);
    expect(JSON.stringify(found)).not.toContain('hunter');
    expect(found).toEqual([
      { path: 'Backend.PSK', from: '[redacted]', to: '[redacted]' },
      { path: 'Backend.List', from: [1], to: [1, 2] },
      { path: 'SubnetLen', to: 25 },
    ]);
    expect(differences(undefined, { a: { token: { deep: 'hunter2' } } })).toEqual([
      { path: 'a.token.deep', to: '[redacted]' },
    ]);
    expect(differences(from, structuredClone(from))).toEqual([]);
    expect(differences({ a: 1 }, {})).toEqual([{ path: 'a', from: 1 }]);
  });
});

describe('the own lease’s life', () => {
  const SUBNETS = `${PREFIX}/subnets/`;
  async function settle(etcd: FakeEtcd, node: FakeNode): Promise<void> {
    for (let i = 0; i < 10; i++) {
      await node.look(1000);
      await node.perform();
    }
    expect(node.pending, `at rest at ${etcd.now}`).toBeUndefined();
  }
  async function started(change: Partial<LeaseRequest> = {}) {
    const etcd = new FakeEtcd();
    const node = new FakeNode(etcd, 'a', A, { ...request('192.0.2.1', V4), ...change }, () => 0.5);
    await settle(etcd, node);
    const key = [...etcd.keys.keys()].find((k) => k.startsWith(SUBNETS))!;
    return { etcd, node, key };
  }

  test('goes on held, without a write, when an operator reserves it, and never renews again', async () => {
    const { etcd, node, key } = await started();
    etcd.put(key, etcd.keys.get(key)!.value);
    const { revision } = etcd;
    await settle(etcd, node);
    expect(node.state).toMatchObject({ state: 'held', lease: { etcdLease: 'reservation' } });
    expect(node.state).not.toHaveProperty('expiresAt');
    etcd.advance(10 * 86_400_000);
    node.tell({ type: 'tick' });
    await settle(etcd, node);
    expect([etcd.revision, node.state.state]).toEqual([revision, 'held']);
    expect(node.reports.map((r) => r.event)).toEqual(['acquired']);
  });

  test('keeps what an operator releases alive, and brings it to the TTL it wants', async () => {
    const { etcd, node, key } = await started();
    etcd.put(key, etcd.keys.get(key)!.value);
    await settle(etcd, node);
    etcd.put(key, etcd.keys.get(key)!.value, etcd.grant(86_400));
    await settle(etcd, node);
    expect(node.state).toMatchObject({ state: 'held', lease: { key: key.slice(SUBNETS.length) } });
    const { lease } = etcd.keys.get(key)!;
    expect(etcd.leases.get(lease)?.ttl).toBe(60);
    // Nobody else is left with the operator's.
    expect([...etcd.leases.keys()].filter((id) => etcd.leases.get(id)!.ttl === 86_400)).toEqual([]);
    for (let i = 0; i < 100; i++) {
      etcd.advance(10_000);
      node.tell({ type: 'tick' });
      await settle(etcd, node);
    }
    expect(node.state.state).toBe('held');
    expect(node.reports.map((r) => r.event)).toEqual(['acquired']);
  });

  test('takes a reservation made for it when it starts anew, and gives up what it had', async () => {
    const { etcd, node, key } = await started();
    const { step } = reserve({ leases: node.life.view!.leases, unreadable: new Map() }, V4, {
      subnets: [prefix('10.5.7.0/24')],
      node: A,
    });
    if (step.do !== 'create') throw new Error(step.do);
    etcd.put(`${SUBNETS}${step.key}`, encodeValue(step.attrs));
    await settle(etcd, node);
    expect(node.state).toMatchObject({ state: 'held', lease: { key: key.slice(SUBNETS.length) } });
    node.restart();
    await settle(etcd, node);
    expect(node.state).toMatchObject({
      state: 'held',
      lease: { key: '10.5.7.0-24', etcdLease: 'reservation' },
    });
    expect([...etcd.keys.keys()].filter((k) => k.startsWith(SUBNETS))).toEqual([`${SUBNETS}10.5.7.0-24`]);
  });
});

test('what is reserved is a key that reads as one', () => {
  const { step } = reserve(view([]), DUAL, { subnets: [prefix('10.5.7.0/24')], node: '192.0.2.9' });
  expect(step.do === 'create' && 'key' in parseKey(step.key)).toBe(true);
});

test('a reservation is nobody’s until a daemon or a backend has written it, and is no peer until then', () => {
  const peersOf = (lease: Lease, network = V4) => {
    const inForce = { network } as Parameters<typeof leaseView>[0];
    return leaseView(inForce, held(1, A), { revision: 9n, leases: view([held(1, A), lease]).leases }).peers
      .size;
  };
  const { node: _, ...nameless } = bare(held(2, B));
  expect(peersOf(bare(held(2, B)))).toBe(0);
  expect(peersOf(nameless)).toBe(0);
  // It has been taken up, or was never one.
  expect(peersOf(reservation(held(2, B)))).toBe(1);
  expect(peersOf(reservation(peer(2, [4])))).toBe(1);
  expect(peersOf({ ...nameless, etcdLease: 5n })).toBe(1);
  // flannel's udp writes no more than that.
  expect([peersOf(nameless, UDP), peersOf(bare(held(2, B)), UDP)]).toEqual([1, 0]);
});
