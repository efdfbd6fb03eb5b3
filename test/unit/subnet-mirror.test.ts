import { describe, expect, it } from 'vitest';
import { Mirror } from '../../src/subnet/etcd/mirror.ts';
import type { KeyValue } from '../../src/subnet/etcd/wire.ts';

const PREFIX = '/coreos.com/network';
const value = (ip: string) => `{"PublicIP":"${ip}","PublicIPv6":null}`;
const kv = (name: string, text: string, modRevision = 5n, over: Partial<KeyValue> = {}): KeyValue => ({
  key: `${PREFIX}/${name}`,
  value: text,
  createRevision: 5n,
  modRevision,
  lease: 9n,
  ...over,
});

function mirror(...kvs: KeyValue[]) {
  const said: string[] = [];
  const m = new Mirror(PREFIX, (key, reason) => said.push(`${key}: ${reason}`));
  const list = (revision: bigint, ...all: KeyValue[]) => {
    const filling = m.fill();
    for (const one of all) filling.add(one);
    filling.finish(revision, false);
  };
  if (kvs.length > 0) list(10n, ...kvs);
  return { m, said, list, keys: () => [...m.view()!.leases.keys()] };
}

const A = kv('subnets/10.5.1.0-24', value('192.0.2.1'));
const B = kv('subnets/10.5.2.0-24', value('192.0.2.2'));

describe('the mirror', () => {
  it('has no view before the first list', () => {
    const { m } = mirror();
    m.apply('Put', A);
    expect(m.view()).toBeUndefined();
  });

  it('follows events, and its views do not change after', () => {
    const { m, keys } = mirror(A);
    const before = m.view()!;
    m.apply('Put', { ...B, modRevision: 11n });
    m.apply('Delete', { ...A, modRevision: 12n });
    expect(keys()).toEqual(['10.5.2.0-24']);
    expect([...before.leases.keys()]).toEqual(['10.5.1.0-24']);
    expect([before.revision, m.view()!.revision]).toEqual([10n, 12n]);
    expect(m.view()).toBe(m.view());
  });

  it('keeps the object of a lease that did not change, over lists and events', () => {
    const { m, list } = mirror(A, B);
    const a = m.view()!.leases.get('10.5.1.0-24' as never);
    const b = m.view()!.leases.get('10.5.2.0-24' as never);
    list(20n, structuredClone(A), { ...B, value: value('192.0.2.22'), modRevision: 15n });
    expect(m.view()!.leases.get('10.5.1.0-24' as never)).toBe(a);
    expect(m.view()!.leases.get('10.5.2.0-24' as never)).not.toBe(b);
    m.apply('Put', structuredClone(A));
    expect(m.view()!.leases.get('10.5.1.0-24' as never)).toBe(a);
  });

  it.each([
    ['value', { value: value('192.0.2.9') }],
    ['mod revision', { modRevision: 6n }],
    ['create revision', { createRevision: 4n }],
    ['etcd lease', { lease: 10n }],
  ])('sees a changed %s', (_, change) => {
    const { m, list } = mirror(A);
    const a = m.view()!.leases.get('10.5.1.0-24' as never);
    list(20n, { ...A, ...change });
    expect(m.view()!.leases.get('10.5.1.0-24' as never)).not.toBe(a);
  });

  it('drops what a list does not have any more', () => {
    const { m, list, keys } = mirror(A, B, kv('subnets/foo', 'bar'));
    list(20n, B);
    expect(keys()).toEqual(['10.5.2.0-24']);
    expect(m.view()!.setAside.size).toBe(0);
  });

  it('sets aside what it cannot read, says so once, and takes it back when it can', () => {
    const { m, said, list, keys } = mirror(A, kv('subnets/foo', 'bar'), kv('subnets/10.5.3.0-24', '{'));
    expect(keys()).toEqual(['10.5.1.0-24']);
    expect([...m.view()!.unreadable].map(([k, u]) => [k, u.occupies.length])).toEqual([
      ['foo', 0],
      ['10.5.3.0-24', 1],
    ]);
    list(20n, A, kv('subnets/foo', 'bar'), kv('subnets/10.5.3.0-24', '{', 15n));
    expect(said.length).toBe(2);
    m.apply('Put', kv('subnets/10.5.3.0-24', value('192.0.2.3'), 21n));
    expect(keys()).toEqual(['10.5.1.0-24', '10.5.3.0-24']);
    m.apply('Put', kv('subnets/10.5.1.0-24', 'bar', 22n));
    expect(keys()).toEqual(['10.5.3.0-24']);
    expect([...m.view()!.setAside.keys()]).toEqual(['foo', '10.5.1.0-24']);
    m.apply('Delete', kv('subnets/foo', '', 23n));
    expect([...m.view()!.setAside.keys()]).toEqual(['10.5.1.0-24']);
  });

  it('reads the config and the challenges, and nothing else', () => {
    const id = 'a'.repeat(32);
    const { m } = mirror(
      kv('config', '{"Network":"10.5.0.0/16"}'),
      kv(`loden/challenge/${id}`, '{"instance":"0123456789abcdef","publicIP":"192.0.2.1"}', 7n),
      kv('loden/challenge/x', 'junk', 8n),
      kv('other/subnets/10.5.1.0-24', value('192.0.2.1')),
      kv('subnetsX/10.5.1.0-24', value('192.0.2.1')),
      { ...A, key: '/elsewhere/subnets/10.5.1.0-24' },
    );
    const view = m.view()!;
    expect([view.config, view.leases.size, view.setAside.size]).toEqual(['{"Network":"10.5.0.0/16"}', 0, 0]);
    expect([...view.challenges]).toEqual([
      [id, { instance: '0123456789abcdef', modRevision: 7n }],
      ['x', { instance: undefined, modRevision: 8n }],
    ]);
    m.apply('Delete', kv('config', '', 11n));
    m.apply('Delete', kv(`loden/challenge/${id}`, '', 12n));
    expect([m.view()!.config, m.view()!.challenges.size]).toEqual([undefined, 1]);
  });

  it('counts when keys come, go or are made anew, but not when they are written', () => {
    const { m, list } = mirror(A);
    const count = () => m.view()!.occupancy;
    const first = count();
    m.apply('Put', { ...A, modRevision: 11n });
    list(12n, { ...A, modRevision: 11n });
    expect(count()).toBe(first);
    m.apply('Put', { ...B, modRevision: 13n, createRevision: 13n });
    expect(count()).toBe(first + 1);
    list(
      20n,
      { ...A, modRevision: 19n, createRevision: 19n },
      { ...B, modRevision: 13n, createRevision: 13n },
    );
    expect(count()).toBe(first + 2);
    m.apply('Delete', { ...A, modRevision: 21n });
    expect(count()).toBe(first + 3);
    list(22n);
    expect(count()).toBe(first + 4);
  });

  it('reads a reservation as one', () => {
    const { m } = mirror({ ...A, lease: 0n }, B);
    expect([...m.view()!.leases.values()].map((l) => l.etcdLease)).toEqual(['reservation', 9n]);
  });
});
