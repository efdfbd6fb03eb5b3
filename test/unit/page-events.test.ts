import { describe, expect, test } from 'vitest';
import { addEvents, filterEvents, MOST_EVENTS, type SeenEvent } from '../../page/src/model/eventLog.ts';
import type { EventJson, EventKind } from '../../src/api/shapes.ts';

describe('events', () => {
  const event = (id: number, more: Partial<EventJson> = {}): EventJson => ({
    id,
    at: '2026-01-01T00:00:00.000Z',
    level: 'info',
    kind: 'peer',
    subject: null,
    message: `event ${id}`,
    fields: {},
    ...more,
  });

  test('come newest first, each once, and are bounded', () => {
    let seen: readonly SeenEvent[] = addEvents([], 'a', [event(1), event(2)]);
    const same = addEvents(seen, 'a', [event(2)]);
    expect(same).toBe(seen);
    seen = addEvents(seen, 'b', [event(1)]);
    expect(seen.map((e) => e.uid)).toEqual(['b-1', 'a-2', 'a-1']);
    seen = addEvents(
      seen,
      'b',
      Array.from({ length: 900 }, (_, i) => event(i + 2)),
    );
    expect(seen).toHaveLength(MOST_EVENTS);
    expect(seen[0]!.id).toBe(901);
  });

  test('are filtered by kind and level', () => {
    const seen = addEvents([], 'a', [
      event(1),
      event(2, { level: 'error', kind: 'path' }),
      event(3, { level: 'warn' }),
    ]);
    const ids = (kind: EventKind | 'all', level: 'info' | 'warn' | 'error') =>
      filterEvents(seen, { kind, level }).map((e) => e.id);
    expect(ids('all', 'info')).toEqual([3, 2, 1]);
    expect(ids('all', 'warn')).toEqual([3, 2]);
    expect(ids('peer', 'warn')).toEqual([3]);
    expect(ids('path', 'error')).toEqual([2]);
  });
});
