import { addon } from '../../native/addon.ts';
import {
  decodeResults,
  encodeProbes,
  openProber,
  type Probe,
  type ProbeResult,
  type ProberAddon,
} from '../../native/prober.ts';
import { type Addr, addrBytes } from '../../net/addr.ts';

/** What an ICMP echo request, that must not be fragmented, has met. */
export type Echo =
  /** Milliseconds. */
  | { readonly what: 'answered'; readonly rtt: number }
  | { readonly what: 'silent' }
  | { readonly what: 'not-sent'; readonly errno: number }
  | { readonly what: 'unreachable'; readonly type: number; readonly code: number }
  | { readonly what: 'too-big'; readonly mtu: number };

/** Echoes that were sent; a string says why none could be. */
export type Echoes<K extends string> = { readonly [N in K]?: Echo } | string;

/** Milliseconds to wait for an answer after the last try. */
const PATIENCE = 500;
/** Milliseconds between tries: the first may pay for finding a neighbour. */
const TRIES = [0, 150, 400];
/** Bytes of a small echo: what the prober at least sends. */
const SMALL = { 4: 64, 6: 84 } as const;

interface Wanted {
  readonly to: Addr;
  /** Bytes of the whole packet; small unless given. */
  readonly size?: number | undefined;
  /** A datagram to that port instead, which is answered by the word that it is closed. */
  readonly port?: number | undefined;
}

/** Opens sockets of its own, which takes CAP_NET_RAW. Ends within a good second. */
export async function sendEchoes<K extends string>(
  wanted: Readonly<Partial<Record<K, Wanted>>>,
): Promise<Echoes<K>> {
  const names = Object.keys(wanted) as K[];
  const found: { [N in K]?: Echo } = {};
  const byToken = new Map<number, K>();
  let done: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    done = resolve;
  });
  const take = (result: ProbeResult): void => {
    const name = byToken.get(result.token);
    // A refusal may be of the first try alone, e.g. while a neighbour is looked for; an answer settles it.
    if (name === undefined || found[name]?.what === 'answered') return;
    found[name] = echoOf(result);
    if (names.every((n) => found[n]?.what === 'answered')) done();
  };
  try {
    const native = addon() as unknown as ProberAddon;
    const prober = openProber(native, -1, (values) => decodeResults(values).forEach(take));
    const timers: NodeJS.Timeout[] = [];
    try {
      let token = 1;
      for (const [i, after] of TRIES.entries()) {
        timers.push(
          setTimeout(() => {
            const probes = names.flatMap((name): Probe[] => {
              if (found[name]?.what === 'answered') return [];
              const one = wanted[name] as Wanted;
              const { to, size = smallestTo(to), port = 0 } = one;
              byToken.set(token, name);
              const kind = port === 0 ? 'echo' : 'udp';
              return [{ token: token++, address: addrBytes(to), kind, size, port }];
            });
            if (probes.length > 0) prober.send(encodeProbes(probes));
            if (i === TRIES.length - 1) timers.push(setTimeout(done, PATIENCE));
          }, after),
        );
      }
      if (names.length === 0) done();
      await ended;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      prober.close();
    }
  } catch (error) {
    const { cause, message } = error as Error;
    const refused = /EPERM|EACCES/.test(String((cause as NodeJS.ErrnoException | undefined)?.code));
    return refused ? 'sending echoes takes CAP_NET_RAW: run it as root' : message;
  }
  for (const name of names) found[name] ??= { what: 'silent' };
  return found;
}

function echoOf(result: ProbeResult): Echo {
  switch (result.what) {
    case 'answered':
      return { what: 'answered', rtt: result.rtt / 1e6 };
    case 'not-sent':
      return { what: 'not-sent', errno: result.errno };
    case 'unreachable':
      return { what: 'unreachable', type: result.type, code: result.code };
    case 'too-big':
      return { what: 'too-big', mtu: result.mtu };
  }
}

/**
 * The largest packet that gets there, bytes, between what is known to pass and what is known not to; in a few steps, each a short wait; `guess`: what
 * it may well be. Undefined:
 * probes cannot be sent.
 */
export async function findPathMtu(
  to: Addr,
  passes: number,
  lost: number,
  guess: number | undefined,
): Promise<number | undefined> {
  let [low, high] = [passes, lost];
  // Somebody may know it already: then that and one more decide.
  let hints = guess === undefined ? [] : [guess, guess + 1];
  while (high - low > 1) {
    const step = (high - low) / 9;
    const sizes = Array.from({ length: 8 }, (_, i) => Math.round(low + step * (i + 1)));
    const fresh = [...new Set([...hints, ...sizes])].filter((s) => s > low && s < high);
    hints = [];
    const found = await sendEchoes(Object.fromEntries(fresh.map((size) => [`${size}`, { to, size }])));
    if (typeof found === 'string') return undefined;
    const passed = fresh.filter((size) => found[`${size}`]?.what === 'answered');
    const next = Math.max(low, ...passed);
    high = Math.min(high, ...fresh.filter((s) => s > next));
    low = next;
  }
  return low;
}

/** Bytes of the small echo that {@link sendEchoes} sends. */
export const smallestTo = (to: Addr): number => SMALL[to.family];
