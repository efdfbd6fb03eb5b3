/** How a grid of thousands of cells is laid out on a canvas; pure. */

export interface Layout {
  /** CSS pixels of one drawn cell. */
  readonly cell: number;
  /** A drawn cell stands for k × k cells. */
  readonly k: number;
  /** Cells in sight. */
  readonly rows: number;
  readonly cols: number;
}

/** Pixels of a cell at most. */
const LARGEST = 40;

/** Fits a grid into `width` × `height` pixels; each step of `zoom` doubles the cells, of which fewer are in sight then. */
export function layoutOf(
  grid: { readonly rows: number; readonly cols: number },
  box: { readonly width: number; readonly height: number },
  zoom: number,
): Layout {
  // Before it is measured a box has no width, or less than none.
  const [width, height] = [Math.max(1, box.width), Math.max(1, box.height)];
  const fit = Math.min(width / grid.cols, height / grid.rows, LARGEST);
  const scale = fit * 2 ** zoom;
  if (scale < 1) {
    const k = Math.ceil(1 / scale);
    return {
      cell: 1,
      k,
      rows: Math.min(grid.rows, Math.floor(height) * k),
      cols: Math.min(grid.cols, Math.floor(width) * k),
    };
  }
  const cell = Math.min(LARGEST, Math.floor(scale));
  return {
    cell,
    k: 1,
    rows: Math.max(1, Math.min(grid.rows, Math.floor(height / cell))),
    cols: Math.max(1, Math.min(grid.cols, Math.floor(width / cell))),
  };
}

/** Does another step of zoom make cells larger? */
export const canZoom = (layout: Layout): boolean => layout.cell < 24;

/** The first row (column) in sight, moved as little as possible so that `at` is in sight. */
export function follow(first: number, at: number, inSight: number, all: number): number {
  const to = at < first ? at : at >= first + inSight ? at - inSight + 1 : first;
  return Math.max(0, Math.min(to, all - inSight));
}

/**
 * The part of a grid that is in sight, k × k cells as one: the greatest code of them, so that what is rare and bad is seen from afar.
 */
export function cut(
  codes: Uint8Array,
  cols: number,
  from: { readonly row: number; readonly col: number },
  { rows, cols: width, k }: Layout,
): { readonly codes: Uint8Array; readonly rows: number; readonly cols: number } {
  const [outRows, outCols] = [Math.ceil(rows / k), Math.ceil(width / k)];
  const out = new Uint8Array(outRows * outCols);
  for (let r = 0; r < rows; r++) {
    const base = Math.floor(r / k) * outCols;
    const at = (from.row + r) * cols + from.col;
    if (k === 1) {
      out.set(codes.subarray(at, at + width), base);
      continue;
    }
    for (let c = 0; c < width; c++) {
      const code = codes[at + c]!;
      const to = base + Math.floor(c / k);
      if (code > out[to]!) out[to] = code;
    }
  }
  return { codes: out, rows: outRows, cols: outCols };
}
