import { useState } from 'preact/hooks';
import type { State } from '../data/state.ts';
import { subnetOfKey } from '../model/matrix.ts';
import type { Direction, Plot } from '../model/rates.ts';
import { count, rate } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { LINES, RatePlot } from './plot.tsx';
import { Stale } from './stale.tsx';

const DIRECTIONS: readonly (readonly [Direction, string])[] = [
  ['both', 'in and out'],
  ['in', 'in'],
  ['out', 'out'],
];

const lastOf = (values: readonly (number | null)[]): string => {
  const last = values.at(-1);
  return last === null || last === undefined ? '–' : rate(last);
};

const meanOf = (values: readonly (number | null)[]): string => {
  const known = values.filter((v) => v !== null);
  return known.length === 0 ? '–' : rate(known.reduce((a, b) => a + b, 0) / known.length);
};

/** Throughput of the busiest peers, and of all together. */
export function Traffic({ state }: { readonly state: State }) {
  const plot = useSignal(state.plot);
  const [direction, setDirection] = useState<Direction>('both');
  const [top, setTop] = useState(5);
  const choose = (d: Direction, n: number) => {
    setDirection(d);
    setTop(n);
    state.plotOf(d, n);
  };
  return (
    <section id="traffic" aria-labelledby="traffic-title" tabIndex={-1}>
      <div class="title">
        <h2 id="traffic-title">Traffic</h2>
        <span class="sub">
          {plot && plot.peers > 0 ? `through the overlay, ${count(plot.peers, 'peer')} counted` : ''}
        </span>
        <span class="push" />
        <label>
          Direction{' '}
          <select value={direction} onChange={(e) => choose(e.currentTarget.value as Direction, top)}>
            {DIRECTIONS.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <label>
          Peers{' '}
          <select value={String(top)} onChange={(e) => choose(direction, Number(e.currentTarget.value))}>
            {['3', '5', '8'].map((n) => (
              <option key={n}>{n}</option>
            ))}
          </select>
        </label>
        <Stale topic={state.topics.peers} every={2_500} />
      </div>
      {plot && plot.peers === 0 && (
        <p class="note">
          No traffic to count: there are no peers, or nobody counts it here (--peer-counters).
        </p>
      )}
      {plot && plot.peers > 0 && (
        <>
          <div
            role="img"
            aria-label={`Throughput ${DIRECTIONS.find(([d]) => d === direction)![1]} over the last minutes: all peers ${lastOf(plot.sum)} now, the table below has the busiest`}
          >
            <RatePlot plot={plot} />
          </div>
          <Busiest plot={plot} />
        </>
      )}
    </section>
  );
}

function Busiest({ plot }: { readonly plot: Plot }) {
  return (
    <table class="busiest">
      <caption class="vh">Busiest peers</caption>
      <thead>
        <tr>
          <th scope="col">Peer</th>
          <th scope="col" class="num">
            Now
          </th>
          <th scope="col" class="num">
            Mean
          </th>
        </tr>
      </thead>
      <tbody>
        <tr>
          <th scope="row">
            <Line colour="--ink" index={-1} /> all peers
          </th>
          <td class="num" data-sum={plot.sum.at(-1) ?? ''}>
            {lastOf(plot.sum)}
          </td>
          <td class="num">{meanOf(plot.sum)}</td>
        </tr>
        {plot.series.map(({ key, values }, i) => (
          <tr key={key}>
            <th scope="row">
              <Line colour={LINES[i % LINES.length]!} index={i} /> {subnetOfKey(key)}
            </th>
            <td class="num">{lastOf(values)}</td>
            <td class="num">{meanOf(values)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The line as on the plot. */
function Line({ colour, index }: { readonly colour: string; readonly index: number }) {
  return (
    <svg class="line" viewBox="0 0 28 6" width="28" height="6" aria-hidden="true">
      <line
        x1="0"
        y1="3"
        x2="28"
        y2="3"
        class={`dash-${index < 0 ? 0 : index % 8}`}
        stroke={`var(${colour})`}
        stroke-width={index < 0 ? 3 : 2}
      />
    </svg>
  );
}
