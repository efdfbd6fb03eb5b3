import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inOrder, type Vetted, vet } from '../../src/backends/peers.ts';
import { PrefixSet } from '../../src/backends/prefixSet.ts';
import { chooseBackend } from '../../src/backends/registry.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { type Family, formatAddr } from '../../src/net/addr.ts';
import { containsAddr, formatPrefix, hostPrefix, overlaps, type Prefix } from '../../src/net/prefix.ts';
import type { Lease, LeaseView } from '../../src/subnet/types.ts';
import { crowdedPrefix } from '../fake/arbitraries.ts';
import { desired, host, type LeaseInit, lease, NETWORKS, peer, peerMac } from '../fake/overlay.ts';

const VXLAN = { ...NETWORKS.v4, Backend: { Type: 'vxlan' } };

const routes = (r: ReturnType<typeof desired>) =>
  r.objects.flatMap((o) => (o.kind === 'route' ? [formatPrefix(o.dst)] : []));

/** A peer that may be anything, with a MAC of its own. */
let number = 1000;
const odd = (init: LeaseInit) => {
  const VtepMAC = peerMac(++number);
  return lease({ data: { VNI: 1, VtepMAC }, dataV6: { VNI: 1, VtepMAC }, revision: number, ...init });
};

describe('a lease gets nothing when', () => {
  test.each([
    [
      'its subnet is outside the network',
      ['10.6.9.0/24'],
      ['192.0.2.9'],
      /outside the network 10\.5\.0\.0\/16/,
    ],
    ['its subnet is the network and more', ['10.0.0.0/8'], ['192.0.2.9'], /outside the network/],
    ['its subnet is everything', ['0.0.0.0/0'], ['192.0.2.9'], /outside the network/],
    ['its subnet is ours', ['10.5.1.0/24'], ['192.0.2.9'], /overlaps our own subnet/],
    ['its subnet holds ours', ['10.5.0.0/16'], ['192.0.2.9'], /overlaps our own subnet/],
    ['its subnet is in ours', ['10.5.1.128/25'], ['192.0.2.9'], /overlaps our own subnet/],
    [
      "its subnet is an older peer's",
      ['10.5.2.0/24', 'fd00:5:0:9::/64'],
      ['192.0.2.9'],
      /overlaps that of the older lease 10\.5\.2\.0-24/,
    ],
    ["its subnet holds an older peer's", ['10.5.2.0/23'], ['192.0.2.9'], /overlaps that of the older lease/],
    ['it has no PublicIP', ['10.5.9.0/24'], [], /has no PublicIP$/],
    ['it has one of the other family only', ['10.5.9.0/24'], ['2001:db8::9'], /has no PublicIP$/],
    ['its PublicIP is zero', ['10.5.9.0/24'], ['0.0.0.0'], /not one other hosts can reach/],
    ['its PublicIP is loopback', ['10.5.9.0/24'], ['127.0.0.1'], /not one other hosts can reach/],
    ['its PublicIP is multicast', ['10.5.9.0/24'], ['224.0.0.1'], /not one other hosts can reach/],
    ['its PublicIP is broadcast', ['10.5.9.0/24'], ['255.255.255.255'], /not one other hosts can reach/],
    ['its PublicIP is ours', ['10.5.9.0/24'], ['192.0.2.1'], /is this host's own/],
    [
      'its PublicIP is in its own subnet',
      ['10.5.9.0/24'],
      ['10.5.9.9'],
      /inside the overlay, in its own subnet/,
    ],
    ['its PublicIP is in our subnet', ['10.5.9.0/24'], ['10.5.1.9'], /inside the overlay, in our own subnet/],
    [
      "its PublicIP is in an older peer's",
      ['10.5.9.0/24'],
      ['10.5.2.9'],
      /in the subnet of the older lease 10\.5\.2\.0-24/,
    ],
    [
      'it has no subnet of ours',
      ['fd00:5:0:9::/64'],
      ['2001:db8::9'],
      /no subnet in a family this network uses/,
    ],
  ])('%s', (_, subnets, endpoints, reason) => {
    const result = desired(VXLAN, [peer(2), odd({ subnets, endpoints }), peer(3)]);
    expect(routes(result)).toEqual(['10.5.2.0/24', '10.5.3.0/24']);
    expect(result.problems).toEqual([expect.stringMatching(reason)]);
  });

  test('it is of another backend', () => {
    const result = desired(VXLAN, [peer(2), peer(9, [4], { backend: 'host-gw' })]);
    expect(routes(result)).toEqual(['10.5.2.0/24']);
    expect(result.problems).toEqual(['10.5.9.0-24: it uses the backend "host-gw", not vxlan']);
  });

  describe('its subnet covers what the underlay needs:', () => {
    /** Hosts with addresses inside the network, as 10.0.0.0/8 has them. */
    const config = { Network: '10.0.0.0/8', Backend: { Type: 'vxlan' } };
    const facts = host({
      localAddrs: ['10.0.0.1'],
      publicAddrs: ['10.0.0.1'],
      reserved: ['10.0.7.254', '2001:db8::fe'],
    });
    const self = lease({ subnets: ['10.200.1.0/24'] });
    const first = odd({ subnets: ['10.200.2.0/24'], endpoints: ['10.0.0.2'] });
    test.each([
      ['our address', '10.0.0.0/30', /take over the address of this host/],
      ["an older peer's", '10.0.0.2/31', /take over the address of the older lease 10\.200\.2\.0-24/],
      ['a gateway', '10.0.7.0/24', /take over the address of a gateway or etcd server/],
    ])('%s', (_, subnet, reason) => {
      const result = desired(
        config,
        [first, odd({ subnets: [subnet], endpoints: ['10.0.0.9'] })],
        facts,
        self,
      );
      expect(routes(result)).toEqual(['10.200.2.0/24']);
      expect(result.problems).toEqual([expect.stringMatching(reason)]);
    });
  });
});

test('the older lease wins in whatever order they come', () => {
  const old = peer(2);
  const young = odd({ subnets: ['10.5.2.0/25'], endpoints: ['192.0.2.77'] });
  for (const order of [
    [old, young],
    [young, old],
  ])
    expect(routes(desired(VXLAN, order))).toEqual(['10.5.2.0/24']);
});

test('an older lease keeps its subnet against a newcomer who claims to live in it', () => {
  const victim = peer(2);
  const attacker = odd({ subnets: ['10.5.9.0/24'], endpoints: ['10.5.2.7'] });
  const result = desired(VXLAN, [attacker, victim]);
  expect(routes(result)).toEqual(['10.5.2.0/24']);
});

test('leases of one revision are ordered by key', () => {
  const [a, b] = [peer(5, [4], { revision: 7 }), peer(4, [4], { revision: 7 })];
  expect(inOrder([a, b])).toEqual([b, a]);
  expect(inOrder([b, a])).toEqual([b, a]);
});

test('two leases may share a PublicIP', () => {
  const result = desired(VXLAN, [peer(2), peer(3, [4], { endpoints: ['192.0.2.2'] })]);
  expect(result.problems).toEqual([]);
  expect(routes(result)).toHaveLength(2);
});

test('whatever leases there are, routes never overlap each other, ours, or what the underlay needs', () => {
  const init = fc.record({
    subnets: fc.array(crowdedPrefix(4).map(formatPrefix), { minLength: 1, maxLength: 1 }),
    endpoints: fc.array(
      crowdedPrefix(4).map((p) => formatPrefix(hostPrefix(p.addr)).split('/')[0]!),
      { maxLength: 1 },
    ),
    revision: fc.integer({ min: 1, max: 5 }),
  });
  // All in 10.5.0.0/22, so that everything meets everything.
  const shift = (text: string) => text.replace(/^0\.0\./, '10.5.');
  fc.assert(
    fc.property(fc.uniqueArray(init, { selector: (i) => i.subnets[0], maxLength: 12 }), (inits) => {
      const facts = host({ localAddrs: ['10.5.0.1'], reserved: ['10.5.3.254'], uplink: { addrs: [] } });
      const self = lease({ subnets: ['10.5.1.0/26'] });
      const peers = inits.map((i) =>
        odd({ ...i, subnets: i.subnets.map(shift), endpoints: i.endpoints.map(shift) }),
      );
      const result = desired(VXLAN, peers, facts, self);
      const dsts = result.objects.flatMap((o): Prefix[] => (o.kind === 'route' ? [o.dst] : []));
      const ends = result.objects.flatMap((o) => (o.kind === 'fdb' ? [o.dst] : []));
      const taken: Prefix[] = [
        self.subnets[0]!,
        ...[...ends, facts.localAddrs.get(4)!, facts.reserved![0]!].map(hostPrefix),
      ];
      for (const [i, dst] of dsts.entries()) {
        for (const other of [...dsts.slice(i + 1), ...taken]) expect(overlaps(dst, other)).toBe(false);
      }
      expect(dsts.length + result.problems.length).toBe(peers.length);
    }),
  );
});

test('a set of prefixes finds the same overlaps as a look at each', () => {
  const family: Family = 6;
  fc.assert(
    fc.property(
      fc.array(crowdedPrefix(family), { maxLength: 40 }),
      crowdedPrefix(family),
      (prefixes, probe) => {
        const set = new PrefixSet<Prefix>(family);
        const kept: Prefix[] = [];
        for (const p of prefixes) {
          const hit = set.overlapping(p);
          expect(hit !== undefined).toBe(kept.some((k) => overlaps(k, p)));
          if (hit) expect(overlaps(hit, p)).toBe(true);
          else {
            set.add(p, p);
            kept.push(p);
          }
        }
        expect(set.holding(probe.addr)).toBe(kept.find((k) => containsAddr(k, probe.addr)));
      },
    ),
  );
});

test('5,000 peers are vetted without a pause worth noting', () => {
  const config = { Network: '10.0.0.0/8', Backend: { Type: 'vxlan' } };
  const peers = Array.from({ length: 5000 }, (_, i) =>
    odd({ subnets: [`10.${1 + (i >> 8)}.${i & 255}.0/24`], endpoints: [`172.16.${i >> 8}.${i & 255}`] }),
  );
  const self = lease({ subnets: ['10.200.1.0/24'] });
  expect(routes(desired(config, peers, host(), self))).toHaveLength(5000);
});

describe('as leases come and go', () => {
  const network = parseNetworkConfig(JSON.stringify(VXLAN));
  const self = lease({ subnets: ['10.5.1.0/26'] });
  const viewOf = (peers: Iterable<Lease>): LeaseView => ({
    revision: 1n,
    network,
    self,
    peers: new Map([...peers].map((p) => [p.key, p])),
  });
  const told = (all: Iterable<Vetted>) =>
    Array.from(all, (v) =>
      'peer' in v
        ? `${v.peer.lease.key} at ${formatAddr(v.peer.endpoints[0])}`
        : `${v.problem.lease.key}: ${v.problem.reason}`,
    );

  test('a peer that stays is the same object', () => {
    const facts = host();
    const [a, b, c] = [peer(2), peer(3), peer(4)];
    const [first] = vet(viewOf([a, b]), facts);
    const [again] = vet(viewOf([a, c]), facts);
    expect(again).toBe(first);
    const { backend, config } = chooseBackend(network);
    const objects = (peers: readonly Lease[]) => [...backend.desired(config, viewOf(peers), facts)];
    const before = new Set<unknown>(objects([a, b]));
    expect(objects([a, c]).filter((o) => before.has(o))).toEqual(
      objects([a]).filter((o) => ['neigh', 'fdb', 'route'].includes(o.kind)),
    );
  });

  test('the verdicts are those of a host that has just come', () => {
    const init = fc.record({
      subnet: fc.constantFrom(
        '10.5.1.0/25',
        '10.5.2.0/24',
        '10.5.2.128/25',
        '10.5.3.0/24',
        '10.5.2.0/23',
        '10.5.4.0/24',
      ),
      endpoint: fc.constantFrom('192.0.2.2', '192.0.2.3', '10.5.2.7', '10.5.3.9', '10.5.4.4', '10.5.9.9'),
      revision: fc.integer({ min: 1, max: 9 }),
    });
    const step = fc.record({
      put: fc.array(init, { maxLength: 2 }),
      remove: fc.array(fc.nat(9), { maxLength: 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const facts = host({ reserved: ['10.5.9.9'] });
        const leases = new Map<string, Lease>();
        for (const { put, remove } of steps) {
          for (const { subnet, endpoint, revision } of put) {
            leases.set(subnet, odd({ subnets: [subnet], endpoints: [endpoint], revision }));
          }
          for (const index of remove) leases.delete([...leases.keys()][index] ?? '');
          const view = viewOf(leases.values());
          expect(told(vet(view, facts))).toEqual(told(vet(view, { ...facts })));
        }
      }),
      { numRuns: 300 },
    );
  });
});
