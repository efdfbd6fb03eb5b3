import type { EventJson, EventKind } from '../../../src/api/shapes.ts';

/** Events the page keeps, newest first. */
export const MOST_EVENTS = 500;

export interface SeenEvent extends EventJson {
  /** Tells events of one daemon from those of the next: ids begin anew. */
  readonly uid: string;
}

/** Newer events before those there are, each once, no more than {@link MOST_EVENTS}. */
export function addEvents(
  seen: readonly SeenEvent[],
  instance: string,
  events: readonly EventJson[],
): readonly SeenEvent[] {
  const have = new Set(seen.map((e) => e.uid));
  const fresh: SeenEvent[] = [];
  for (const e of events) {
    const uid = `${instance}-${e.id}`;
    if (have.has(uid)) continue;
    have.add(uid);
    fresh.push({ ...e, uid });
  }
  if (fresh.length === 0) return seen;
  return [...fresh.reverse(), ...seen].slice(0, MOST_EVENTS);
}

export interface EventFilter {
  readonly kind: EventKind | 'all';
  readonly level: 'info' | 'warn' | 'error';
}

const LEVELS = ['info', 'warn', 'error'];

export const filterEvents = (events: readonly SeenEvent[], filter: EventFilter): readonly SeenEvent[] =>
  events.filter(
    (e) =>
      (filter.kind === 'all' || filter.kind === e.kind) &&
      LEVELS.indexOf(e.level) >= LEVELS.indexOf(filter.level),
  );
