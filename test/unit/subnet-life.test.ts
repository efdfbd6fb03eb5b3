import { describe, expect, it } from 'vitest';
import { CHALLENGE_SURE, CHALLENGE_WAIT } from '../../src/subnet/lifeSeek.ts';
import type { LeaseRequest, NodeId } from '../../src/subnet/types.ts';
import { encodeValue } from '../../src/subnet/value.ts';
import { FakeEtcd } from '../fake/etcd.ts';
import { FakeNode, PREFIX, request } from '../fake/leaseWorld.ts';
import { networkConfig } from '../support/storeNode.ts';

const NETWORK = networkConfig(['10.5.0.0/16', 24]);
const SUBNETS = `${PREFIX}/subnets/`;
const ID = 'a'.repeat(32) as NodeId;

function world() {
  const etcd = new FakeEtcd();
  const node = (
    name: string,
    ip: string,
    change: Partial<LeaseRequest> = {},
    id = name.repeat(32) as NodeId,
  ) => new FakeNode(etcd, name, id, { ...request(ip, NETWORK), ...change }, () => 0.5);
  return { etcd, node };
}

/** Everybody gets on for a while. */
async function settle(etcd: FakeEtcd, ...nodes: FakeNode[]): Promise<void> {
  for (let i = 0; i < 30; i++) {
    for (const n of nodes) {
      await n.look(1000);
      await n.perform();
    }
  }
  for (const n of nodes) expect(n.pending, `${n.name} is at rest at ${etcd.now}`).toBeUndefined();
}

const advance = (etcd: FakeEtcd, milliseconds: number, ...nodes: FakeNode[]) => {
  etcd.advance(milliseconds);
  for (const n of nodes) n.tell({ type: 'tick' });
};

const events = (n: FakeNode) => n.reports.map((r) => r.event);

describe('a new lease', () => {
  it('is held once the view shows everything up to its creation, not before', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    expect(n.state).toEqual({ state: 'waiting', reason: 'waiting for etcd' });
    await n.look(1);
    expect(n.pending).toMatchObject({ op: 'create', ttl: 60 });
    await n.perform();
    expect([n.state.state, n.pending]).toEqual(['waiting', undefined]);
    await n.look(1);
    expect(n.state).toMatchObject({ state: 'held', lease: { key: '10.5.128.0-24' }, expiresAt: 60_000 });
    expect([...etcd.keys.keys()]).toEqual([`${SUBNETS}10.5.128.0-24`]);
    expect(events(n)).toEqual(['acquired']);
  });

  it('loses to an older one that overlaps it', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1', { previous: [] });
    await n.look(1);
    // Made after our view, before our key.
    etcd.put(`${SUBNETS}10.5.128.0-20`, '{"PublicIP":"192.0.2.9"}');
    await n.perform();
    await n.look(10);
    expect(n.pending).toMatchObject({ op: 'remove', lease: { key: '10.5.128.0-24' } });
    await n.perform();
    // The view has it still.
    expect(n.pending).toBeUndefined();
    await settle(etcd, n);
    expect(n.state).toMatchObject({ state: 'held' });
    expect([...etcd.keys.keys()].some((k) => k.endsWith('10.5.128.0-24'))).toBe(false);
  });

  it('that another node was quicker to make is sought again when the view shows that one', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    await n.look(1);
    etcd.put(`${SUBNETS}10.5.128.0-24`, '{"PublicIP":"192.0.2.9"}');
    await n.perform();
    expect([n.pending, etcd.leases.size]).toEqual([undefined, 0]);
    advance(etcd, 1_000, n);
    expect(n.pending).toBeUndefined();
    await n.look(1);
    expect(n.pending).toMatchObject({ op: 'create' });
  });
});

describe('keeping it', () => {
  it('means a keep-alive after a third of the TTL, and a fence when the TTL is over', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    await settle(etcd, n);
    advance(etcd, 19_999, n);
    expect(n.pending).toBeUndefined();
    advance(etcd, 1, n);
    expect(n.pending).toMatchObject({ op: 'keepAlive' });
    // It took 10 s until the answer was here: the TTL counts from the request.
    etcd.advance(10_000);
    n.tell({ type: 'done', op: n.pending!, result: { end: 'alive', ttl: 60, sentAt: 20_000 } });
    n.pending = undefined;
    expect(n.state).toMatchObject({ state: 'held', expiresAt: 80_000 });

    n.cutOff = true;
    for (let t = 30_000; t < 79_000; t += 1_000) {
      advance(etcd, 1_000, n);
      await n.perform();
      expect(n.state.state).toBe('held');
    }
    advance(etcd, 1_000, n);
    expect(n.state).toMatchObject({ state: 'fenced', lease: { key: '10.5.128.0-24' } });
    expect(events(n)).toEqual(['acquired', 'retry', 'fenced']);
    await n.perform();
    n.cutOff = false;
    advance(etcd, 5_000, n);
    await settle(etcd, n);
    expect(n.state).toMatchObject({ state: 'held', lease: { key: '10.5.128.0-24' }, expiresAt: 145_000 });
  });

  it('means a new etcd lease when the TTL is changed, but not when the server grants more than was asked', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1', { ttl: 1 });
    await settle(etcd, n);
    expect([n.state, etcd.leases.size]).toMatchObject([{ state: 'held', expiresAt: 2_000 }, 1]);
    n.update({ ttl: 90 });
    expect(n.pending).toMatchObject({ op: 'regrant', ttl: 90 });
    await settle(etcd, n);
    expect([n.state, etcd.leases.size]).toMatchObject([{ state: 'held', expiresAt: 90_000 }, 1]);
  });

  it('means writing what changed once, under the same etcd lease', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    await settle(etcd, n);
    const before = etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!;
    n.update({ attrs: { ...n.want.attrs, data: new Map([[4, { VNI: 2 }]]) } });
    expect(n.pending?.op).toBe('rewrite');
    await settle(etcd, n);
    const after = etcd.keys.get(before.key)!;
    expect([after.lease, after.createRevision]).toEqual([before.lease, before.createRevision]);
    n.update({ attrs: { ...n.want.attrs } });
    expect(n.pending).toBeUndefined();
  });

  it('of a reservation that another lease overlaps means saying so', async () => {
    const { etcd, node } = world();
    etcd.put(`${SUBNETS}10.5.0.0-18`, '{"PublicIP":"192.0.2.9"}');
    etcd.put(`${SUBNETS}10.5.7.0-24`, '{"PublicIP":"192.0.2.1"}');
    const n = node('a', '192.0.2.1');
    await settle(etcd, n);
    expect(n.state).toMatchObject({ state: 'held', lease: { key: '10.5.7.0-24', etcdLease: 'reservation' } });
    expect(n.reports.find((r) => r.event === 'conflict')).toMatchObject({ level: 'error' });
  });
});

describe('a failure', () => {
  it('is followed by a list and a growing pause, and told once', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    await n.look(1);
    n.cutOff = true;
    const pauses: number[] = [];
    for (let i = 0; i < 9; i++) {
      await n.perform();
      const { retryAt, readAfter, view } = n.life;
      pauses.push(retryAt - etcd.now);
      expect(readAfter).toBe(view!.list);
      advance(etcd, retryAt - etcd.now, n);
      // The pause is over, but what is in etcd is not known yet.
      expect(n.pending).toBeUndefined();
      n.cutOff = false;
      await n.look(1);
      n.cutOff = true;
      expect(n.pending).toMatchObject({ op: 'create' });
    }
    expect(pauses).toEqual([75, 150, 300, 600, 1200, 2400, 3750, 3750, 3750]);
    expect(events(n)).toEqual(['retry']);
    expect(n.state).toMatchObject({
      state: 'waiting',
      reason: expect.stringContaining('no answer within 5 s'),
    });
  });

  it('that was none after all leaves no second key behind', async () => {
    const { etcd, node } = world();
    const n = node('a', '192.0.2.1');
    await n.look(1);
    // Grant; the put comes later; the revocation of the grant is lost.
    n.faults = ['none', 'late', 'before'];
    await n.perform();
    etcd.put(`${SUBNETS}10.5.129.0-24`, '{"PublicIP":"192.0.2.9"}');
    n.want = { ...n.want, previous: [{ addr: { family: 4, value: 0x0a050700n }, len: 24 }] };
    n.tell({ type: 'want', want: n.want });
    advance(etcd, 1_000, n);
    await settle(etcd, n);
    expect(n.state).toMatchObject({ state: 'held', lease: { key: '10.5.7.0-24' } });
    etcd.finishLate();
    expect(etcd.keys.has(`${SUBNETS}10.5.128.0-24`)).toBe(true);
    await settle(etcd, n);
    expect([...etcd.keys.keys()].map((k) => k.slice(SUBNETS.length))).toEqual([
      '10.5.129.0-24',
      '10.5.7.0-24',
    ]);
  });
});

describe('a copied state directory', () => {
  it('is found out: the copy asks, the owner answers, and nothing of the owner’s is written', async () => {
    const { etcd, node } = world();
    const owner = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, owner);
    const before = etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!;
    const copy = node('b', '192.0.2.2', {}, ID);
    await copy.look(1);
    expect(copy.pending).toMatchObject({ op: 'challenge', node: ID });
    await copy.perform();
    await copy.look(10);
    expect([copy.pending, copy.state.state]).toEqual([undefined, 'waiting']);
    await owner.look(10);
    expect(owner.pending).toMatchObject({ op: 'answer', node: ID });
    await settle(etcd, owner, copy);
    expect(etcd.keys.get(before.key)).toBe(before);
    expect([owner.node === ID, copy.node === ID, copy.state.state]).toEqual([true, false, 'held']);
    expect([events(owner), events(copy)]).toEqual([
      ['acquired', 'cloned'],
      ['cloned', 'acquired'],
    ]);
  });

  it('is none when nobody answers for 5 s: the lease is taken over', async () => {
    const { etcd, node } = world();
    const dead = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, dead);
    const n = node('b', '192.0.2.2', {}, ID);
    await settle(etcd, n);
    advance(etcd, CHALLENGE_WAIT - 1, n);
    expect(n.pending).toBeUndefined();
    advance(etcd, 1, n);
    expect(n.pending).toMatchObject({ op: 'takeOver' });
    await settle(etcd, n);
    expect(n.state).toMatchObject({ state: 'held', lease: { key: '10.5.128.0-24' } });
    expect([n.node, etcd.keys.size]).toEqual([ID, 1]);
  });

  it('is asked about again when the challenge may have run out by itself', async () => {
    const { etcd, node } = world();
    const dead = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, dead);
    const n = node('b', '192.0.2.2', {}, ID);
    await settle(etcd, n);
    n.cutOff = true;
    advance(etcd, CHALLENGE_SURE + 4_000, n);
    await n.perform();
    n.cutOff = false;
    advance(etcd, 1_000, n);
    await n.look(10);
    await n.look(10);
    expect([n.pending?.op, n.node]).toEqual(['challenge', ID]);
  });

  it('whose owner could not answer: it does not write over the copy, it takes a new node id', async () => {
    const { etcd, node } = world();
    const owner = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, owner);
    owner.cutOff = true;
    const copy = node('b', '192.0.2.2', {}, ID);
    await settle(etcd, copy);
    advance(etcd, CHALLENGE_WAIT, copy);
    await settle(etcd, copy);
    const theirs = etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!;
    owner.cutOff = false;
    await settle(etcd, owner, copy);
    expect(etcd.keys.get(theirs.key)).toBe(theirs);
    expect([copy.node === ID, owner.node === ID, owner.state.state]).toEqual([true, false, 'held']);
    expect(owner.reports.filter((r) => r.level === 'error').map((r) => r.event)).toEqual([
      'lost',
      'cloned',
      'moved',
    ]);
  });
});

describe('another daemon with our node id and our address', () => {
  it('is left the lease while it lives, and asked every minute whether it does', async () => {
    const { etcd, node } = world();
    const old = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, old);
    const young = node('b', '192.0.2.1', {}, ID);
    await settle(etcd, young);
    const theirs = etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!;
    await settle(etcd, old, young);
    expect([old.state.state, young.state.state]).toEqual(['fenced', 'held']);
    expect(old.reports.find((r) => r.event === 'conflict')?.level).toBe('error');
    expect(etcd.keys.get(theirs.key)).toBe(theirs);
    // It has answered once; the next question comes after a minute.
    advance(etcd, 59_000, young);
    await settle(etcd, young);
    advance(etcd, 0, old);
    expect(old.pending).toBeUndefined();
    advance(etcd, 1_000, old);
    expect(old.pending).toMatchObject({ op: 'challenge' });
    // This time nobody answers.
    await settle(etcd, old);
    advance(etcd, CHALLENGE_WAIT, old);
    await settle(etcd, old);
    expect(old.state).toMatchObject({ state: 'held', lease: { key: '10.5.128.0-24' } });
    expect(old.node).toBe(ID);
  });

  it('is not imagined when somebody puts back the value we found', async () => {
    const { etcd, node } = world();
    const before = node('a', '192.0.2.1', {}, ID);
    await settle(etcd, before);
    const { value } = etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!;
    before.restart();
    await before.look(1);
    etcd.put(`${SUBNETS}10.5.128.0-24`, value, etcd.keys.get(`${SUBNETS}10.5.128.0-24`)!.lease);
    await settle(etcd, before);
    expect(before.state.state).toBe('held');
    expect(events(before)).not.toContain('conflict');
  });
});

it('a lease found by flanneld’s value is written once, with our member, where it hangs', async () => {
  const { etcd, node } = world();
  const theirs = encodeValue({ ...request('192.0.2.1', NETWORK).attrs });
  const lease = etcd.grant(86_400);
  etcd.put(`${SUBNETS}10.5.7.0-24`, theirs, lease);
  const n = node('a', '192.0.2.1', { ttl: 86_400 });
  await settle(etcd, n);
  const kv = etcd.keys.get(`${SUBNETS}10.5.7.0-24`)!;
  expect([kv.lease, kv.value]).toEqual([
    lease,
    theirs.replace(/}$/, `,"Loden":{"node":"${n.node}","instance":"${n.life.instance}"}}`),
  ]);
  expect(kv.modRevision).toBe(3n);
  expect(events(n)).toEqual(['adopted']);
});
