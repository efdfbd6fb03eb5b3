import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { CELLS, cellWords } from '../../../src/api/cell.ts';
import type { State } from '../data/state.ts';
import { charOf, codeOf, matrixText, subnetOfKey, troublesOf } from '../model/matrix.ts';
import { count } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { Grid, type Ink } from './grid.tsx';
import { Legend } from './legend.tsx';
import { Stale } from './stale.tsx';

const SIGNS: Readonly<Record<string, string>> = { x: '×', l: '~', m: '▾', '-': '', '.': '·' };
const COLOURS: Readonly<Record<string, string>> = {
  x: '--cell-unreachable',
  l: '--cell-lossy',
  m: '--cell-lowered',
  '-': '--cell-self',
  '.': '--cell-unprobed',
};

/** By code: nobody has told, then the characters of CELLS. */
const INKS: readonly Ink[] = [
  { colour: '--cell-untold', sign: '?', signColour: '--ink-soft' },
  ...Array.from(CELLS, (char): Ink => {
    const sign = SIGNS[char];
    return {
      colour: COLOURS[char] ?? `--rtt-${char}`,
      ...(sign
        ? { sign, signColour: char === '.' ? '--ink' : char === 'l' ? '--slot-dark' : '--slot-sign' }
        : {}),
    };
  }),
];

const LEGEND = [
  ...['0', '2', '4', '6', '7', '8', '9'].map((c) => ({
    ink: INKS[codeOf(c)]!,
    text: cellWords(c).replace('reachable, ', ''),
  })),
  { ink: INKS[codeOf('m')]!, text: 'not by full-size packets' },
  { ink: INKS[codeOf('l')]!, text: 'lossy' },
  { ink: INKS[codeOf('x')]!, text: 'unreachable' },
  { ink: INKS[codeOf('.')]!, text: 'not probed yet' },
  { ink: INKS[0]!, text: 'nobody has told' },
];

/** Who reaches whom. */
export function Paths({ state }: { readonly state: State }) {
  const matrix = useSignal(state.matrix);
  const section = useRef<HTMLElement>(null);
  const [goTo, setGoTo] = useState<{ row: number; col: number } | undefined>(undefined);
  useEffect(() => {
    // Daemons gather the matrix from each other: only while it is in sight.
    const observer = new IntersectionObserver(
      ([entry]) => state.tell({ kind: 'matrix', wanted: entry!.isIntersecting }),
      { rootMargin: '200px' },
    );
    observer.observe(section.current!);
    return () => observer.disconnect();
  }, [state]);
  const troubles = useMemo(() => (matrix ? troublesOf(matrix) : undefined), [matrix]);
  const names = useMemo(() => matrix?.nodes.map((n) => subnetOfKey(n.key).split(',')[0]!), [matrix]);
  const n = matrix?.nodes.length ?? 0;
  return (
    <section id="paths" ref={section} aria-labelledby="paths-title" tabIndex={-1}>
      <div class="title">
        <h2 id="paths-title">Paths</h2>
        <span class="sub">
          {matrix && n > 0
            ? `who reaches whom: rows from, columns to; ${matrix.rowsTold} of ${count(n, 'node')} told theirs`
            : ''}
        </span>
        <span class="push" />
        <Stale topic={state.topics.matrix} every={5_000} />
      </div>
      {matrix && n > 0 && troubles && (
        <div class="split">
          <div>
            <Grid
              id="matrix"
              label={`Matrix of probes between ${count(n, 'node')}`}
              rows={n}
              cols={n}
              codes={matrix.cells}
              inks={INKS}
              height={520}
              describe={(row, col) => matrixText(matrix, row, col)}
              goTo={goTo}
              {...(names ? { names } : {})}
            />
            <Legend label="Cells by round trip and trouble" items={LEGEND} />
          </div>
          <div class="troubles">
            <h3 id="troubles-title">Trouble</h3>
            <p>
              {troubles.unreachable + troubles.lossy + troubles.lowered === 0
                ? 'None: every path that was probed works.'
                : [
                    troubles.unreachable > 0 && `${count(troubles.unreachable, 'path')} unreachable`,
                    troubles.lossy > 0 && `${count(troubles.lossy, 'path')} lossy`,
                    troubles.lowered > 0 && `${count(troubles.lowered, 'path')} without full-size packets`,
                  ]
                    .filter(Boolean)
                    .join(', ')}
            </p>
            <ul aria-labelledby="troubles-title">
              {troubles.nodes.map(({ index, text }) => (
                <li key={text}>
                  <button type="button" onClick={() => setGoTo({ row: index === 0 ? 1 : 0, col: index })}>
                    {text}
                  </button>
                </li>
              ))}
              {troubles.list.map(({ row, col, code, text }) => (
                <li key={`${row}-${col}`}>
                  <button type="button" class={`code-${charOf(code)}`} onClick={() => setGoTo({ row, col })}>
                    {text}
                  </button>
                </li>
              ))}
            </ul>
            <Untold matrix={matrix} />
          </div>
        </div>
      )}
    </section>
  );
}

function Untold({ matrix }: { readonly matrix: NonNullable<State['matrix']['value']> }) {
  const untold = matrix.nodes.filter((node) => !node.told);
  if (untold.length === 0) return null;
  return (
    <details>
      <summary>{count(untold.length, 'node has', 'nodes have')} not told</summary>
      <ul>
        {untold.slice(0, 100).map((node) => (
          <li key={node.key}>
            {subnetOfKey(node.key)}: {node.error ?? 'not asked yet'}
          </li>
        ))}
        {untold.length > 100 && <li>and {untold.length - 100} more</li>}
      </ul>
    </details>
  );
}
