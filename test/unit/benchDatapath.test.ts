import { describe, expect, test } from 'vitest';
import {
  aimOf,
  FIGURES,
  meets,
  over,
  ratio,
  type Sample,
  type TestName,
  type UnderlayName,
  type VariantName,
} from '../../bench/datapathFigures.ts';
import { markdown, tables } from '../../bench/datapathReport.ts';
import { choice, decimal, whole } from '../../bench/options.ts';
import { around, element, label, logScale, picture, ticks } from '../../bench/svg.ts';
import { ratiosSvg } from '../../bench/svgRatios.ts';

const figure = (test: TestName, name: string) => FIGURES.find((f) => f.test === test && f.name === name)!;
const GBPS = figure('tcp1', 'gbps');

const sample = (
  round: number,
  variant: VariantName,
  figures: Record<string, number>,
  test: TestName = 'tcp1',
  underlay: UnderlayName = 'offload',
): Sample => ({ underlay, round, test, variant, figures });

describe('ratios', () => {
  test('are those of figures of the same round, of which the median is taken', () => {
    // The machine is half as fast in every round: medians of each would say 4 : 4, the rounds say 2.
    const samples = [
      ...[16, 8, 4].map((gbps, i) => sample(i + 1, 'udp', { gbps })),
      ...[8, 4, 2].map((gbps, i) => sample(i + 1, 'vxlan', { gbps })),
      sample(4, 'vxlan', { gbps: 100 }),
      sample(5, 'udp', { gbps: 100 }),
    ];
    expect(ratio(samples, 'offload', GBPS, 'udp', 'vxlan')).toEqual({ median: 2, min: 2, max: 2 });
    expect(over(samples, 'offload', GBPS, 'vxlan')).toEqual({ median: 6, min: 2, max: 100 });
  });

  test('keep underlays, tests and figures apart, and are none without a reference', () => {
    const samples = [
      sample(1, 'udp', { gbps: 6 }),
      sample(1, 'vxlan', { gbps: 9 }, 'tcp4'),
      sample(1, 'vxlan', { gbps: 9 }, 'tcp1', 'wire'),
      sample(1, 'vxlan', { cpuPerGB: 9 }),
      sample(1, 'one-packet', { gbps: 0 }),
    ];
    expect(ratio(samples, 'offload', GBPS, 'udp', 'vxlan')).toBeUndefined();
    expect(ratio(samples, 'offload', GBPS, 'udp', 'one-packet')).toBeUndefined();
    expect(over(samples, 'offload', GBPS, 'host-gw')).toBeUndefined();
  });
});

test('an aim is a bound from below or above, and may be of one underlay alone', () => {
  expect(aimOf(GBPS, 'wire', 'vxlan')).toEqual({ kind: 'min', value: 1 });
  expect(meets({ kind: 'min', value: 1 }, 1)).toBe(true);
  expect(meets({ kind: 'min', value: 1 }, 0.99)).toBe(false);
  const cpu = figure('tcp1', 'cpuPerGB');
  expect(aimOf(cpu, 'offload', 'one-packet')).toEqual({ kind: 'max', value: 0.1 });
  expect(aimOf(cpu, 'wire', 'one-packet')).toBeUndefined();
  expect(meets({ kind: 'max', value: 0.1 }, 0.1)).toBe(true);
  expect(meets({ kind: 'max', value: 0.1 }, 0.11)).toBe(false);
});

describe('the table', () => {
  const samples = [
    sample(1, 'vxlan', { gbps: 10 }),
    sample(2, 'vxlan', { gbps: 12 }),
    sample(1, 'udp', { gbps: 6 }),
    sample(2, 'udp', { gbps: 9, cpuPerGB: 2 }),
    sample(1, 'one-packet', { gbps: 0.5 }),
    sample(1, 'udp', { kpps: 100, loss: 3.5 }, 'udp64', 'wire'),
    sample(1, 'vxlan', { kpps: 50, loss: 0 }, 'udp64', 'wire'),
  ];

  test('has what was measured, the ratios, the aims and whether they are met', () => {
    const [offload, wire] = tables(samples);
    expect(offload![0]).toEqual([
      'offload',
      ...['kernel VXLAN', 'Loden udp', 'one packet at a time'],
      ...['udp : kernel VXLAN', 'aim', 'udp : one packet at a time', 'aim'],
    ]);
    expect(offload!.slice(1)).toEqual([
      [
        ...['TCP x1, Gb/s', '11.00 (10.00–12.00)', '7.50 (6.00–9.00)', '0.50'],
        ...['0.68 (0.60–0.75)', '≥ 0.7, missed', '12.00', '≥ 10'],
      ],
      // Not of every variant.
      ['CPU s per GB, TCP x1', '–', '2.00', '–', '', '', '', ''],
    ]);
    expect(wire!.slice(1)).toEqual([
      ['UDP 64 B delivered, kpps', '50', '100', '2.00', '≥ 1.7'],
      // There is nothing to divide by.
      ['UDP 64 B lost, %', '0.0', '3.5 missed: < 3', '', ''],
    ]);
  });

  test('has no ratios without the udp backend', () => {
    expect(tables(samples.filter((s) => s.variant !== 'udp'))[0]![0]).toEqual([
      'offload',
      'kernel VXLAN',
      'one packet at a time',
    ]);
    expect(
      markdown([
        ['a', 'b'],
        ['1', '2'],
      ]),
    ).toBe('| a | b |\n| --- | --- |\n| 1 | 2 |');
  });
});

describe('the picture', () => {
  test('is escaped', () => {
    expect(element('a', { b: '"<&>"', c: 0.1 + 0.2 })).toBe('<a b="&quot;&lt;&amp;&gt;&quot;" c="0.3"/>');
    expect(label(1, 2, 'a<b')).toBe('<text x="1" y="2">a&lt;b</text>');
    expect(picture({ width: 1, height: 2 }, { title: '<', style: 'a>b' }, [])).toContain(
      '<title>&lt;</title>',
    );
  });

  test('has a logarithmic scale that ends at its edges, and round ticks', () => {
    const x = logScale([0.1, 10], [0, 100]);
    expect([0.01, 0.1, 1, 10, 99].map(x)).toEqual([0, 0, 50, 100, 100]);
    expect(ticks(0.05, 2)).toEqual([0.05, 0.1, 0.2, 0.5, 1, 2]);
    expect(around([0.3, 1, 12])).toEqual([0.2, 20]);
    expect(around([0.2, 20])).toEqual([0.2, 20]);
  });

  test('has a mark for each ratio, at its place, and a stroke for each aim', () => {
    const svg = ratiosSvg([
      sample(1, 'udp', { gbps: 5 }),
      sample(1, 'vxlan', { gbps: 10 }),
      sample(1, 'udp', { gbps: 8 }, 'tcp1', 'wire'),
      sample(1, 'vxlan', { gbps: 8 }, 'tcp1', 'wire'),
    ]);
    // The scale goes from 0.5 to 1, the plot from 230 to 650; one more of each is in the legend.
    expect([...svg.matchAll(/<circle class="(\w+)" cx="(\d+)"/g)].map(([, u, x]) => [u, x])).toEqual([
      ...[
        ['offload', '230'],
        ['wire', '320'],
      ],
      ...[
        ['offload', '230'],
        ['wire', '650'],
      ],
    ]);
    // log(0.7 / 0.5) / log 2 of the way; 1 at the end.
    expect([...svg.matchAll(/class="(\w+) aim" d="M([\d.]+) /g)].map(([, u, x]) => [u, x])).toEqual([
      ['offload', '433.9'],
      ['wire', '650.0'],
    ]);
    expect(svg).toContain('>0.50×</text>');
    expect(svg).toContain('>1.00×</text>');
    expect(svg).not.toContain('one packet at a time');
    expect(svg).not.toContain('NaN');
  });

  test('is a picture even of nothing', () => {
    expect(ratiosSvg([])).toMatch(/^<svg [^>]*height="28"/);
  });
});

test('options say which of them is wrong', () => {
  expect(choice('only', 'udp,vxlan', ['host-gw', 'vxlan', 'udp'])).toEqual(['vxlan', 'udp']);
  expect(() => choice('only', 'upd', ['udp'])).toThrow('--only: there is no "upd" among udp');
  expect(whole('rounds', '3', 1, 9)).toBe(3);
  expect(() => whole('rounds', '1.5', 1, 9)).toThrow('--rounds');
  expect(decimal('seconds', '0.5', 0.1, 9)).toBe(0.5);
  expect(() => decimal('seconds', '', 0, 9)).toThrow('--seconds');
  expect(() => decimal('seconds', '10', 0, 9)).toThrow('--seconds');
});
