import type { EventJson, EventKind, EventsJson } from '../../api/shapes.ts';

/** Events that are kept, of all kinds, and the greatest lengths of what is in one: all of them are below 2 MB at worst, 300 KB as a rule. */
const KEPT = 1_000;
const LONGEST = { subject: 200, message: 600, value: 200 } as const;
const MOST_FIELDS = 12;

/** What is to be told; {@link EventLog} adds id and time. */
export interface Happening {
  readonly level: EventJson['level'];
  readonly kind: EventKind;
  readonly subject?: string | null;
  readonly message: string;
  readonly fields?: EventJson['fields'];
}

/** Take note of what has happened. Must not throw. */
export type Note = (...happenings: readonly Happening[]) => void;

/** How many there have been since the start, also of those that are kept no more. */
export interface EventCount {
  readonly kind: EventKind;
  readonly level: EventJson['level'];
  readonly count: number;
}

/** What a follower gets: an event, or word that so many before the next one were dropped before it came to them. */
export type Followed = { readonly event: EventJson } | { readonly missed: number };

/**
 * The last events, each with an id that goes up by one. When there are too many, the oldest of the most frequent kind goes: a flood of one kind
 * washes nothing else away. Nobody who reads holds anybody up.
 */
export class EventLog {
  /** Of this daemon: ids begin anew with each. */
  readonly instance: string;
  readonly #ring: EventJson[] = [];
  readonly #kept: number;
  readonly #now: () => number;
  readonly #counts = new Map<
    string,
    { readonly kind: EventKind; readonly level: EventJson['level']; count: number }
  >();
  readonly #waiting = new Set<() => void>();
  /** By kind, of those that are kept. */
  readonly #held = new Map<EventKind, number>();
  #last = 0;
  /** Events that are kept no more. */
  #dropped = 0;

  constructor(instance: string, options: { readonly kept?: number; readonly now?: () => number } = {}) {
    this.instance = instance;
    this.#kept = options.kept ?? KEPT;
    this.#now = options.now ?? Date.now;
  }

  /** Ids of the oldest that is kept and of the newest; 0: none yet. */
  get first(): number {
    return this.#ring[0]?.id ?? 0;
  }

  get last(): number {
    return this.#last;
  }

  readonly note: Note = (...happenings) => {
    if (happenings.length === 0) return;
    const at = new Date(this.#now()).toISOString();
    for (const { level, kind, subject = null, message, fields = {} } of happenings) {
      this.#ring.push({
        id: ++this.#last,
        at,
        level,
        kind,
        subject: subject === null ? null : cut(subject, LONGEST.subject),
        message: cut(message, LONGEST.message),
        fields: Object.fromEntries(
          Object.entries(fields)
            .slice(0, MOST_FIELDS)
            .map(([k, v]) => [cut(k, 40), typeof v === 'string' ? cut(v, LONGEST.value) : v]),
        ),
      });
      this.#count(kind, level);
      this.#held.set(kind, (this.#held.get(kind) ?? 0) + 1);
      if (this.#ring.length > this.#kept) this.#drop();
    }
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  };

  /** Events after `since`, at most the newest `limit`. */
  read(
    query: { readonly since?: number; readonly kinds?: ReadonlySet<string>; readonly limit?: number } = {},
  ): EventsJson {
    const { since = 0, kinds, limit = this.#kept } = query;
    const found = this.#ring.filter((e) => e.id > since && (!kinds || kinds.has(e.kind)));
    return {
      instance: this.instance,
      first: this.first,
      last: this.#last,
      events: limit === 0 ? [] : found.slice(-limit),
    };
  }

  counts(): Iterable<EventCount> {
    return this.#counts.values();
  }

  /**
   * Events after the one with this id, those to come included, until `signal` aborts. Nothing is kept for a slow reader: how many were dropped
   * before they came to it is told as missed.
   */
  async *follow(since: number, signal: AbortSignal): AsyncGenerator<Followed, void, undefined> {
    let seen = since;
    // How many are to come of those up to `known`, as of when so many had been dropped.
    let [known, toCome, dropped] = [since, 0, -1];
    while (!signal.aborted) {
      if (known < this.#last || dropped !== this.#dropped) {
        const kept = this.#ring.length - this.#after(seen);
        const missed = toCome + (this.#last - known) - kept;
        [known, toCome, dropped] = [this.#last, kept, this.#dropped];
        if (missed > 0) {
          yield { missed };
          continue;
        }
      }
      const event = this.#ring[this.#after(seen)];
      if (event) {
        seen = event.id;
        toCome--;
        yield { event };
      } else await this.#more(signal);
    }
  }

  /** Where the events after this id begin. */
  #after(id: number): number {
    let [low, high] = [0, this.#ring.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ring[middle]!.id <= id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The oldest of the kind that there are most of. */
  #drop(): void {
    const most = Math.max(...this.#held.values());
    const at = this.#ring.findIndex(({ kind }) => this.#held.get(kind) === most);
    const [{ kind }] = this.#ring.splice(at, 1) as [EventJson];
    this.#held.set(kind, most - 1);
    this.#dropped++;
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #count(kind: EventKind, level: EventJson['level']): void {
    const key = `${kind} ${level}`;
    const count = this.#counts.get(key);
    if (count) count.count++;
    else this.#counts.set(key, { kind, level, count: 1 });
  }
}

/** A text of at most so many characters, which holds on to nothing longer. */
function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  // A slice would keep all of what it was cut from.
  return Buffer.from(`${text.slice(0, most - 1)}…`).toString();
}
