import type { EventJson } from '../../../src/api/shapes.ts';
import { delay } from '../model/schedule.ts';
import { EventStreamText, type Message } from '../model/sse.ts';

/** Milliseconds without a byte after which a connection is taken for broken: the daemon gives a sign of life every 15 s. */
const SILENCE = 45_000;

export interface StreamParts {
  /** Where events are told from the oldest on that is kept. */
  readonly url: string;
  readonly onEvents: (instance: string, events: readonly EventJson[]) => void;
  readonly onOpen: (open: boolean) => void;
}

/**
 * The daemon's events: those it keeps, then each as it happens, in one answer. After it has broken off it is asked for again with the last
 * event seen, by its daemon's instance and its id: the daemon goes on behind it, and one that has started meanwhile tells all that it has.
 * (EventSource cannot be given where to begin by whoever makes one.)
 */
export class EventStream {
  readonly #parts: StreamParts;
  #abort: AbortController | undefined;
  /** `<instance>-<id>` of the last event. */
  #seen = '';
  #failures = 0;
  #wake = (): void => {};

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  set(on: boolean): void {
    if (on === (this.#abort !== undefined)) return;
    if (on) {
      this.#abort = new AbortController();
      void this.#run(this.#abort.signal);
    } else {
      this.#abort?.abort();
      this.#abort = undefined;
      this.#wake();
      this.#parts.onOpen(false);
    }
  }

  /** Try again at once, if there is no stream. */
  now(): void {
    this.#wake();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#read(signal).catch(() => {});
      if (signal.aborted) return;
      this.#parts.onOpen(false);
      this.#failures++;
      const wait = delay({ every: 1_000, took: 0, failures: this.#failures, random: Math.random() });
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Until it ends or breaks. */
  async #read(signal: AbortSignal): Promise<void> {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE);
    try {
      const response = await fetch(this.#parts.url, {
        signal: AbortSignal.any([signal, silence.signal]),
        headers: this.#seen === '' ? {} : { 'last-event-id': this.#seen },
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
      });
      if (!response.ok || !response.body) throw new Error(`${response.status}`);
      this.#failures = 0;
      this.#parts.onOpen(true);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const text = new EventStreamText();
      for (;;) {
        const { done, value } = await reader.read();
        // What comes late, of a page that does not look any more, is asked for again.
        if (done || signal.aborted) return;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE);
        this.#take(text.push(value));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(messages: readonly Message[]): void {
    // Others tell how many events have been dropped before they came to us: nobody keeps them any more.
    const events = messages.filter((m) => m.event === 'message');
    const last = events.at(-1)?.id ?? '';
    const instance = last.slice(0, Math.max(0, last.lastIndexOf('-')));
    if (instance === '') return;
    this.#seen = last;
    this.#parts.onEvents(
      instance,
      events.map((m) => JSON.parse(m.data) as EventJson),
    );
  }
}
