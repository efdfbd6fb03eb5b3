/** Put into the page before its own scripts: notes tasks that keep it from answering, and how long answers to keys and clicks took. */

export interface Noted {
  /** Milliseconds of tasks over 50 ms. */
  readonly long: number[];
  /** Milliseconds from an input to the frame that shows its effect, by the kind of input. */
  readonly inputs: { readonly type: string; readonly ms: number }[];
}

declare global {
  var noted: Noted | undefined;
}

export function watch(): void {
  const noted: Noted = { long: [], inputs: [] };
  globalThis.noted = noted;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) noted.long.push(entry.duration);
  }).observe({ type: 'longtask', buffered: true });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) noted.inputs.push({ type: entry.name, ms: entry.duration });
  }).observe({ type: 'event', durationThreshold: 16, buffered: true } as PerformanceObserverInit);
}
