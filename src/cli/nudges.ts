import { setTimeout as sleep } from 'node:timers/promises';
import { LodenError } from '../errors.ts';
import type { Io } from './command.ts';
import { type Followed, follow } from './daemon.ts';

/** Milliseconds in which what follows an event is awaited: nodes come and paths fail in crowds. */
const CROWD = 100;
/** Milliseconds after which it is told all the same. */
const LONGEST_CROWD = 1_000;
/** Milliseconds between two attempts at a daemon that has gone. */
export const RETRY = 1_000;

/**
 * Once when the daemon's stream of events is open, and then whenever something has happened: time to ask it again. Ends with the
 * stream; throws as `follow`.
 */
export async function* nudges(
  runDir: string,
  kinds: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<void, void, undefined> {
  const ended = new AbortController();
  const stream = follow(runDir, { kinds }, AbortSignal.any([signal, ended.signal]));
  const next = (): Promise<IteratorResult<Followed, void>> => {
    const promise = stream.next();
    // It is awaited later, when whoever is nudged is done.
    promise.catch(() => {});
    return promise;
  };
  try {
    // Open before the first question, so that nothing is missed between the two.
    if ((await next()).done) return;
    yield;
    let more = next();
    for (;;) {
      if ((await more).done) return;
      more = next();
      const until = performance.now() + LONGEST_CROWD;
      while (performance.now() < until) {
        const soon = await Promise.race([more, sleep(CROWD, undefined)]);
        if (soon === undefined) break;
        if (soon.done) return;
        more = next();
      }
      yield;
    }
  } finally {
    ended.abort();
    await stream.return().catch(() => {});
  }
}

/**
 * Do something that lasts again and again until nobody reads any more. It returns `over`, or throws before it has shown anything:
 * then it is at its end; else what broke is told, and it is tried again.
 */
export async function lasting(io: Io, once: (shown: () => void) => Promise<'over' | 'again'>): Promise<void> {
  let begun = false;
  while (!io.signal.aborted) {
    try {
      const end = await once(() => {
        begun = true;
      });
      if (end === 'over' || io.signal.aborted) return;
      io.warn('the daemon has ended the stream of events; waiting for it');
    } catch (e) {
      if (!begun || !(e instanceof LodenError)) throw e;
      io.warn(`${e.message}; trying again`);
    }
    await sleep(RETRY, undefined, { signal: io.signal }).catch(() => {});
  }
}
