import { useLayoutEffect, useReducer } from 'preact/hooks';

/** A value that changes, and who is told. */
export class Signal<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Returns how to end it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The value, and a new rendering whenever it changes. */
export function useSignal<T>(signal: Signal<T>): T {
  const [, render] = useReducer((n: number) => n + 1, 0);
  const shown = signal.value;
  useLayoutEffect(() => {
    // It may have changed since it was drawn.
    if (!Object.is(signal.value, shown)) render(undefined as never);
    return signal.subscribe(() => render(undefined as never));
  }, [signal]);
  return shown;
}
