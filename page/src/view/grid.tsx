import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { canZoom, cut, follow, layoutOf } from '../model/grid.ts';
import { moved } from '../model/virtual.ts';
import { useSignal } from '../signal.ts';
import { colour, paletteVersion, pixel } from '../theme.ts';

/** How a code is drawn: a colour by its CSS property, and a sign where there is room for one. */
export interface Ink {
  readonly colour: string;
  readonly sign?: string;
  readonly signColour?: string;
}

export interface GridProps {
  readonly id: string;
  readonly label: string;
  readonly rows: number;
  readonly cols: number;
  /** Row by row; an index of {@link GridProps.inks}; greater is more worth seeing. */
  readonly codes: Uint8Array;
  readonly inks: readonly Ink[];
  readonly describe: (row: number, col: number) => string;
  readonly onPick?: (row: number, col: number) => void;
  /** Go there; a new object each time. */
  readonly goTo?: { readonly row: number; readonly col: number } | undefined;
  /** CSS pixels at most. */
  readonly height: number;
  /** Of rows and columns, shown where there are few. */
  readonly names?: readonly string[];
}

/** Pixels of a cell from which signs are drawn. */
const SIGNS = 9;
/** Named rows at most. */
const NAMED = 24;
const NAME_WIDTH = 150;

/**
 * A grid on a canvas: thousands of cells, one of which has the focus. That one is in the document too, as a gridcell, so that a
 * screen reader tells what it is.
 */
export function Grid(props: GridProps) {
  const { rows, cols, codes, inks, describe, onPick, goTo, names } = props;
  const version = useSignal(paletteVersion);
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [zoom, setZoom] = useState(0);
  const [active, setActive] = useState({ row: 0, col: 0 });
  const [hovered, setHovered] = useState<{ row: number; col: number } | undefined>(undefined);
  const [focused, setFocused] = useState(false);
  const from = useRef({ row: 0, col: 0 });
  const cellId = useId();

  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!goTo) return;
    setActive(goTo);
    setHovered(undefined);
    box.current!.querySelector<HTMLElement>('[role=grid]')!.focus();
  }, [goTo]);

  const isNamed = names !== undefined && rows <= NAMED && width > 420;
  const layout = layoutOf(
    { rows, cols },
    { width: width - (isNamed ? NAME_WIDTH : 0), height: props.height },
    zoom,
  );
  const at = { row: Math.min(active.row, rows - 1), col: Math.min(active.col, cols - 1) };
  from.current = {
    row: follow(from.current.row, at.row, layout.rows, rows),
    col: follow(from.current.col, at.col, layout.cols, cols),
  };
  const { row: row0, col: col0 } = from.current;
  const pixels = layout.cell / layout.k;
  const [w, h] = [
    Math.ceil(layout.cols / layout.k) * layout.cell,
    Math.ceil(layout.rows / layout.k) * layout.cell,
  ];

  useLayoutEffect(() => {
    if (width > 0) draw(canvas.current!, props, layout, { row: row0, col: col0 }, w, h);
  }, [codes, inks, width, w, h, layout.cell, layout.k, row0, col0, version]);

  const cellAt = (e: PointerEvent) => {
    const rect = canvas.current!.getBoundingClientRect();
    const row = row0 + Math.floor((e.clientY - rect.top) / pixels);
    const col = col0 + Math.floor((e.clientX - rect.left) / pixels);
    return row >= 0 && row < rows && col >= 0 && col < cols ? { row, col } : undefined;
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.altKey || e.metaKey) return;
    const to = moved(e.key, at, { rows, cols, page: Math.max(1, Math.floor(layout.rows / 2)) }, e.ctrlKey);
    if (to) {
      setActive(to);
      setHovered(undefined);
    } else if (e.key === '+' && canZoom(layout)) setZoom(zoom + 1);
    else if (e.key === '-' && zoom > 0) setZoom(zoom - 1);
    else if (e.key === 'Enter' && onPick) onPick(at.row, at.col);
    else return;
    e.preventDefault();
    e.stopPropagation();
  };

  const pointed = hovered && hovered.row < rows && hovered.col < cols ? hovered : focused ? at : undefined;
  const inspected = pointed ?? at;
  const cursor = {
    left: `${(inspected.col - col0) * pixels}px`,
    top: `${(inspected.row - row0) * pixels}px`,
    width: `${Math.max(pixels, 3)}px`,
    height: `${Math.max(pixels, 3)}px`,
  };
  return (
    <div class="gridbox" ref={box}>
      <div class={isNamed ? 'gridwrap named' : 'gridwrap'}>
        {isNamed && (
          <div class="names" aria-hidden="true" style={{ width: `${NAME_WIDTH}px` }}>
            {names.slice(row0, row0 + layout.rows).map((name, i) => (
              <div key={name} style={{ height: `${layout.cell}px`, lineHeight: `${layout.cell}px` }}>
                {name} <b>{row0 + i + 1}</b>
              </div>
            ))}
          </div>
        )}
        {isNamed && (
          <div class="numbers" aria-hidden="true" style={{ left: `${NAME_WIDTH}px` }}>
            {names.slice(col0, col0 + layout.cols).map((name, i) => (
              <b key={name} style={{ width: `${layout.cell}px` }}>
                {col0 + i + 1}
              </b>
            ))}
          </div>
        )}
        <div
          id={props.id}
          class="grid"
          role="grid"
          tabIndex={0}
          aria-label={props.label}
          aria-rowcount={rows}
          aria-colcount={cols}
          aria-activedescendant={cellId}
          aria-describedby={`${props.id}-keys`}
          style={{ width: `${w}px`, height: `${h}px` }}
          onKeyDown={onKey}
          onFocus={() => setFocused(true)}
          onBlur={() => setFocused(false)}
        >
          <canvas
            ref={canvas}
            aria-hidden="true"
            onPointerMove={(e) => setHovered(cellAt(e))}
            onPointerLeave={() => setHovered(undefined)}
            onClick={(e) => {
              const cell = cellAt(e as unknown as PointerEvent);
              if (!cell) return;
              setActive(cell);
              onPick?.(cell.row, cell.col);
            }}
          />
          <div class="cursor" aria-hidden="true" style={cursor} />
          {/* biome-ignore lint/a11y/useFocusableInteractive: the grid has the focus and names the active cell */}
          <div class="vh" role="row" aria-rowindex={at.row + 1}>
            {/* biome-ignore lint/a11y/useFocusableInteractive: as above */}
            <div id={cellId} role="gridcell" aria-colindex={at.col + 1} aria-selected="true">
              {describe(at.row, at.col)}
            </div>
          </div>
        </div>
      </div>
      <div class="inspect">
        <p aria-hidden="true">{pointed && describe(pointed.row, pointed.col)}</p>
        <button type="button" aria-label="Zoom out" disabled={zoom === 0} onClick={() => setZoom(zoom - 1)}>
          −
        </button>
        <button
          type="button"
          aria-label="Zoom in"
          disabled={!canZoom(layout)}
          onClick={() => setZoom(zoom + 1)}
        >
          +
        </button>
      </div>
      <p class="vh" id={`${props.id}-keys`}>
        Arrow keys, Home, End, Page Up and Page Down move; plus and minus zoom{onPick ? '; Enter opens' : ''}.
      </p>
    </div>
  );
}

function draw(
  canvas: HTMLCanvasElement,
  { codes, cols, inks }: GridProps,
  layout: ReturnType<typeof layoutOf>,
  from: { row: number; col: number },
  w: number,
  h: number,
): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  canvas.style.width = `${w}px`;
  canvas.style.height = `${h}px`;
  const context = canvas.getContext('2d', { alpha: false })!;
  const shown = cut(codes, cols, from, layout);
  const image = new ImageData(shown.cols, shown.rows);
  const out = new Uint32Array(image.data.buffer);
  const palette = Uint32Array.from(inks, (ink) => pixel(colour(ink.colour)));
  for (let i = 0; i < out.length; i++) out[i] = palette[shown.codes[i]!]!;
  const small = new OffscreenCanvas(shown.cols, shown.rows);
  small.getContext('2d')!.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const size = layout.cell * ratio;
  if (layout.cell >= 5) {
    context.fillStyle = colour('--surface');
    const line = Math.max(1, Math.round(ratio));
    for (let c = 1; c <= shown.cols; c++)
      context.fillRect(Math.round(c * size) - line, 0, line, canvas.height);
    for (let r = 1; r <= shown.rows; r++)
      context.fillRect(0, Math.round(r * size) - line, canvas.width, line);
  }
  if (layout.cell < SIGNS) return;
  context.font = `${Math.round(Math.min(size * 0.6, 16 * ratio))}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (let r = 0; r < shown.rows; r++) {
    for (let c = 0; c < shown.cols; c++) {
      const ink = inks[shown.codes[r * shown.cols + c]!]!;
      if (!ink.sign) continue;
      context.fillStyle = colour(ink.signColour ?? '--ink');
      context.fillText(ink.sign, (c + 0.5) * size, (r + 0.53) * size);
    }
  }
}
