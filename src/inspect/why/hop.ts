import { type Addr, formatAddr } from '../../net/addr.ts';
import type { Expected } from './expect.ts';
import type { Seen } from './seen.ts';
import type { Hop, HopName } from './types.ts';

/** Making hops, and what several judgments share. Pure. */

interface Rest {
  readonly found: string;
  readonly expected?: string | undefined;
  readonly why: string;
}

const make = (hop: HopName, state: Hop['state'], { found, expected, why }: Rest): Hop => ({
  hop,
  state,
  found,
  expected: expected ?? null,
  why,
  cause: null,
  fix: null,
});

export const ok = (hop: HopName, rest: Rest): Hop => make(hop, 'ok', rest);
export const unknown = (hop: HopName, rest: Rest): Hop => make(hop, 'unknown', rest);

/** `cause` completes "X does not answer because …"; `fix` says what to do. */
export const broken = (hop: HopName, rest: Rest & { readonly cause: string; readonly fix: string }): Hop => ({
  ...make(hop, 'broken', rest),
  cause: rest.cause,
  fix: rest.fix,
});

/** Packets get through, or it is not sure that it keeps them; `cause` is a sentence's second half too. */
export const warning = (
  hop: HopName,
  rest: Rest & { readonly cause: string; readonly fix: string },
): Hop => ({
  ...broken(hop, rest),
  state: 'warning',
});

/** What is expected on the way to a peer that is served. */
export const knownExpected = ({ expected }: Seen): Expected | undefined =>
  expected && 'route' in expected ? expected : undefined;

export const daemonRuns = ({ world }: Seen): boolean => world.daemon.state === 'running';

/** What puts a kernel object back that is missing. */
export const putBack = (seen: Seen, byWhat: string): string =>
  daemonRuns(seen)
    ? `loden puts it back once a second: find who runs ${byWhat} (\`loden status\` counts the repairs)`
    : 'no loden daemon runs here to put it back: start it by `loden run`';

/** Whose an address of this host's network is, in a word: a lease key. */
export const peerName = (seen: Seen): string =>
  seen.place.kind === 'peer' || seen.place.kind === 'own' ? seen.place.lease.key : 'nobody';

/** Does what is really sent arrive at the peer's end? Undefined: nothing was sent. */
export function answers(seen: Seen): boolean | undefined {
  if (typeof seen.echoes === 'string') return undefined;
  const { tunnel, target } = seen.echoes;
  if (target?.what === 'answered' || tunnel?.what === 'answered') return true;
  return (tunnel ?? target) ? false : undefined;
}

export const showAddr = (a: Addr | undefined): string => (a ? formatAddr(a) : 'nothing');
