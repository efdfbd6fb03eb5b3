/** The rows of a long table that need be there. */
export interface Window {
  readonly first: number;
  /** Behind the last. */
  readonly end: number;
}

/** Rows within a viewport, and a few more above and below. */
export function windowOf(
  rows: number,
  rowHeight: number,
  scrollTop: number,
  height: number,
  extra = 6,
): Window {
  const top = Math.max(0, Math.min(scrollTop, rows * rowHeight - height));
  const first = Math.max(0, Math.floor(top / rowHeight) - extra);
  const end = Math.min(rows, Math.ceil((top + height) / rowHeight) + extra);
  return { first, end };
}

/** The scrollTop that shows a row, moving as little as possible. */
export function scrollTo(row: number, rowHeight: number, scrollTop: number, height: number): number {
  const top = row * rowHeight;
  if (top < scrollTop) return top;
  if (top + rowHeight > scrollTop + height) return top + rowHeight - height;
  return scrollTop;
}

/** Where a key takes a focus in a grid of `rows` × `cols`; undefined: the key does nothing here. */
export function moved(
  key: string,
  at: { readonly row: number; readonly col: number },
  grid: { readonly rows: number; readonly cols: number; readonly page: number },
  ctrl = false,
): { row: number; col: number } | undefined {
  const { row, col } = at;
  const to = (r: number, c: number) => ({
    row: Math.max(0, Math.min(grid.rows - 1, r)),
    col: Math.max(0, Math.min(grid.cols - 1, c)),
  });
  switch (key) {
    case 'ArrowUp':
      return to(row - 1, col);
    case 'ArrowDown':
      return to(row + 1, col);
    case 'ArrowLeft':
      return to(row, col - 1);
    case 'ArrowRight':
      return to(row, col + 1);
    case 'PageUp':
      return to(row - grid.page, col);
    case 'PageDown':
      return to(row + grid.page, col);
    case 'Home':
      return to(ctrl ? 0 : row, 0);
    case 'End':
      return to(ctrl ? grid.rows - 1 : row, grid.cols - 1);
  }
  return undefined;
}
