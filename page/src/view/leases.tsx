import { useEffect, useMemo, useState } from 'preact/hooks';
import type { State } from '../data/state.ts';
import type { LeaseRow, SlotState } from '../model/rows.ts';
import { cellText, type Painted, paint, SLOT_STATES, type Space, spaceOf } from '../model/space.ts';
import { count } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { Grid, type Ink } from './grid.tsx';
import { Legend } from './legend.tsx';
import { Stale } from './stale.tsx';
import { Table } from './table.tsx';

/** In the order of SLOT_STATES. */
const INKS: readonly Ink[] = [
  { colour: '--slot-free' },
  { colour: '--slot-leased', sign: '•', signColour: '--slot-sign' },
  { colour: '--slot-reserved', sign: 'R', signColour: '--slot-sign' },
  { colour: '--slot-silent', sign: '×', signColour: '--slot-sign' },
  { colour: '--slot-expiring', sign: '!', signColour: '--slot-dark' },
  { colour: '--slot-ours', sign: '★', signColour: '--slot-sign' },
];

const WORDS: Readonly<Record<SlotState, string>> = {
  free: 'free',
  leased: 'leased',
  reserved: 'reserved',
  silent: 'node does not answer',
  expiring: 'running out: not renewed in time',
  ours: 'ours',
};

/** The map of the address space. */
function SpaceMap({
  space,
  painted,
  onOpen,
}: {
  readonly space: Space;
  readonly painted: Painted;
  readonly onOpen: (row: LeaseRow) => void;
}) {
  const items = SLOT_STATES.map((state, i) => ({
    ink: INKS[i]!,
    text: `${WORDS[state]} (${painted.counts[state].toLocaleString('en')})`,
  }));
  const perCell = 2 ** (space.slotLen - space.cellLen);
  return (
    <div class="map">
      <Grid
        id="map"
        label={`Address space: ${count(space.cells, 'cell')} of a /${space.cellLen}${perCell > 1 ? `, ${perCell} subnets each` : ''}`}
        rows={space.rows}
        cols={space.cols}
        codes={painted.states}
        inks={INKS}
        height={260}
        describe={(row, col) => cellText(space, painted, row * space.cols + col, Date.now())}
        onPick={(row, col) => {
          const owner = painted.owners.get(row * space.cols + col)?.[0];
          if (owner) onOpen(owner);
        }}
      />
      <Legend label="Subnets by state" items={items} />
      {painted.outside > 0 && <p class="note">{count(painted.outside, 'lease')} outside of this network</p>}
    </div>
  );
}

export function Leases({
  state,
  onOpen,
}: {
  readonly state: State;
  readonly onOpen: (row: LeaseRow) => void;
}) {
  const rows = useSignal(state.rows);
  const setAside = useSignal(state.setAside);
  const network = useSignal(state.status)?.status.network;
  const [family, setFamily] = useState<4 | 6>(4);
  const both = Boolean(network?.IPv4 && network.IPv6);
  const text = both ? (family === 4 ? network?.IPv4 : network?.IPv6) : (network?.IPv4 ?? network?.IPv6);
  const space = useMemo(() => (text && rows ? spaceOf(text, rows) : undefined), [text, rows]);
  const painted = useMemo(() => (space && rows ? paint(space, rows) : undefined), [space, rows]);
  useEffect(() => {
    if (!both) setFamily(4);
  }, [both]);
  return (
    <section id="leases" aria-labelledby="leases-title" tabIndex={-1}>
      <div class="title">
        <h2 id="leases-title">Leases</h2>
        <span class="sub">
          {rows ? `${count(rows.length, 'lease')} in ${text ?? 'a network not known yet'}` : ''}
          {setAside.length > 0 ? `; ${count(setAside.length, 'key')} set aside that cannot be read` : ''}
        </span>
        <span class="push" />
        {both && (
          <button type="button" onClick={() => setFamily(family === 4 ? 6 : 4)}>
            map IPv{family === 4 ? 6 : 4}
          </button>
        )}
        <Stale topic={state.topics.leases} every={20_000} />
      </div>
      {space && painted && <SpaceMap space={space} painted={painted} onOpen={onOpen} />}
      {rows && <Table rows={rows} onOpen={onOpen} />}
    </section>
  );
}
