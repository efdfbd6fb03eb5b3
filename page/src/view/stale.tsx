import { useEffect } from 'preact/hooks';
import type { TopicState } from '../data/state.ts';
import { staleAfter } from '../model/schedule.ts';
import { duration } from '../model/words.ts';
import { Signal, useSignal } from '../signal.ts';

/** Date.now(), once a second while somebody looks. */
export const clock = new Signal(Date.now());

export function useClock(): number {
  return useSignal(clock);
}

/** Runs the clock. */
export function Ticking() {
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) clock.set(Date.now());
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  return null;
}

/** Says that what a section shows is old, or why it shows nothing. */
export function Stale({ topic, every }: { readonly topic: Signal<TopicState>; readonly every: number }) {
  const { okAt, error } = useSignal(topic);
  const now = useClock();
  if (okAt === null) return <p class="note">{error ?? 'waiting for the daemon'}</p>;
  const age = now - okAt;
  if (error === null && age < staleAfter(every)) return null;
  if (error !== null && age < 3_000) return null;
  return (
    <p class="note stale">
      as of {duration(age / 1000)} ago{error ? `: ${error}` : ''}
    </p>
  );
}
