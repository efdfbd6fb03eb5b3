import { useId, useMemo, useRef, useState } from 'preact/hooks';
import { arrange, type Column, type LeaseRow, type Sorting } from '../model/rows.ts';
import { moved, scrollTo, windowOf } from '../model/virtual.ts';
import { count, rate, roundTrip } from '../model/words.ts';

const HEADS: readonly { readonly column: Column; readonly text: string; readonly numeric?: true }[] = [
  { column: 'subnet', text: 'Subnet' },
  { column: 'address', text: 'Address' },
  { column: 'state', text: 'State' },
  { column: 'health', text: 'Path' },
  { column: 'rtt', text: 'RTT', numeric: true },
  { column: 'loss', text: 'Loss', numeric: true },
  { column: 'mtu', text: 'MTU', numeric: true },
  { column: 'in', text: 'In', numeric: true },
  { column: 'out', text: 'Out', numeric: true },
];

/** Pixels; style.css says the same. */
const ROW = 30;
const HEIGHT = 18 * ROW;

const SIGN = { reachable: '✓', lossy: '~', unreachable: '×', unprobed: '·' } as const;

function cell(row: LeaseRow, column: Column): string {
  switch (column) {
    case 'subnet':
      return row.subnets.join(', ');
    case 'address':
      return row.address || '–';
    case 'state':
      return row.words;
    case 'health':
      return row.health ? `${SIGN[row.health]} ${row.health}` : '–';
    case 'rtt':
      return row.rtt === null ? '–' : roundTrip(row.rtt);
    case 'loss':
      return row.loss === null ? '–' : `${Math.round(row.loss * 100)} %`;
    case 'mtu':
      return row.mtu === null ? '–' : String(row.mtu);
    case 'in':
      return row.inRate === null ? '–' : rate(row.inRate);
    case 'out':
      return row.outRate === null ? '–' : rate(row.outRate);
  }
}

/** All leases; only the rows in sight are in the document. */
export function Table({
  rows,
  onOpen,
}: {
  readonly rows: readonly LeaseRow[];
  readonly onOpen: (row: LeaseRow) => void;
}) {
  const [filter, setFilter] = useState('');
  const [sorting, setSorting] = useState<Sorting>({ column: 'subnet', descending: false });
  const [scrollTop, setScrollTop] = useState(0);
  const [active, setActive] = useState<string | undefined>(undefined);
  const box = useRef<HTMLDivElement>(null);
  const activeId = useId();
  const shown = useMemo(() => arrange(rows, filter, sorting), [rows, filter, sorting]);
  const height = Math.min(HEIGHT, shown.length * ROW);
  const { first, end } = windowOf(shown.length, ROW, scrollTop, height);
  const found = active === undefined ? -1 : shown.findIndex((r) => r.key === active);
  const at = Math.max(found, 0);

  const go = (index: number) => {
    const row = shown[index];
    if (!row) return;
    setActive(row.key);
    const top = scrollTo(index, ROW, box.current!.scrollTop, height);
    box.current!.scrollTop = top;
    setScrollTop(top);
  };
  // The table has the focus, for rows come and go under it.
  const onKey = (e: KeyboardEvent) => {
    if (e.altKey || e.metaKey || e.target !== e.currentTarget || shown.length === 0) return;
    if (e.key === 'Enter') onOpen(shown[at]!);
    else {
      const to = moved(e.key, { row: at, col: 0 }, { rows: shown.length, cols: 1, page: 10 }, true);
      if (!to || e.key === 'ArrowLeft' || e.key === 'ArrowRight') return;
      go(to.row);
    }
    e.preventDefault();
  };
  const sortBy = (column: Column) =>
    setSorting({
      column,
      // What is large or bad is what one looks for.
      descending: sorting.column === column ? !sorting.descending : !['subnet', 'address'].includes(column),
    });

  return (
    <div class="tablebox">
      <div class="tools">
        <label>
          Filter{' '}
          <input
            id="filter"
            type="search"
            value={filter}
            placeholder="subnet, address, node, state …"
            onInput={(e) => {
              setFilter(e.currentTarget.value);
              box.current!.scrollTop = 0;
              setScrollTop(0);
            }}
            aria-keyshortcuts="/"
          />
        </label>
        <output class="sub">
          {shown.length === rows.length ? '' : `${shown.length} of ${count(rows.length, 'lease')}`}
        </output>
      </div>
      <div
        class="scroll"
        ref={box}
        style={{ maxHeight: `${HEIGHT + ROW + 2}px` }}
        onScroll={(e) => setScrollTop(e.currentTarget.scrollTop)}
      >
        <table
          id="lease-table"
          role="grid"
          tabIndex={0}
          aria-label="Leases"
          aria-activedescendant={at >= first && at < end ? activeId : undefined}
          onKeyDown={onKey}
          aria-rowcount={shown.length + 1}
          aria-colcount={HEADS.length}
        >
          <thead>
            <tr aria-rowindex={1}>
              {HEADS.map(({ column, text, numeric }) => (
                <th
                  key={column}
                  scope="col"
                  class={numeric ? 'num' : ''}
                  aria-sort={
                    sorting.column === column ? (sorting.descending ? 'descending' : 'ascending') : 'none'
                  }
                >
                  <button type="button" onClick={() => sortBy(column)}>
                    {text}
                    <span aria-hidden="true">
                      {sorting.column === column ? (sorting.descending ? ' ▾' : ' ▴') : ''}
                    </span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {first > 0 && (
              <tr class="space" aria-hidden="true" style={{ height: `${first * ROW}px` }}>
                <td colSpan={HEADS.length} />
              </tr>
            )}
            {shown.slice(first, end).map((row, i) => {
              const index = first + i;
              return (
                <tr
                  key={row.key}
                  aria-rowindex={index + 2}
                  id={index === at ? activeId : undefined}
                  class={`${row.state} ${row.peer?.problem ? 'trouble' : ''} ${index === at ? 'active' : ''}`}
                  aria-selected={index === at}
                  onMouseDown={() => setActive(row.key)}
                  onClick={() => onOpen(row)}
                >
                  {HEADS.map(({ column, numeric }) =>
                    column === 'subnet' ? (
                      <th key={column} scope="row">
                        {cell(row, column)}
                      </th>
                    ) : (
                      <td
                        key={column}
                        title={column === 'state' ? row.words : undefined}
                        class={`${numeric ? 'num' : ''} ${column === 'health' ? (row.health ?? '') : ''}`}
                      >
                        {cell(row, column)}
                      </td>
                    ),
                  )}
                </tr>
              );
            })}
            {end < shown.length && (
              <tr class="space" aria-hidden="true" style={{ height: `${(shown.length - end) * ROW}px` }}>
                <td colSpan={HEADS.length} />
              </tr>
            )}
          </tbody>
        </table>
        {shown.length === 0 && <p class="note">{rows.length === 0 ? 'no leases' : 'nothing matches'}</p>}
      </div>
    </div>
  );
}
