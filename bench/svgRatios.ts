import {
  aimOf,
  FIGURES,
  type Figure,
  ratio,
  type Sample,
  UNDERLAYS,
  type UnderlayName,
} from './datapathFigures.ts';
import type { Spread } from './stats.ts';
import { around, element, label, logScale, picture, ticks } from './svg.ts';

/** Colours that are told apart on white and on black, by everybody. Text too is of one that both bear, unless it is known which. */
const COLOURS: Readonly<Record<UnderlayName, string>> = { offload: '#2f81f7', wire: '#d9822b' };
const STYLE = `
text { font: 12px system-ui, sans-serif; fill: #768390 }
.small { font-size: 10px } .head { font-weight: 600 } .end { text-anchor: end } .mid { text-anchor: middle }
.grid { stroke: #8c959f; stroke-opacity: .3 } .one { stroke: #8c959f; stroke-width: 1.5 }
${UNDERLAYS.map((u) => `.${u} { stroke: ${COLOURS[u]}; fill: ${COLOURS[u]} }`).join('\n')}
.range { stroke-width: 2; stroke-opacity: .5 } .aim { stroke-width: 2.5 }
@media (prefers-color-scheme: light) { .strong { fill: #24292f } }
@media (prefers-color-scheme: dark) { .strong { fill: #e6edf3 } }
`;
const WIDTH = 780;
const PLOT = [230, 650] as const;
const ROW = 34;
/** Above and below a panel's rows: its heading, the axis. */
const HEAD = 34;
const FOOT = 34;
const LEGEND = 28;

const PANELS = [
  { against: 'vxlan', title: 'Loden udp to kernel VXLAN' },
  { against: 'one-packet', title: 'Loden udp to a forwarder that handles one packet at a time' },
] as const;
type Against = (typeof PANELS)[number]['against'];

interface Mark {
  readonly underlay: UnderlayName;
  readonly ratio: Spread;
  readonly aim: number | undefined;
}
interface Row {
  readonly figure: Figure;
  readonly marks: readonly Mark[];
}

/** The ratios of Loden's udp to both references as a picture: median, extremes and aim, on both underlays. */
export function ratiosSvg(samples: readonly Sample[]): string {
  const parts: string[] = [...legend()];
  let y = LEGEND;
  for (const { against, title } of PANELS) {
    const shown = rowsOf(samples, against);
    if (shown.length === 0) continue;
    parts.push(...panel(title, shown, y));
    y += HEAD + shown.length * ROW + FOOT;
  }
  return picture(
    { width: WIDTH, height: y },
    { title: 'Ratios of Loden’s udp backend to kernel VXLAN and to a one-packet forwarder', style: STYLE },
    parts,
  );
}

function rowsOf(samples: readonly Sample[], against: Against): Row[] {
  return FIGURES.filter((figure) => figure.ratio)
    .map((figure) => ({
      figure,
      marks: UNDERLAYS.flatMap((underlay): Mark[] => {
        const found = ratio(samples, underlay, figure, 'udp', against);
        return found ? [{ underlay, ratio: found, aim: aimOf(figure, underlay, against)?.value }] : [];
      }),
    }))
    .filter(({ marks }) => marks.length > 0);
}

function legend(): string[] {
  return [
    ...UNDERLAYS.flatMap((underlay, i) => [
      element('circle', { class: underlay, cx: PLOT[0] + i * 90, cy: 14, r: 4.5 }),
      label(PLOT[0] + 10 + i * 90, 18, underlay),
    ]),
    element('path', { class: 'one', d: `M${PLOT[0] + 196} 7v14`, 'stroke-width': 2.5 }),
    label(PLOT[0] + 204, 18, 'aim'),
    label(PLOT[0] + 244, 18, 'line: extremes of the rounds'),
  ];
}

function panel(title: string, shown: readonly Row[], top: number): string[] {
  const values = shown.flatMap(({ marks }) =>
    marks.flatMap((m) => [m.ratio.min, m.ratio.max, ...(m.aim === undefined ? [] : [m.aim])]),
  );
  const domain = around([...values, 1]);
  const x = logScale(domain, PLOT);
  const [first, last] = [top + HEAD, top + HEAD + shown.length * ROW];
  return [
    label(0, top + 20, title, { class: 'head strong' }),
    ...ticks(...domain).flatMap((tick) => [
      element('path', { class: tick === 1 ? 'one' : 'grid', d: `M${x(tick).toFixed(1)} ${first}V${last}` }),
      label(x(tick), last + 16, `${tick}×`, { class: 'mid' }),
    ]),
    ...shown.flatMap((row, i) => rowParts(row, first + i * ROW, x)),
  ];
}

function rowParts({ figure, marks }: Row, top: number, x: (value: number) => number): string[] {
  return [
    label(0, top + 16, figure.about, { class: 'strong' }),
    label(0, top + 29, figure.more ? 'more is better' : 'less is better', { class: 'small' }),
    ...marks.flatMap((mark, i) => {
      const y = top + (marks.length === 1 ? ROW / 2 : 11 + i * 13);
      const at = (value: number) => x(value).toFixed(1);
      return [
        element('path', {
          class: `${mark.underlay} range`,
          d: `M${at(mark.ratio.min)} ${y}H${at(mark.ratio.max)}`,
        }),
        ...(mark.aim === undefined
          ? []
          : [element('path', { class: `${mark.underlay} aim`, d: `M${at(mark.aim)} ${y - 6}v12` })]),
        element('circle', { class: mark.underlay, cx: x(mark.ratio.median), cy: y, r: 4.5 }),
        label(WIDTH - 4, y + 4, `${mark.ratio.median.toFixed(2)}×`, { class: 'end strong' }),
      ];
    }),
  ];
}
