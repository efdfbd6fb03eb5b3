import type { EventJson, EventKind } from '../api/shapes.ts';
import type { ClientOptions } from '../config/commands.ts';
import { coloured, type Io } from './command.ts';
import { follow, events as kept } from './daemon.ts';
import { lasting } from './nudges.ts';
import { paint } from './paint.ts';
import { renderEvent } from './render/events.ts';
import { json, jsonLine } from './render.ts';

/** Where `--since` begins. */
export type Since =
  /** Behind the event with this number. */
  | { readonly id: number }
  /** At a time, milliseconds since 1970. */
  | { readonly at: number }
  /** So many milliseconds ago. */
  | { readonly ago: number };

export interface EventsOptions extends ClientOptions {
  readonly since: Since | undefined;
  /** Empty: all. */
  readonly kinds: readonly EventKind[];
  readonly follow: boolean;
}

/** Events that are shown first when following without --since, as tail -f does. */
const LAST = 10;

/** `loden events`: those that are kept, and with --follow what happens from then on. */
export async function events(options: EventsOptions, io: Io, now = Date.now()): Promise<void> {
  const { runDir, kinds } = options;
  const look = paint(coloured(options.color, io));
  const show = (event: EventJson): void =>
    io.print(options.json ? jsonLine(event) : renderEvent(event, look));
  const answer = await kept(runDir, { since: idOf(options.since), kinds });
  const wanted = answer.events.filter(({ at }) => isSince(at, options.since, now));
  if (!options.follow) {
    if (options.json) io.print(json({ ...answer, events: wanted }));
    else wanted.forEach(show);
    return;
  }
  (options.since ? wanted : wanted.slice(-LAST)).forEach(show);
  let seen = `${answer.instance}-${answer.last}`;
  await lasting(io, async (shown) => {
    shown();
    for await (const next of follow(runDir, { kinds, seen }, io.signal)) {
      if ('missed' in next) io.warn(`${next.missed} events were dropped before they came here`);
      else if ('event' in next) {
        show(next.event);
        seen = next.seen;
      }
    }
    return 'again';
  });
}

const idOf = (since: Since | undefined): number => (since && 'id' in since ? since.id : 0);

function isSince(at: string, since: Since | undefined, now: number): boolean {
  if (!since || 'id' in since) return true;
  return Date.parse(at) >= ('at' in since ? since.at : now - since.ago);
}
