import { describe, expect, test } from 'vitest';
import { decodeMatrix, matrixText, subnetOfKey, troublesOf } from '../../page/src/model/matrix.ts';
import type { MatrixJson } from '../../src/api/matrix.ts';

describe('the matrix', () => {
  const json = (rows: readonly (string | null)[]): MatrixJson => ({
    omitted: 0,
    nodes: rows.map((row, i) => ({
      key: `10.0.${i}.0-24`,
      self: i === 0,
      row,
      at: null,
      error: row === null ? 'no answer' : null,
    })),
  });

  test('is told by cell', () => {
    const m = decodeMatrix(json(['-3x', 'l-m', null]));
    expect(m.rowsTold).toBe(2);
    expect(matrixText(m, 0, 0)).toBe('10.0.0.0/24: itself');
    expect(matrixText(m, 0, 1)).toBe('10.0.0.0/24 → 10.0.1.0/24: reachable, below 1 ms');
    expect(matrixText(m, 1, 2)).toBe('10.0.1.0/24 → 10.0.2.0/24: reachable, but not by full-size packets');
    expect(matrixText(m, 2, 0)).toBe('10.0.2.0/24 → 10.0.0.0/24: nobody has told (no answer)');
    expect(matrixText(m, 7, 7)).toBe('');
  });

  test('a row of another length is none', () =>
    expect(decodeMatrix(json(['-3x', '-', null])).rowsTold).toBe(1));

  test('names what is wrong: a node that is cut off once, not by each path', () => {
    const t = troublesOf(decodeMatrix(json(['-33x', '3-lx', '33-x', null])));
    expect(t).toMatchObject({ unreachable: 3, lossy: 1, lowered: 0 });
    expect(t.nodes).toEqual([{ index: 3, text: '10.0.3.0/24 cannot be reached by 3 of 3 nodes' }]);
    expect(t.list.map((x) => x.text)).toEqual(['10.0.1.0/24 → 10.0.2.0/24: lossy: some probes are lost']);
  });

  test('a node that reaches nobody is named as such; a single path by itself', () => {
    const t = troublesOf(decodeMatrix(json(['-xxx', '3-33', '33-3', '3x3-'])));
    expect(t.nodes.map((n) => n.text)).toContain('10.0.0.0/24 cannot reach 3 of 3 nodes');
    const single = troublesOf(decodeMatrix(json(['-x33', '3-33', '33-3', '333-'])));
    expect([single.nodes, single.list.map((x) => [x.row, x.col])]).toEqual([[], [[0, 1]]]);
  });

  test('keys of two families are subnets', () => {
    expect(subnetOfKey('10.1.0.0-24&fd00:12::-64')).toBe('10.1.0.0/24, fd00:12::/64');
  });
});
