import { CELLS, cellWords } from '../../../src/api/cell.ts';
import type { MatrixJson } from '../../../src/api/matrix.ts';

/** The matrix of probes as numbers; pure. */

/** Of a cell of a row that nobody has told; others are indices of {@link CELLS} plus 1, so greater is worse. */
const UNTOLD = 0;

export interface MatrixNode {
  readonly key: string;
  readonly self: boolean;
  /** Has it told its row? */
  readonly told: boolean;
  readonly at: string | null;
  readonly error: string | null;
}

export interface Matrix {
  readonly nodes: readonly MatrixNode[];
  /** Row by row; {@link UNTOLD} or 1 + index of {@link CELLS}. */
  readonly cells: Uint8Array;
  readonly rowsTold: number;
}

export const charOf = (code: number): string => (code === UNTOLD ? '' : (CELLS[code - 1] ?? ''));

const CODES = new Uint8Array(128);
for (let i = 0; i < CELLS.length; i++) CODES[CELLS.charCodeAt(i)] = i + 1;

export const codeOf = (char: string): number => CODES[char.charCodeAt(0) & 127]!;

/** Codes from here on are trouble: lowered, lossy, unreachable. */
const TROUBLE = codeOf('m');

export function decodeMatrix(json: MatrixJson): Matrix {
  const n = json.nodes.length;
  const cells = new Uint8Array(n * n);
  let rowsTold = 0;
  const nodes = json.nodes.map(({ key, self, row, at, error }, i) => {
    // A row of another length is of another moment's columns.
    const told = row !== null && row.length === n;
    if (told) {
      rowsTold++;
      for (let j = 0; j < n; j++) cells[i * n + j] = CODES[row.charCodeAt(j) & 127]!;
    }
    return { key, self, told, at, error };
  });
  return { nodes, cells, rowsTold };
}

/** A lease key as a subnet: `10.5.9.0-24` is `10.5.9.0/24`. */
export const subnetOfKey = (key: string): string =>
  key.replaceAll('&', ', ').replace(/-(\d+)(?=,|$)/g, '/$1');

/** What a cell tells. */
export function matrixText(m: Matrix, row: number, col: number): string {
  const [from, to] = [m.nodes[row], m.nodes[col]];
  if (!from || !to) return '';
  const code = m.cells[row * m.nodes.length + col]!;
  const path = `${subnetOfKey(from.key)} → ${subnetOfKey(to.key)}`;
  if (row === col) return `${subnetOfKey(from.key)}: itself`;
  if (code === UNTOLD) return `${path}: nobody has told${from.error ? ` (${from.error})` : ''}`;
  return `${path}: ${cellWords(charOf(code))}`;
}

export interface Trouble {
  readonly row: number;
  readonly col: number;
  readonly code: number;
  readonly text: string;
}

export interface Troubles {
  /** Cells by what is wrong. */
  readonly unreachable: number;
  readonly lossy: number;
  readonly lowered: number;
  /** Told rows in which most others are unreachable, and columns that most rows cannot reach: then it is that node. */
  readonly list: readonly Trouble[];
  readonly nodes: readonly { readonly index: number; readonly text: string }[];
}

/** The worst first: nodes that are cut off as one line each, then single paths; at most `most` of each. */
export function troublesOf(m: Matrix, most = 50): Troubles {
  const n = m.nodes.length;
  const [x, l] = [codeOf('x'), codeOf('l')];
  let [unreachable, lossy, lowered] = [0, 0, 0];
  const toBad = new Uint32Array(n);
  const toAll = new Uint32Array(n);
  const fromBad = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    if (!m.nodes[i]!.told) continue;
    for (let j = 0; j < n; j++) {
      const code = m.cells[i * n + j]!;
      if (i !== j && code > codeOf('.')) toAll[j]!++;
      if (code < TROUBLE) continue;
      if (code === x) {
        unreachable++;
        toBad[j]!++;
        fromBad[i]!++;
      } else if (code === l) lossy++;
      else lowered++;
    }
  }
  const isCutOff = (i: number) => toBad[i]! > 1 && toBad[i]! * 2 > toAll[i]!;
  const isCuttingOff = (i: number) => fromBad[i]! > 1 && fromBad[i]! * 2 > n - 1;
  const nodes: { index: number; text: string }[] = [];
  for (let i = 0; i < n && nodes.length < most; i++) {
    const name = subnetOfKey(m.nodes[i]!.key);
    if (isCutOff(i))
      nodes.push({ index: i, text: `${name} cannot be reached by ${toBad[i]} of ${toAll[i]} nodes` });
    else if (isCuttingOff(i))
      nodes.push({ index: i, text: `${name} cannot reach ${fromBad[i]} of ${n - 1} nodes` });
  }
  const list: Trouble[] = [];
  for (const code of [x, l, TROUBLE]) {
    for (let i = 0; i < n && list.length < most; i++) {
      if (!m.nodes[i]!.told || (code === x && isCuttingOff(i))) continue;
      for (let j = 0; j < n && list.length < most; j++) {
        if (m.cells[i * n + j] !== code || (code === x && isCutOff(j))) continue;
        list.push({ row: i, col: j, code, text: matrixText(m, i, j) });
      }
    }
  }
  return { unreachable, lossy, lowered, list, nodes };
}
