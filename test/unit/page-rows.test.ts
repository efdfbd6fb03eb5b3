import { describe, expect, test } from 'vitest';
import { arrange } from '../../page/src/model/arrange.ts';
import type { Life } from '../../page/src/model/lifetimes.ts';
import { orderOf, rowOf, worstHealth } from '../../page/src/model/rows.ts';
import { CALM, lease, path, peer } from '../fake/pageRows.ts';

describe('a row', () => {
  test('joins a lease with what is known of its peer', () => {
    const row = rowOf(
      lease('10.0.1.0/24'),
      peer('k', [path('reachable'), path('lossy', { rtt: 3, lost: 10, routeMtu: 1400 })], { inRate: 5 }),
      CALM,
    );
    expect(row).toMatchObject({
      state: 'leased',
      health: 'lossy',
      rtt: 3,
      loss: 0.25,
      mtu: 1400,
      inRate: 5,
      outRate: null,
    });
  });

  test.each([
    [lease('10.0.1.0/24', { reservation: true }), [path('reachable')], CALM, 'reserved', 'reserved'],
    [
      lease('10.0.1.0/24', { reservation: true }),
      [path('unreachable')],
      CALM,
      'silent',
      'no answer, reserved',
    ],
    [lease('10.0.1.0/24'), [path('reachable'), path('unreachable')], CALM, 'silent', 'no answer'],
    [lease('10.0.1.0/24', { self: true }), [], CALM, 'ours', 'ours'],
    [lease('10.0.1.0/24', { self: true, reservation: true }), [], CALM, 'ours', 'ours, reserved'],
    [
      lease('10.0.1.0/24', { self: true }),
      [],
      { fenced: true, isEnding: false },
      'expiring',
      'ours, run out: it is not written any more',
    ],
    [
      lease('10.0.1.0/24', { self: true }),
      [],
      { fenced: false, isEnding: true },
      'expiring',
      'ours, running out',
    ],
  ] as const)('%j with %j is told', (l, paths, own, state, words) => {
    expect(rowOf(l, peer(l.key, paths), own)).toMatchObject({ state, words });
  });

  const life = (isExpiring: boolean): Life => ({ key: 'k', endsAt: 9_000, ttl: 60, isExpiring });
  test.each([
    [{}, [], false, 'leased', 'leased', 9_000],
    [{}, [path('reachable')], true, 'expiring', 'running out', 9_000],
    [{}, [path('unreachable')], true, 'expiring', 'running out, no answer', 9_000],
    [{ self: true }, [], true, 'expiring', 'ours, running out', 9_000],
    // It was a lease a moment ago, when somebody asked how long it has left.
    [{ reservation: true }, [], true, 'reserved', 'reserved', null],
  ] as const)('%j with %j, expiring: %j, is told', (more, paths, isExpiring, state, words, endsAt) => {
    const row = rowOf(lease('10.0.1.0/24', more), peer('k', paths), CALM, life(isExpiring));
    expect(row).toMatchObject({ state, words, endsAt });
  });

  const unclaimed = lease('10.0.1.0/24', { reservation: true, instance: null, backend: null });
  test('a reservation that nobody has taken up is reserved, and no trouble', () => {
    const problem = 'its backend data has no VtepMAC';
    for (const its of [peer('k', [path('unreachable')]), peer('k', [path('unprobed')], { problem })]) {
      const row = rowOf(unclaimed, its, CALM);
      expect(row).toMatchObject({
        state: 'reserved',
        words: 'reserved, awaits its node',
        health: null,
        isTrouble: false,
      });
    }
    // So says flannel's udp, of a node that was there.
    const leased = { ...unclaimed, reservation: false };
    expect(rowOf(leased, peer('k', [path('unreachable')]), CALM).state).toBe('silent');
    expect(rowOf(unclaimed, peer('k', [path('reachable')]), CALM)).toMatchObject({
      words: 'reserved',
      health: 'reachable',
    });
  });

  test('a refused peer says why', () => {
    expect(rowOf(lease('10.0.1.0/24'), peer('k', [], { problem: 'overlaps' }), CALM).words).toBe('overlaps');
  });

  test('the worst of no paths is unknown', () => expect(worstHealth([])).toBeNull());

  test('subnets sort as numbers', () => {
    const texts = ['10.0.10.0/24', '10.0.9.0/24', '9.0.0.0/8', 'fd00::/64', '10.0.9.0/25', 'nonsense'];
    expect([...texts].sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))).toEqual([
      '9.0.0.0/8',
      '10.0.9.0/24',
      '10.0.9.0/25',
      '10.0.10.0/24',
      'fd00::/64',
      'nonsense',
    ]);
  });

  test('the table filters by all words and sorts, what is unknown last', () => {
    const rows = [
      rowOf(
        lease('10.0.1.0/24', { publicIP: '192.0.2.10' }),
        peer('a', [path('reachable', { rtt: 5 })]),
        CALM,
        life(false),
      ),
      rowOf(
        lease('10.0.2.0/24', { publicIP: '192.0.2.9' }),
        peer('b', [path('unreachable', { rtt: null })]),
        CALM,
      ),
      rowOf(
        lease('10.0.3.0/24', { publicIP: '192.0.2.11' }),
        peer('c', [path('reachable', { rtt: 2 })]),
        CALM,
        { ...life(false), endsAt: 8_000 },
      ),
    ];
    const by = (column: 'path' | 'address' | 'left', descending: boolean) =>
      arrange(rows, '', { column, descending }).map((r) => r.subnets[0]!.split('.')[2]);
    expect(by('path', false)).toEqual(['3', '1', '2']);
    expect(by('path', true)).toEqual(['2', '1', '3']);
    expect(by('address', false)).toEqual(['2', '1', '3']);
    expect(by('left', false)).toEqual(['3', '1', '2']);
    expect(by('left', true)).toEqual(['1', '3', '2']);
    const found = arrange(rows, ' REACHABLE 10.0.3 ', { column: 'subnet', descending: false });
    expect(found.map((r) => r.subnets[0])).toEqual(['10.0.3.0/24']);
    expect(arrange(rows, 'reachable nowhere', { column: 'subnet', descending: false })).toEqual([]);
  });
});
