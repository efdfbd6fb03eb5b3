import { expect, test } from 'vitest';
import { peerLeases } from '../../src/inspect/doctor/overlay.ts';
import { isSurelyOwn, type OwnHost, ownLease, uplinkName } from '../../src/inspect/ownHost.ts';
import { healthy, known, leaseOf } from '../fake/doctorFacts.ts';
import { ADDRESSES, LINKS, leaseJson, world } from '../fake/whySeen.ts';

/** Which lease and which device are this host's, without a daemon. */

const MINE = '1'.repeat(32);
const UNCLAIMED = { reservation: true, etcdLease: null, instance: null, backend: null, data: null } as const;

/** A host that knows its leases from etcd; 10.42.1.0/24 names its address 192.0.2.1. */
const host = (node: OwnHost['node'], more: Parameters<typeof leaseJson>[1] = {}): OwnHost => ({
  world: world({ daemon: false, leases: [leaseJson(1, { self: false, ...more }), leaseJson(2)] }),
  node,
  links: LINKS,
  addresses: ADDRESSES,
});

test.each([
  ['our id', MINE, {}, true],
  ['our address, flannel’s', 'f'.repeat(32), { node: null }, true],
  ['our address, and nobody knows our id', undefined, {}, false],
  ['our address, and we have no id', null, {}, false],
] as const)('a lease is ours by %s', (_, node, more, sure) => {
  const own = ownLease(host(node, more));
  expect(own?.key).toBe('10.42.1.0-24');
  expect(isSurelyOwn(host(node, more), own!)).toBe(sure);
});

test.each([
  ['another id', 'f'.repeat(32), {}],
  ['another address', undefined, { publicIP: '192.0.2.77' }],
  ['nobody behind it', undefined, { ...UNCLAIMED, node: null }],
] as const)('a lease is not ours that has %s', (_, node, more) => {
  expect(ownLease(host(node, more))).toBeUndefined();
});

test('a reservation that nobody has taken up is no peer', () => {
  const facts = healthy();
  const of = (more: Parameters<typeof leaseOf>[1]) =>
    peerLeases({
      ...facts,
      world: {
        ...facts.world,
        leases: known({
          revision: '5',
          source: 'daemon',
          leases: [leaseOf(1), leaseOf(9, more)],
          setAside: [],
        }),
      },
    }).map((l) => l.key);
  expect(of({})).toEqual(['10.42.9.0-24']);
  expect(of(UNCLAIMED)).toEqual([]);
});

test('the uplink: --iface, our address, what the tunnel stands on, the default route', () => {
  const plain = host(MINE);
  expect(uplinkName(plain, { iface: 'eth9' })).toBe('eth9');
  expect(uplinkName(plain, { iface: '10.42.1.1' })).toBe('cni0');
  expect(uplinkName(plain, {})).toBe('eth0');
  const far = host(MINE, { publicIP: '203.0.113.1' });
  expect(uplinkName(far, { defaultDev: 'eth7' })).toBe('eth0');
  expect(uplinkName({ ...far, links: [] }, { defaultDev: 'eth7' })).toBe('eth7');
});
