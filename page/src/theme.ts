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

/** The value of a CSS custom property, e.g. `--rtt-3`: `#rrggbb`. */
export function colour(name: string): string {
  let value = colours.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colours.set(name, value);
  }
  return value;
}

/** `#rrggbb` or `#rgb` as a pixel of ImageData's 32-bit view (little endian: every machine with a browser). */
export const pixel = (hex: string): number => {
  const digits = hex.slice(1);
  const n = Number.parseInt(digits.length === 3 ? digits.replace(/./g, '$&$&') : digits, 16);
  return ((255 << 24) | ((n & 255) << 16) | (n & 0xff00) | ((n >> 16) & 255)) >>> 0;
};
