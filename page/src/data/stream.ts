import type { EventJson, EventsJson } from '../../../src/api/shapes.ts';
import { delay } from '../model/schedule.ts';
import { ask, resource } from './ask.ts';

/** Events of the past that are asked for at first. */
const HISTORY = 300;

export interface StreamParts {
  readonly onEvents: (instance: string, events: readonly EventJson[]) => void;
  readonly onOpen: (open: boolean) => void;
}

/**
 * The daemon's events: those it keeps, then each as it happens. When the connection breaks, what has happened since the last event is asked for
 * before there is another.
 */
export class EventStream {
  readonly #parts: StreamParts;
  #source: EventSource | undefined;
  #on = false;
  #opening = false;
  #failures = 0;
  #instance = '';
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  set(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    if (on) void this.#open();
    else this.#close();
  }

  /** Try again at once, if there is no stream. */
  now(): void {
    if (!this.#on || this.#source || this.#opening) return;
    clearTimeout(this.#timer);
    void this.#open();
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
    this.#parts.onOpen(false);
  }

  async #open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    try {
      await this.#catchUp();
    } catch {
      return this.#retry();
    } finally {
      this.#opening = false;
    }
    if (!this.#on || this.#source) return;
    const source = new EventSource(resource(`v1/events/stream?since=${this.#last}`));
    this.#source = source;
    source.onopen = () => {
      this.#failures = 0;
      this.#parts.onOpen(true);
    };
    // We were too slow for some of them: those that are still kept are fetched.
    source.addEventListener('missed', () => {
      source.close();
      this.#source = undefined;
      void this.#open();
    });
    source.onmessage = (message: MessageEvent<string>) => this.#take(message);
    // The browser would connect again by itself, and not notice that another daemon answers, whose ids begin anew.
    source.onerror = () => {
      source.close();
      this.#source = undefined;
      this.#parts.onOpen(false);
      this.#retry();
    };
  }

  #retry(): void {
    if (!this.#on) return;
    this.#failures++;
    const wait = delay({ every: 1_000, took: 0, failures: this.#failures, random: Math.random() });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#open(), wait);
  }

  /** What happened before or while there was no stream. Ids begin anew with each daemon. */
  async #catchUp(): Promise<void> {
    const signal = new AbortController().signal;
    const known = await ask<EventsJson>(`v1/events?since=${this.#last}`, signal);
    const whole =
      this.#last > 0 && known.instance !== this.#instance
        ? await ask<EventsJson>('v1/events?since=0', signal)
        : known;
    this.#instance = whole.instance;
    this.#last = whole.last;
    this.#parts.onEvents(whole.instance, whole.events.slice(-HISTORY));
  }

  #take(message: MessageEvent<string>): void {
    let event: EventJson;
    try {
      event = JSON.parse(message.data) as EventJson;
    } catch {
      return;
    }
    const dash = message.lastEventId.lastIndexOf('-');
    if (dash > 0) this.#instance = message.lastEventId.slice(0, dash);
    this.#last = event.id;
    this.#parts.onEvents(this.#instance, [event]);
  }
}
