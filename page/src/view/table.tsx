import { useId, useMemo, useRef, useState } from 'preact/hooks';
import { arrange, type Column, type Sorting } from '../model/arrange.ts';
import type { LeaseRow } from '../model/rows.ts';
import { moved, scrollTo, windowOf } from '../model/virtual.ts';
import { bits, briefly, count, duration, roundTrip } from '../model/words.ts';
import { useClock } from './stale.tsx';

const HEADS: readonly { readonly column: Column; readonly text: string; readonly unit?: string }[] = [
  { column: 'subnet', text: 'Subnet' },
  { column: 'address', text: 'Address' },
  { column: 'state', text: 'State' },
  { column: 'left', text: 'Left' },
  { column: 'path', text: 'Path' },
  { column: 'mtu', text: 'MTU' },
  { column: 'in', text: 'In', unit: 'bit/s' },
  { column: 'out', text: 'Out', unit: 'bit/s' },
];
/** What one looks for is at the top when one sorts by it: what is large or bad, but the first address and the next to end. */
const ASCENDS: readonly Column[] = ['subnet', 'address', 'left'];

/** Pixels; styles/leases.css says the same. */
const ROW = 30;
const HEIGHT = 18 * ROW;

/** Health and round trip of a path, in few words. */
function pathText({ health, rtt, loss }: LeaseRow): string {
  switch (health) {
    case 'reachable':
      return `✓ ${rtt === null ? 'reachable' : roundTrip(rtt)}`;
    case 'lossy':
      return `~ ${Math.round((loss ?? 0) * 100)} % lost`;
    case 'unreachable':
      return '× unreachable';
    case 'unprobed':
      return '· not probed';
    case null:
      return '–';
  }
}

/** How long a lease has left, counted down. */
function Left({ row }: { readonly row: LeaseRow }) {
  const now = useClock();
  if (row.endsAt === null) return <>–</>;
  const left = (row.endsAt - now) / 1000;
  return (
    <span title={duration(left)}>
      {row.state === 'expiring' && <span aria-hidden="true">! </span>}
      {left <= 0 && row.state === 'expiring' ? 'over' : briefly(left)}
    </span>
  );
}

function cell(row: LeaseRow, column: Column): string {
  switch (column) {
    case 'subnet':
      return row.subnets.join(', ');
    case 'address':
      return row.address.replace(' ', ', ') || '–';
    case 'path':
      return pathText(row);
    case 'mtu':
      return row.mtu === null ? '–' : String(row.mtu);
    case 'in':
      return row.inRate === null ? '–' : bits(row.inRate);
    case 'out':
      return row.outRate === null ? '–' : bits(row.outRate);
    default:
      return row.words;
  }
}

/** Of two families the second is left out where there is no room. */
function Families({ text }: { readonly text: string }) {
  const [first, ...more] = text.split(', ');
  return (
    <>
      {first}
      {more.length > 0 && <span class="more">, {more.join(', ')}</span>}
    </>
  );
}

function Cell({ row, column }: { readonly row: LeaseRow; readonly column: Column }) {
  const text = cell(row, column);
  if (column === 'subnet')
    return (
      <th class="c-subnet" scope="row" title={text}>
        <Families text={text} />
      </th>
    );
  const mood = column === 'path' ? (row.health ?? '') : '';
  return (
    <td class={`c-${column} ${mood}`} title={column === 'state' || column === 'address' ? text : undefined}>
      {column === 'left' ? <Left row={row} /> : column === 'address' ? <Families text={text} /> : text}
    </td>
  );
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
      descending: sorting.column === column ? !sorting.descending : !ASCENDS.includes(column),
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
              {HEADS.map(({ column, text, unit }) => (
                <th
                  key={column}
                  scope="col"
                  class={`c-${column}`}
                  aria-sort={
                    sorting.column === column ? (sorting.descending ? 'descending' : 'ascending') : 'none'
                  }
                >
                  <button type="button" onClick={() => sortBy(column)}>
                    {text}
                    {unit && <small> {unit}</small>}
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
                <td />
              </tr>
            )}
            {shown.slice(first, end).map((row, i) => {
              const index = first + i;
              return (
                <tr
                  key={row.key}
                  aria-rowindex={index + 2}
                  id={index === at ? activeId : undefined}
                  class={`${row.state} ${row.isTrouble ? 'trouble' : ''} ${index === at ? 'active' : ''}`}
                  aria-selected={index === at}
                  onMouseDown={() => setActive(row.key)}
                  onClick={() => onOpen(row)}
                >
                  {HEADS.map(({ column }) => (
                    <Cell key={column} row={row} column={column} />
                  ))}
                </tr>
              );
            })}
            {end < shown.length && (
              <tr class="space" aria-hidden="true" style={{ height: `${(shown.length - end) * ROW}px` }}>
                <td />
              </tr>
            )}
          </tbody>
        </table>
        {shown.length === 0 && <p class="note">{rows.length === 0 ? 'no leases' : 'nothing matches'}</p>}
      </div>
    </div>
  );
}
