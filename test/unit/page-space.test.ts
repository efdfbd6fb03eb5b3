import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rowOf } from '../../page/src/model/rows.ts';
import { cellText, MOST_CELLS, paint, SLOT_STATES, spaceOf } from '../../page/src/model/space.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { CALM, lease } from '../fake/pageRows.ts';

describe('the map of the address space', () => {
  const rows = [
    rowOf(lease('10.5.0.0/24', { self: true }), undefined, CALM),
    rowOf(lease('10.5.255.0/24'), undefined, CALM),
    rowOf(lease('10.5.7.0/24', { reservation: true }), undefined, CALM),
    rowOf(lease('10.6.0.0/24'), undefined, CALM),
  ];

  test('has a cell for each subnet, and tells whose it is', () => {
    const space = spaceOf('10.5.0.0/16', rows)!;
    expect(space).toMatchObject({ slotLen: 24, cellLen: 24, cells: 256, cols: 32, rows: 8 });
    const painted = paint(space, rows);
    expect([0, 1, 7, 255].map((i) => SLOT_STATES[painted.states[i]!])).toEqual([
      'ours',
      'free',
      'reserved',
      'leased',
    ]);
    expect(painted.counts).toEqual({ free: 253, leased: 1, reserved: 1, silent: 0, expiring: 0, ours: 1 });
    expect(painted.outside).toBe(1);
    expect(cellText(space, painted, 7, 0)).toBe('10.5.7.0/24: reserved, node 192.0.2.1');
    expect(cellText(space, painted, 8, 0)).toBe('10.5.8.0/24: free');
    const ending = { key: 'k', endsAt: 3_900_000, ttl: 9_000, isExpiring: true };
    const late = paint(space, [rowOf(lease('10.5.9.0/24'), undefined, CALM, ending)]);
    expect(SLOT_STATES[late.states[9]!]).toBe('expiring');
    expect(cellText(space, late, 9, 300_000)).toBe(
      '10.5.9.0/24: running out, node 192.0.2.1, 1 h 0 min left',
    );
  });

  test.each([
    ['10.0.0.0/8', ['10.5.0.0/24'], { cells: 65_536, cellLen: 24, slotLen: 24 }],
    ['10.0.0.0/8', ['10.5.0.0/28'], { cells: 65_536, cellLen: 24, slotLen: 28 }],
    ['fd00::/48', ['fd00::/64'], { cells: 65_536, cellLen: 64, slotLen: 64 }],
    ['fd00::/32', ['fd00::/64'], { cells: 65_536, cellLen: 48, slotLen: 64 }],
    ['10.5.0.0/16', [], { cells: 256, slotLen: 24 }],
    ['10.5.0.0/24', ['10.5.0.0/24'], { cells: 1, cols: 1, rows: 1 }],
    ['10.5.0.0/30', [], { cells: 1 }],
  ])('%s with %j', (network, subnets, expected) => {
    const space = spaceOf(
      network,
      subnets.map((s) => rowOf(lease(s), undefined, CALM)),
    )!;
    expect(space).toMatchObject(expected);
    expect(space.cells).toBeLessThanOrEqual(MOST_CELLS);
  });

  test('a block of several subnets shows the most telling, and how many', () => {
    const many = ['10.0.0.0/28', '10.0.0.16/28'].map((s, i) =>
      rowOf(lease(s, { self: i === 0 }), undefined, CALM),
    );
    const space = spaceOf('10.0.0.0/8', many)!;
    const painted = paint(space, many);
    expect(SLOT_STATES[painted.states[0]!]).toBe('ours');
    expect(cellText(space, painted, 0, 0)).toContain('2 leases');
    expect(cellText(space, painted, 1, 0)).toBe('10.0.1.0/24: 16 subnets, all free');
  });

  test('a lease that is larger than a cell covers all of its cells', () => {
    const big = [
      rowOf(lease('10.5.0.0/24', { self: true }), undefined, CALM),
      rowOf(lease('10.5.8.0/22'), undefined, CALM),
    ];
    const painted = paint(spaceOf('10.5.0.0/16', big)!, big);
    expect([7, 8, 9, 10, 11, 12].map((i) => painted.owners.has(i))).toEqual([
      false,
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  test('no network, no map', () => expect(spaceOf('nonsense', [])).toBeUndefined());

  test('every subnet of a network has one cell, and no two the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 24 }), fc.integer({ min: 0, max: 8 }), (len, more) => {
        const subnet = `10.0.0.0/${Math.min(30, len + more)}`;
        const space = spaceOf(`10.0.0.0/${len}`, [rowOf(lease(subnet), undefined, CALM)])!;
        expect(space.rows * space.cols).toBe(space.cells);
        const painted = paint(space, [rowOf(lease(subnet), undefined, CALM)]);
        expect([...painted.owners.keys()]).toEqual([0]);
        expect(
          parsePrefix(cellText(space, painted, space.cells - 1, 0).split(':')[0]!)?.len ?? space.cellLen,
        ).toBe(space.cellLen);
      }),
    );
  });
});
