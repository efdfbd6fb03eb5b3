import { describe, expect, test } from 'vitest';
import { canZoom, cut, follow, layoutOf } from '../../page/src/model/grid.ts';
import { moved, scrollTo, windowOf } from '../../page/src/model/virtual.ts';

describe('a grid', () => {
  test.each([
    [{ rows: 3, cols: 3 }, { width: 600, height: 500 }, 0, { cell: 40, k: 1, rows: 3, cols: 3 }],
    [{ rows: 1000, cols: 1000 }, { width: 600, height: 520 }, 0, { cell: 1, k: 2, rows: 1000, cols: 1000 }],
    [{ rows: 128, cols: 512 }, { width: 300, height: 260 }, 0, { cell: 1, k: 2, rows: 128, cols: 512 }],
    [{ rows: 1000, cols: 1000 }, { width: 600, height: 500 }, 3, { cell: 4, k: 1, rows: 125, cols: 150 }],
    [{ rows: 8, cols: 32 }, { width: 0, height: 260 }, 0, { cell: 1, k: 32, rows: 8, cols: 32 }],
    [{ rows: 8, cols: 32 }, { width: -150, height: 260 }, 0, { cell: 1, k: 32, rows: 8, cols: 32 }],
  ])('%j in %j at zoom %i', (grid, box, zoom, expected) => {
    const layout = layoutOf(grid, box, zoom);
    expect(layout).toEqual(expected);
    expect(canZoom(layout)).toBe(layout.cell < 24);
  });

  test('from afar the worst of a block is seen', () => {
    const codes = Uint8Array.from([1, 1, 1, 9, 1, 1, 1, 1, 1]);
    const shown = cut(codes, 3, { row: 0, col: 0 }, { cell: 1, k: 2, rows: 3, cols: 3 });
    expect([shown.rows, shown.cols, [...shown.codes]]).toEqual([2, 2, [9, 1, 1, 1]]);
    const part = cut(codes, 3, { row: 1, col: 0 }, { cell: 9, k: 1, rows: 2, cols: 2 });
    expect([...part.codes]).toEqual([9, 1, 1, 1]);
  });

  test('what is in sight follows the focus no more than it must', () => {
    expect(follow(0, 5, 10, 100)).toBe(0);
    expect(follow(0, 10, 10, 100)).toBe(1);
    expect(follow(50, 5, 10, 100)).toBe(5);
    expect(follow(99, 99, 10, 100)).toBe(90);
    expect(follow(0, 2, 10, 3)).toBe(0);
  });

  test.each([
    ['ArrowUp', false, { row: 4, col: 5 }],
    ['ArrowRight', false, { row: 5, col: 6 }],
    ['PageDown', false, { row: 8, col: 5 }],
    ['PageUp', false, { row: 2, col: 5 }],
    ['Home', false, { row: 5, col: 0 }],
    ['End', true, { row: 9, col: 9 }],
  ] as const)('%s', (key, ctrl, to) => {
    expect(moved(key, { row: 5, col: 5 }, { rows: 10, cols: 10, page: 3 }, ctrl)).toEqual(to);
  });

  test('the focus stays within, and other keys are left alone', () => {
    expect(moved('ArrowUp', { row: 0, col: 0 }, { rows: 2, cols: 2, page: 1 })).toEqual({ row: 0, col: 0 });
    expect(moved('x', { row: 0, col: 0 }, { rows: 2, cols: 2, page: 1 })).toBeUndefined();
  });
});

describe('a long table', () => {
  test('has only the rows in sight', () => {
    expect(windowOf(1_000, 30, 0, 300)).toEqual({ first: 0, end: 16 });
    expect(windowOf(1_000, 30, 15_000, 300)).toEqual({ first: 494, end: 516 });
    expect(windowOf(1_000, 30, 1e9, 300)).toEqual({ first: 984, end: 1_000 });
    expect(windowOf(0, 30, 100, 0)).toEqual({ first: 0, end: 0 });
  });

  test('scrolls no more than it must', () => {
    expect([scrollTo(3, 30, 0, 300), scrollTo(10, 30, 0, 300), scrollTo(1, 30, 300, 300)]).toEqual([
      0, 30, 30,
    ]);
  });
});
