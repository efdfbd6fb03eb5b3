import { Signal } from './signal.ts';

export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'loden.theme';
const isTheme = (text: unknown): text is Theme => text === 'auto' || text === 'light' || text === 'dark';

/** Storage may be forbidden: then the choice lasts as long as the page. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {}
}

const first = remembered(KEY);
export const theme = new Signal<Theme>(isTheme(first) ? first : 'auto');
/** Goes up whenever colours have changed: canvases are drawn anew. */
export const paletteVersion = new Signal(0);

const apply = (): void => {
  document.documentElement.dataset.theme = theme.value;
  colours.clear();
  paletteVersion.set(paletteVersion.value + 1);
};

export function startTheme(): void {
  apply();
  theme.subscribe(() => {
    remember(KEY, theme.value);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
}

/** The next of light, dark and what the system says. */
export const nextTheme = (now: Theme): Theme =>
  now === 'auto' ? 'light' : now === 'light' ? 'dark' : 'auto';

const colours = new Map<string, string>();
let probe: HTMLElement | undefined;

/** A colour by its CSS custom property, e.g. `--rtt-3`, as it is in force: `rgb(r, g, b)`. */
export function colour(name: string): string {
  let value = colours.get(name);
  if (value === undefined) {
    // The property itself has both of light-dark(): what an element makes of it is asked.
    probe ??= document.body.appendChild(Object.assign(document.createElement('span'), { hidden: true }));
    probe.style.color = `var(${name})`;
    value = getComputedStyle(probe).color;
    colours.set(name, value);
  }
  return value;
}

/** `rgb(r, g, b)` as a pixel of ImageData's 32-bit view (little endian: every machine with a browser). */
export const pixel = (rgb: string): number => {
  const [r = 0, g = 0, b = 0] = (rgb.match(/\d+/g) ?? []).map(Number);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
};
