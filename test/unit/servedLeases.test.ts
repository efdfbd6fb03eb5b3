import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ServedLeases } from '../../src/daemon/servedLeases.ts';
import { prefix } from '../../src/net/prefix.ts';
import type { Lease, LeaseSnapshot, NodeId, SubnetKey } from '../../src/subnet/types.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

let revision = 100n;
/** A lease of the n-th subnet; each is another object, as a written one is. */
function lease(n: number, node: string | undefined = `node${n}`): Lease {
  return {
    key: `10.5.${n}.0-24` as SubnetKey,
    subnets: [prefix(`10.5.${n}.0/24`)],
    endpoints: new Map(),
    data: new Map(),
    ...(node === undefined ? {} : { node: node as NodeId }),
    createRevision: revision++,
    modRevision: revision,
    etcdLease: 1n,
  };
}

const snapshot = (epoch: number, ...leases: Lease[]): LeaseSnapshot => ({
  revision: revision++,
  epoch,
  leases: new Map(leases.map((l) => [l.key, l])),
  setAside: new Map(),
});

/** Whose subnet the packets for each go to. */
const owners = (served: ServedLeases) =>
  Object.fromEntries([...served.served!.leases].map(([key, { node }]) => [key.split('.')[2], node]).sort());

const [a, b, c] = [lease(1), lease(2), lease(3)];

test('serves what etcd has', () => {
  const served = new ServedLeases(() => {});
  const first = snapshot(1, a, b);
  expect(served.take(first)).toBe(0);
  expect(served.served).toBe(first);
  expect(served.take(snapshot(1, b))).toBe(0);
  expect(owners(served)).toEqual({ 2: 'node2' });
});

test('serves what a restored etcd has forgotten, behind all it knows, until it is written or its time is over', () => {
  const onChange = vi.fn();
  const served = new ServedLeases(onChange);
  served.take(snapshot(1, a, b, c));
  const restored = snapshot(2, a);
  expect(served.take(restored)).toBe(2);
  expect(served.snapshot).toBe(restored);
  expect(owners(served)).toEqual({ 1: 'node1', 2: 'node2', 3: 'node3' });
  expect(served.served!.leases.get(a.key)).toBe(a);
  expect(served.served!.leases.get(b.key)!.createRevision).toBeGreaterThan(1n << 62n);

  const again = lease(2);
  served.take(snapshot(2, a, again));
  expect(served.served!.leases.get(b.key)).toBe(again);
  expect(owners(served)).toEqual({ 1: 'node1', 2: 'node2', 3: 'node3' });
  expect(onChange).not.toHaveBeenCalled();

  vi.advanceTimersByTime(60_000);
  expect(onChange).toHaveBeenCalledOnce();
  expect(owners(served)).toEqual({ 1: 'node1', 2: 'node2' });
});

test('serves the newer value of a lease of which a restored etcd knows an older one', () => {
  const served = new ServedLeases(() => {});
  served.take(snapshot(1, a, b));
  const older = { ...b, modRevision: 7n };
  expect(served.take(snapshot(2, a, older))).toBe(1);
  expect(served.served!.leases.get(b.key)!.modRevision).toBe(b.modRevision);
  const written = { ...b, modRevision: 8n };
  served.take(snapshot(2, a, written));
  expect(served.served!.leases.get(b.key)).toBe(written);
});

test('believes etcd about what was written since', () => {
  const served = new ServedLeases(() => {});
  served.take(snapshot(1, a, b, c));
  served.take(snapshot(2, a));
  // Another took the subnet of one; one came back with another subnet; one that was known is deleted.
  served.take(snapshot(2, lease(2, 'node9'), lease(4, 'node3')));
  expect(owners(served)).toEqual({ 2: 'node9', 4: 'node3' });
});

test('remembers over a second restoring', () => {
  const served = new ServedLeases(() => {});
  served.take(snapshot(1, a, b));
  served.take(snapshot(2, a));
  vi.advanceTimersByTime(40_000);
  expect(served.take(snapshot(3))).toBe(2);
  vi.advanceTimersByTime(40_000);
  expect(owners(served)).toEqual({ 1: 'node1', 2: 'node2' });
  vi.advanceTimersByTime(20_000);
  expect(owners(served)).toEqual({});
});
