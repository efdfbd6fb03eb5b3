import { Signal } from './signal.ts';
import { nextTheme, remember, remembered, theme } from './theme.ts';

const KEY = 'loden.shortcuts';

/** Whoever types by voice may not want them. */
export const shortcutsOn = new Signal(remembered(KEY) !== 'off');

const SECTIONS: Readonly<Record<string, string>> = { 1: 'leases', 2: 'paths', 3: 'traffic', 4: 'events' };

export interface KeyActions {
  readonly help: () => void;
  readonly refresh: () => void;
}

/** Shortcuts of the whole page. Returns how to end them. */
export function listenToKeys(actions: KeyActions): () => void {
  const end = shortcutsOn.subscribe(() => remember(KEY, shortcutsOn.value ? 'on' : 'off'));
  const onKey = (e: KeyboardEvent): void => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
    if (e.target instanceof Element && e.target.closest('input, select, textarea, dialog')) return;
    if (e.key === '?') actions.help();
    else if (!shortcutsOn.value) return;
    else if (e.key === 't') theme.set(nextTheme(theme.value));
    else if (e.key === 'r') actions.refresh();
    else if (e.key === '/') document.getElementById('filter')?.focus();
    else if (SECTIONS[e.key]) goTo(SECTIONS[e.key]!);
    else return;
    e.preventDefault();
  };
  document.addEventListener('keydown', onKey);
  return () => {
    end();
    document.removeEventListener('keydown', onKey);
  };
}

function goTo(id: string): void {
  const section = document.getElementById(id);
  section?.scrollIntoView({ block: 'start' });
  section?.focus({ preventScroll: true });
}
