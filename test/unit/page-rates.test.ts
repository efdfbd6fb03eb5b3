import { describe, expect, test } from 'vitest';
import { KEPT, RateBook } from '../../page/src/model/rates.ts';
import type { TrafficJson } from '../../src/api/shapes.ts';

describe('rates', () => {
  const traffic = (inBytes: number, outBytes: number): TrafficJson => ({
    inPackets: 0,
    outPackets: 0,
    inBytes,
    outBytes,
  });

  test('are differences over time', () => {
    const book = new RateBook();
    expect(book.take(1_000, [['a', traffic(100, 50)]]).size).toBe(0);
    expect(book.take(3_000, [['a', traffic(300, 50)]]).get('a')).toEqual({ in: 100, out: 0 });
    const plot = book.plot(5, 'both');
    expect(plot).toMatchObject({
      times: [1, 3],
      sum: [null, 100],
      peers: 1,
      series: [{ key: 'a', values: [null, 100] }],
    });
    expect(book.plot(5, 'out').series).toEqual([]);
  });

  test('an answer that is not newer tells nothing', () => {
    const book = new RateBook();
    book.take(1_000, [['a', traffic(0, 0)]]);
    expect(book.take(1_000, [['a', traffic(9, 9)]]).size).toBe(0);
    expect(book.take(2_000, [['a', traffic(10, 0)]]).get('a')).toEqual({ in: 10, out: 0 });
  });

  test('counting that began anew is no negative rate', () => {
    const book = new RateBook();
    book.take(1_000, [['a', traffic(1_000, 1_000)]]);
    expect(book.take(2_000, [['a', traffic(10, 2_000)]]).get('a')).toEqual({ in: 0, out: 0 });
    expect(book.take(3_000, [['a', traffic(20, 2_000)]]).get('a')).toEqual({ in: 10, out: 0 });
  });

  test('the busiest come first; who comes later has no past', () => {
    const book = new RateBook();
    book.take(1_000, [
      ['a', traffic(0, 0)],
      ['b', null],
    ]);
    book.take(2_000, [
      ['a', traffic(10, 0)],
      ['b', traffic(0, 0)],
    ]);
    book.take(3_000, [
      ['a', traffic(20, 0)],
      ['b', traffic(500, 0)],
    ]);
    const plot = book.plot(1, 'in');
    expect(plot.series).toEqual([{ key: 'b', values: [null, null, 500] }]);
    expect(plot.sum).toEqual([null, 10, 510]);
  });

  test('memory is bounded, and who is gone is forgotten', () => {
    const book = new RateBook();
    for (let i = 1; i <= KEPT * 2; i++)
      book.take(i * 1_000, [['a', traffic(i, 0)], ...(i < 5 ? [['b', traffic(i, i)] as const] : [])]);
    const plot = book.plot(5, 'in');
    expect(plot.times).toHaveLength(KEPT);
    expect(plot.series.map((s) => [s.key, s.values.length])).toEqual([['a', KEPT]]);
    book.forget();
    expect(book.plot(5, 'in').times).toEqual([]);
  });
});
