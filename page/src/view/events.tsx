import { useMemo, useState } from 'preact/hooks';
import { EVENT_KINDS } from '../../../src/api/eventKinds.ts';
import type { State } from '../data/state.ts';
import { type EventFilter, filterEvents, MOST_EVENTS, type SeenEvent } from '../model/eventLog.ts';
import { subnetOfKey } from '../model/matrix.ts';
import { count } from '../model/words.ts';
import { useSignal } from '../signal.ts';

const LEVELS = ['info', 'warn', 'error'] as const;
const SIGN = { info: '·', warn: '▲', error: '✗' } as const;
/** Lines shown at once. */
const SHOWN = 200;

const time = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hour12: false,
});
const timeOf = (at: string): string => {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? at : time.format(date);
};

/** What it is about, where its words do not tell. */
function Subject({ event }: { readonly event: SeenEvent }) {
  if (event.subject === null) return null;
  const name = subnetOfKey(event.subject);
  if (event.message.includes(name) || event.message.includes(event.subject)) return null;
  return <span class="subject"> {name}</span>;
}

/** What happened, newest first. */
export function Events({ state }: { readonly state: State }) {
  const events = useSignal(state.events);
  const [filter, setFilter] = useState<EventFilter>({ kind: 'all', level: 'info' });
  const shown = useMemo(() => filterEvents(events, filter), [events, filter]);
  return (
    <section id="events" aria-labelledby="events-title" tabIndex={-1}>
      <div class="title">
        <h2 id="events-title">Events</h2>
        <span class="sub">
          {shown.length === events.length
            ? count(events.length, 'event')
            : `${shown.length} of ${count(events.length, 'event')}`}
          {events.length >= MOST_EVENTS ? ', older ones dropped' : ''}
        </span>
        <span class="push" />
        <label>
          Kind{' '}
          <select
            id="event-kind"
            value={filter.kind}
            onChange={(e) => setFilter({ ...filter, kind: e.currentTarget.value as EventFilter['kind'] })}
          >
            {['all', ...EVENT_KINDS].map((kind) => (
              <option key={kind}>{kind}</option>
            ))}
          </select>
        </label>
        <label>
          At least{' '}
          <select
            value={filter.level}
            onChange={(e) => setFilter({ ...filter, level: e.currentTarget.value as EventFilter['level'] })}
          >
            {LEVELS.map((level) => (
              <option key={level}>{level}</option>
            ))}
          </select>
        </label>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
      <div class="scroll log" role="log" aria-label="Events, newest first" aria-live="off" tabIndex={0}>
        {shown.length === 0 ? (
          <p class="note">{events.length === 0 ? 'nothing has happened yet' : 'nothing of this kind'}</p>
        ) : (
          <ol>
            {shown.slice(0, SHOWN).map((e) => (
              <li key={e.uid} class={e.level}>
                <time dateTime={e.at} title={e.at}>
                  {timeOf(e.at)}
                </time>
                <span class="level">
                  <span aria-hidden="true">{SIGN[e.level]}</span> {e.level}
                </span>
                <span class="kind">{e.kind}</span>
                <span class="message">
                  {e.message}
                  <Subject event={e} />
                </span>
              </li>
            ))}
          </ol>
        )}
        {shown.length > SHOWN && <p class="note">and {shown.length - SHOWN} older ones</p>}
      </div>
    </section>
  );
}
