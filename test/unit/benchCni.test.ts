import { describe, expect, test } from 'vitest';
import { over, percentile, ratio, type Sample, type VariantName } from '../../bench/cniFigures.ts';
import { tables } from '../../bench/cniReport.ts';

const sample = (round: number, variant: VariantName, figures: Record<string, number>): Sample => ({
  round,
  variant,
  figures,
});

test('a percentile is the value of the nearest rank', () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect([1, 50, 99, 100].map((p) => percentile(values, p))).toEqual([1, 50, 99, 100]);
  expect(percentile([7], 50)).toBe(7);
  expect(percentile([3, 1, 2], 50)).toBe(2);
  expect(percentile([10, 9], 0)).toBe(9);
  expect(() => percentile([], 50)).toThrow(RangeError);
});

test('ratios are those of the same round, of which the median is taken', () => {
  const samples = [
    ...[8, 4, 2].map((addP50, i) => sample(i + 1, 'debian', { addP50 })),
    ...[2, 1, 1].map((addP50, i) => sample(i + 1, 'bridge', { addP50 })),
    // Without a counterpart in its round, and without this figure.
    sample(4, 'bridge', { addP50: 100 }),
    sample(5, 'bridge', { delP50: 100 }),
    sample(5, 'debian', { addP50: 1 }),
  ];
  expect(ratio(samples, 'addP50', 'bridge', 'debian')).toEqual({ median: 0.25, min: 0.25, max: 0.5 });
  expect(over(samples, 'addP50', 'bridge')).toEqual({ median: 1.5, min: 1, max: 100 });
  expect(ratio(samples, 'addP50', 'ptp', 'debian')).toBeUndefined();
  expect(ratio(samples, 'addP50', 'bridge', 'debian-masq')).toBeUndefined();
  expect(ratio([sample(1, 'bridge', { a: 1 }), sample(1, 'debian', { a: 0 })], 'a', 'bridge', 'debian')).toBe(
    undefined,
  );
});

describe('the tables', () => {
  test('have what was measured, the ratios to each reference, the aims and whether they are met', () => {
    const samples = [
      sample(1, 'bridge', { addP50: 2.1, rules: 0 }),
      sample(2, 'bridge', { addP50: 3.5, rules: 0 }),
      sample(1, 'flannel', { addP50: 11 }),
      sample(1, 'debian', { addP50: 7, rules: 0 }),
      sample(2, 'debian', { addP50: 7, rules: 0 }),
      sample(1, 'debian-masq', { addP50: 21, rules: 4 }),
      sample(2, 'debian-masq', { addP50: 35, rules: 4 }),
    ];
    expect(tables(samples)).toEqual([
      [
        [
          ...['', 'loden, bridge', 'flannel type, delegating'],
          ...['bridge+host-local', 'bridge+host-local, ipMasq'],
        ],
        ['ADD p50, ms', '2.80 (2.10–3.50)', '11.00', '7.00', '28.00 (21.00–35.00)'],
        ['firewall rules more for each pod', '0.0', '–', '0.0', '4.0'],
      ],
      [
        ['ratio to bridge+host-local', 'loden, bridge', 'flannel type, delegating', 'aim'],
        // Flannel's chain runs the reference: it has no aim.
        ['ADD p50', '0.40 (0.30–0.50) missed', '1.57', '≤ 0.35'],
      ],
      [
        ['ratio to bridge+host-local, ipMasq', 'loden, bridge', 'flannel type, delegating', 'aim'],
        ['ADD p50', '0.10 met', '0.52', '≤ 0.35'],
      ],
    ]);
  });

  test('have no ratios without both sides', () => {
    expect(tables([sample(1, 'bridge', { addP50: 1 })])).toHaveLength(1);
    expect(
      tables([sample(1, 'debian', { addP50: 1 }), sample(1, 'debian-masq', { addP50: 1 })]),
    ).toHaveLength(1);
  });

  test('judge each aim by its own bound, which may be reached', () => {
    const judge = (name: string, value: number) =>
      tables([sample(1, 'ptp', { [name]: value }), sample(1, 'debian', { [name]: 100 })])[1]![1]!.slice(1);
    expect(judge('addP50', 35)).toEqual(['0.35 met', '≤ 0.35']);
    expect(judge('addP99', 51)).toEqual(['0.51 missed', '≤ 0.5']);
    expect(judge('delP50', 26)).toEqual(['0.26 missed', '≤ 0.25']);
    expect(judge('add100', 36)).toEqual(['0.36 missed', '≤ 0.35']);
    expect(judge('delP99', 300)).toEqual(['3.00', '']);
  });
});
