import { render } from 'preact';
import { App } from './app.tsx';
import { State } from './data/state.ts';
import './style.css';
import { startTheme } from './theme.ts';

startTheme();
const worker = new Worker(new URL('./data/worker.ts', import.meta.url), { type: 'module' });
const state = new State(worker);
const tellVisible = (): void => state.tell({ kind: 'visible', visible: !document.hidden });
document.addEventListener('visibilitychange', tellVisible);
tellVisible();
render(<App state={state} />, document.getElementById('app')!);
