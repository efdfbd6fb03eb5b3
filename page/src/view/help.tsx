import { shortcutsOn } from '../keys.ts';
import { useSignal } from '../signal.ts';
import { Dialog } from './dialog.tsx';

const KEYS: readonly (readonly [string, string])[] = [
  ['1 2 3 4', 'go to leases, paths, traffic, events'],
  ['/', 'filter leases'],
  ['t', 'light, dark, as the system'],
  ['r', 'ask for everything now'],
  ['?', 'this'],
  ['Tab', 'next control; grids and tables are one stop each'],
  ['arrows, Home, End, Page Up, Page Down', 'move in a grid or a table; Ctrl+Home, Ctrl+End: its corners'],
  ['+ −', 'zoom a grid'],
  ['Enter', 'open what a row or a cell stands for'],
  ['Esc', 'close'],
];

export function Help({ onClose }: { readonly onClose: () => void }) {
  const on = useSignal(shortcutsOn);
  return (
    <Dialog title="Keys" onClose={onClose}>
      <table class="keys">
        <thead class="vh">
          <tr>
            <th scope="col">Key</th>
            <th scope="col">Does</th>
          </tr>
        </thead>
        <tbody>
          {KEYS.map(([key, what]) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <label>
        <input type="checkbox" checked={on} onChange={(e) => shortcutsOn.set(e.currentTarget.checked)} />{' '}
        single keys (1–4, /, t, r) are shortcuts
      </label>
    </Dialog>
  );
}
