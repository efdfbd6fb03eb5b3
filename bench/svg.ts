/** Just enough of SVG for a diagram: elements as text, escaped. */

export type Attributes = Readonly<Record<string, string | number>>;

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);

const number = (n: number): string => String(Number(n.toFixed(2)));

/** An element; children are markup already. */
export function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const attrs = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? number(value) : escaped(value)}"`)
    .join('');
  return children.length > 0 ? `<${name}${attrs}>${children.join('')}</${name}>` : `<${name}${attrs}/>`;
}

/** Text at a place. */
export const label = (x: number, y: number, content: string, attributes: Attributes = {}): string =>
  element('text', { x, y, ...attributes }, escaped(content));

/** A whole picture, without a background: `style` is CSS for it and must do on light and dark. */
export function picture(
  size: { width: number; height: number },
  about: { title: string; style: string },
  parts: readonly string[],
): string {
  const { width, height } = size;
  return `${element(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' },
    '\n',
    element('title', {}, escaped(about.title)),
    '\n',
    element('style', {}, escaped(about.style)),
    '\n',
    ...parts.flatMap((part) => [part, '\n']),
  )}\n`;
}

/** Maps [low, high] to [from, to] logarithmically; what lies outside is put on the edge. */
export function logScale(
  [low, high]: readonly [number, number],
  [from, to]: readonly [number, number],
): (value: number) => number {
  const span = Math.log(high / low);
  return (value) => from + ((to - from) * Math.log(Math.min(Math.max(value, low), high) / low)) / span;
}

/** 1, 2 and 5 times powers of ten: the widest of these within the limits, and what lies between. */
export function ticks(low: number, high: number): number[] {
  const found: number[] = [];
  for (let power = -4; power <= 4; power++) {
    for (const digit of [1, 2, 5]) {
      // From text, so that 0.05 is not 0.05000000000000001.
      const value = Number(`${digit}e${power}`);
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

/** The next number of {@link ticks} below and above. */
export function around(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return [ticks(1e-4, low).at(-1) ?? low, ticks(high, 1e4)[0] ?? high];
}
