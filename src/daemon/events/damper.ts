import type { EventKind } from '../../api/shapes.ts';
import type { Happening, Note } from './log.ts';

/** So many of one kind in so many milliseconds are told one by one. */
const [MOST, WINDOW] = [50, 10_000];

interface Budget {
  since: number;
  told: number;
  held: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Keeps a flood of one kind from washing everything else out of the log: what is too much is counted, and told as one event when the time is
 * over. For what comes one by one, e.g. from probes; who sees all of it at once summarises by itself.
 */
export class Damper {
  readonly #note: Note;
  readonly #words: (kind: EventKind, count: number) => string;
  readonly #now: () => number;
  readonly #budgets = new Map<EventKind, Budget>();

  constructor(
    note: Note,
    options: {
      readonly words?: (kind: EventKind, count: number) => string;
      readonly now?: () => number;
    } = {},
  ) {
    this.#note = note;
    this.#words = options.words ?? ((kind, count) => `${count} more events of kind ${kind}`);
    this.#now = options.now ?? performance.now.bind(performance);
  }

  readonly note: Note = (...happenings) => {
    for (const happening of happenings) this.#take(happening);
  };

  #take(happening: Happening): void {
    const now = this.#now();
    let budget = this.#budgets.get(happening.kind);
    if (!budget) {
      budget = { since: now, told: 0, held: 0, timer: undefined };
      this.#budgets.set(happening.kind, budget);
    }
    if (budget.held === 0 && now - budget.since >= WINDOW) Object.assign(budget, { since: now, told: 0 });
    if (budget.told < MOST) {
      budget.told++;
      this.#note(happening);
      return;
    }
    budget.held++;
    budget.timer ??= setTimeout(() => this.#flush(happening.kind), WINDOW).unref();
  }

  #flush(kind: EventKind): void {
    const budget = this.#budgets.get(kind)!;
    const { held } = budget;
    Object.assign(budget, { since: this.#now(), told: 0, held: 0, timer: undefined });
    this.#note({ level: 'warn', kind, message: this.#words(kind, held), fields: { count: held } });
  }
}
