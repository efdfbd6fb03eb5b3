import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addr } from '../../src/net/addr.ts';
import { formatPrefix, network, overlaps, type Prefix, prefix } from '../../src/net/prefix.ts';
import { allocate, findOwn, isCompatible, type Self, sameHost } from '../../src/subnet/allocate.ts';
import { formatKey } from '../../src/subnet/key.ts';
import type { Lease, NodeId } from '../../src/subnet/types.ts';
import { networkConfig } from '../support/storeNode.ts';

const v4 = networkConfig(['10.5.0.0/16', 24]);
const dual = networkConfig(['10.5.0.0/16', 24], ['fd00:5::/48', 64]);
const text = (a: ReturnType<typeof allocate>) => ('subnets' in a ? a.subnets.map(formatPrefix) : a.exhausted);
const [us, other] = ['a'.repeat(32), 'b'.repeat(32)] as [NodeId, NodeId];

function lease(subnets: readonly string[], over: Partial<Lease> & { ip?: string } = {}): Lease {
  const { ip = '192.0.2.1', ...rest } = over;
  const prefixes = subnets.map(prefix);
  return {
    key: formatKey(prefixes),
    subnets: prefixes,
    endpoints: new Map([[addr(ip).family, addr(ip)]]),
    data: new Map(),
    createRevision: 10n,
    modRevision: 10n,
    etcdLease: 7n,
    ...rest,
  };
}

describe('a subnet that fits', () => {
  it.each([
    [['10.5.1.0/24'], true],
    [['10.5.255.0/24'], true],
    [['10.5.0.0/24'], false],
    [['10.6.1.0/24'], false],
    [['10.5.1.0/25'], false],
    [['10.5.1.0/23'], false],
    [['10.5.1.7/24'], false],
    [['10.5.1.0/24', 'fd00:5:0:1::/64'], false],
    [['fd00:5:0:1::/64'], false],
    [[], false],
  ])('%j: %s', (subnets, fits) => {
    expect(isCompatible(subnets.map(prefix), v4)).toBe(fits);
  });

  it('has both families of a network with two', () => {
    expect(isCompatible([prefix('10.5.1.0/24'), prefix('fd00:5:0:1::/64')], dual)).toBe(true);
    expect(isCompatible([prefix('10.5.1.0/24')], dual)).toBe(false);
    expect(isCompatible([prefix('10.5.1.0/24'), prefix('10.5.2.0/24')], dual)).toBe(false);
    expect(isCompatible([prefix('10.5.1.0/24'), prefix('fd00:6:0:1::/64')], dual)).toBe(false);
  });
});

describe('allocation', () => {
  it('takes the previous subnet if it is free and fits, of several the first that does', () => {
    const got = (taken: string[], previous: string[]) =>
      text(allocate(v4, taken.map(prefix), previous.map(prefix), () => 0));
    expect(got([], ['10.5.77.0/24'])).toEqual(['10.5.77.0/24']);
    expect(got(['10.5.77.0/24'], ['10.5.77.0/24'])).toEqual(['10.5.1.0/24']);
    expect(got(['10.5.64.0/18'], ['10.5.77.0/24', '10.9.1.0/24', '10.5.200.0/24'])).toEqual([
      '10.5.200.0/24',
    ]);
    expect(got([], ['10.5.77.0/25', 'fd00::/64'])).toEqual(['10.5.1.0/24']);
  });

  it('gives IPv6 the ordinal of IPv4 when that is free', () => {
    const got = (taken: string[], random = 0.5) => text(allocate(dual, taken.map(prefix), [], () => random));
    expect(got([], 0)).toEqual(['10.5.1.0/24', 'fd00:5:0:1::/64']);
    expect(got([])).toEqual(['10.5.128.0/24', 'fd00:5:0:80::/64']);
    expect(got(['fd00:5:0:80::/64'])).toEqual(['10.5.128.0/24', 'fd00:5:0:8001::/64']);
    const previous = text(allocate(dual, [], [prefix('10.5.9.0/24')], () => 0.5));
    expect(previous).toEqual(['10.5.9.0/24', 'fd00:5:0:9::/64']);
  });

  it('says how many there are when none is left', () => {
    const small = networkConfig(['10.5.0.0/28', 30]);
    expect(text(allocate(small, [prefix('10.5.0.0/28')], [], () => 0))).toBe(
      "no free IPv4 subnet: all 3 /30 subnets of the network's range are taken",
    );
    expect(text(allocate(small, [prefix('10.0.0.0/8')], [], () => 0))).toContain('no free IPv4 subnet');
    expect(text(allocate(small, [prefix('10.5.0.4/30'), prefix('10.5.0.12/32')], [], () => 0.99))).toEqual([
      '10.5.0.8/30',
    ]);
  });

  const taken = fc.array(
    fc
      .tuple(fc.nat(0xffff), fc.integer({ min: 14, max: 32 }))
      .map(([low, len]) => network({ addr: { family: 4, value: 0x0a050000n + BigInt(low) }, len })),
    { maxLength: 60 },
  );

  it('never overlaps what is taken, and finds a subnet as long as there is one', () => {
    fc.assert(
      fc.property(taken, fc.double({ min: 0, max: 0.999999, noNaN: true }), (all, random) => {
        const candidates = Array.from({ length: 255 }, (_, i) => prefix(`10.5.${i + 1}.0/24`));
        const free = candidates.filter((c) => !all.some((t) => overlaps(c, t)));
        const got = allocate(v4, all, [], () => random);
        if ('exhausted' in got) expect(free).toEqual([]);
        else expect(free.map(formatPrefix)).toContain(formatPrefix(got.subnets[0]!));
      }),
    );
  });

  it('gives every free subnet the same chance', () => {
    fc.assert(
      fc.property(taken, (all) => {
        const free = Array.from({ length: 255 }, (_, i) => prefix(`10.5.${i + 1}.0/24`)).filter(
          (c) => !all.some((t) => overlaps(c, t)),
        );
        const got = free.map((_, i) => text(allocate(v4, all, [], () => (i + 0.5) / free.length)));
        expect(got).toEqual(free.map((f) => [formatPrefix(f)]));
      }),
      { numRuns: 20 },
    );
  });

  it('copes with a /8 of 65,000 subnets and 10,000 leases, and with huge IPv6 networks', () => {
    const big = networkConfig(['10.0.0.0/8', 24], ['fd00::/16', 64]);
    const leases: Prefix[] = [];
    for (let i = 0; i < 10_000; i++) {
      const got = { addr: { family: 4 as const, value: 0x0a000000n + BigInt((i * 6) << 8) }, len: 24 };
      leases.push(got, { addr: { family: 6, value: (0xfd00n << 112n) + (BigInt(i) << 64n) }, len: 64 });
    }
    const got = allocate(big, leases, [], Math.random);
    expect('subnets' in got && got.subnets.some((s) => leases.some((l) => overlaps(s, l)))).toBe(false);
  });
});

describe('the own lease', () => {
  const self: Self = { node: us, endpoints: new Map([[4, addr('192.0.2.1')]]), previous: [] };
  const own = (...leases: Lease[]) => findOwn(leases, self, v4)?.key;

  it('is the one with our node id, whatever its PublicIP', () => {
    const byIp = lease(['10.5.1.0/24']);
    const byNode = lease(['10.5.2.0/24'], { node: us, ip: '198.51.100.1' });
    expect(own(byIp, byNode)).toBe('10.5.2.0-24');
    expect(own(byNode, byIp)).toBe('10.5.2.0-24');
  });

  it('is else the one with our PublicIP and no node id; never one with another’s id', () => {
    expect(own(lease(['10.5.1.0/24']))).toBe('10.5.1.0-24');
    expect(own(lease(['10.5.1.0/24'], { node: other }))).toBeUndefined();
    expect(own(lease(['10.5.1.0/24'], { ip: '192.0.2.2' }))).toBeUndefined();
  });

  it('is of several the one that fits, then a reservation, then the one we had, then the oldest', () => {
    const unfit = lease(['10.9.1.0/24'], { createRevision: 1n });
    const old = lease(['10.5.1.0/24'], { createRevision: 2n });
    const had = lease(['10.5.2.0/24'], { createRevision: 3n });
    const reserved = lease(['10.5.3.0/24'], { createRevision: 4n, etcdLease: 'reservation' });
    const withPrevious = { ...self, previous: [prefix('10.5.2.0/24')] };
    expect(findOwn([unfit, old, had, reserved], withPrevious, v4)?.key).toBe(reserved.key);
    expect(findOwn([unfit, old, had], withPrevious, v4)?.key).toBe(had.key);
    expect(findOwn([had, unfit, old], self, v4)?.key).toBe(old.key);
    expect(findOwn([unfit], self, v4)?.key).toBe(unfit.key);
    expect(findOwn([{ ...unfit, etcdLease: 'reservation' }], self, v4)).toBeUndefined();
  });

  it('goes by IPv4 where both have it', () => {
    const e = (...t: string[]) => new Map(t.map((x) => [addr(x).family, addr(x)]));
    expect(sameHost(e('1.2.3.4', '2001:db8::1'), e('1.2.3.4', '2001:db8::2'))).toBe(true);
    expect(sameHost(e('1.2.3.4', '2001:db8::1'), e('1.2.3.5', '2001:db8::1'))).toBe(false);
    expect(sameHost(e('2001:db8::1'), e('1.2.3.5', '2001:db8::1'))).toBe(true);
    expect(sameHost(e('1.2.3.4'), e('2001:db8::1'))).toBe(false);
    expect(sameHost(e(), e())).toBe(false);
  });
});
