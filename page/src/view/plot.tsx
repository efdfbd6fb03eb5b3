import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Plot } from '../model/rates.ts';
import { rate } from '../model/words.ts';
import { useSignal } from '../signal.ts';
import { colour, paletteVersion } from '../theme.ts';

export const LINES = [
  '--line-0',
  '--line-1',
  '--line-2',
  '--line-3',
  '--line-4',
  '--line-5',
  '--line-6',
  '--line-7',
];
/** Not by colour alone. */
const DASHES: readonly number[][] = [
  [],
  [6, 3],
  [2, 3],
  [8, 3, 2, 3],
  [12, 4],
  [4, 4],
  [1, 4],
  [10, 2, 2, 2],
];

const HEIGHT = 260;

/** Rates over time on a canvas; made anew when the peers on it change, else only its data. */
export function RatePlot({ plot }: { readonly plot: Plot }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const version = useSignal(paletteVersion);
  const keys = plot.series.map((s) => s.key).join(' ');
  const data = [plot.times, plot.sum, ...plot.series.map((s) => s.values)] as unknown as uPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;

  useLayoutEffect(() => {
    const element = box.current!;
    const axis = {
      stroke: colour('--ink-soft'),
      grid: { stroke: colour('--rule'), width: 1 },
      ticks: { stroke: colour('--rule'), width: 1 },
    };
    const u = new uPlot(
      {
        width: element.clientWidth || 400,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_u, _min, max) => [0, Math.max(max, 1) * 1.05] } },
        axes: [axis, { ...axis, size: 84, values: (_u, values) => values.map((v) => rate(v)) }],
        series: [
          {},
          { stroke: colour('--ink'), width: 2 },
          ...plot.series.map((_, i) => ({
            stroke: colour(LINES[i % LINES.length]!),
            dash: DASHES[i % DASHES.length]!,
            width: 1.5,
          })),
        ],
      },
      latest.current,
      element,
    );
    chart.current = u;
    const observer = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry!.contentRect.width);
      if (width > 0 && width !== u.width) u.setSize({ width, height: HEIGHT });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      u.destroy();
      chart.current = undefined;
    };
  }, [keys, version]);

  useEffect(() => {
    if (chart.current && chart.current.data !== data) chart.current.setData(data);
  }, [plot]);

  return <div class="plot" ref={box} aria-hidden="true" />;
}
