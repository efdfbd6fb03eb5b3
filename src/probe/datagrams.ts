import type { Family } from '../net/addr.ts';
import { Allowance } from './allowance.ts';
import { type Asking, PAUSE, patience } from './asking.ts';
import type { Path } from './path.ts';
import type { PathReport } from './types.ts';
import { afterChecksum, isSuspected, SILENT } from './verdict.ts';

/** Bytes of the IP packet of a datagram that asks for the checksum: 32 of payload. Always the same. */
export const checksumSize = (family: Family): number => (family === 4 ? 60 : 80);
/** Ports that datagrams are sent to: above those that Linux gives out to programs, where hardly anything listens. */
export const PORTS = { first: 61_000, count: 4_536 } as const;

/** Answers to datagrams that are kept for whoever asks at once. */
const KEPT = 3;
/** Milliseconds that an answer is waited for at least by who is in a hurry, and how many round trips. */
const HURRY = { atLeast: 50, roundTrips: 4 } as const;

/** Two datagrams at once are answered twice. */
export const BOTH = 2;

const anyPort = (by: Asking): number => PORTS.first + Math.floor(by.random() * PORTS.count);

/**
 * Does a datagram whose checksum the device fills in arrive? If not, one that is complete is sent to the same port, and so on by turns: an answer
 * to the latter alone means something only when it comes again and again. `fresh`: what the peer would not answer yet is waited for.
 */
export async function askChecksum(path: Path, fresh: boolean, by: Asking): Promise<void> {
  const { address, target } = path;
  const size = checksumSize(target.family);
  path.allowance ??= new Allowance();
  for (let n = 0; n < SILENT; n++) {
    while (!path.allowance.has(by.now(), fresh ? 1 : 1 + KEPT)) {
      if (!fresh) return;
      await by.pause(PAUSE);
      if (path.target !== target) return;
    }
    const port = anyPort(by);
    const left = await by.ask(address, 'udp', size, port, patience(path));
    const complete = left.answered ? left : await by.ask(address, 'raw-udp', size, port, patience(path));
    if (path.target !== target) return;
    if (complete.answered) path.allowance.use();
    path.checksum = afterChecksum(
      path.checksum,
      left.answered,
      left.answered ? undefined : complete.answered,
    );
    by.told();
    // Nobody answers: somebody may listen at that port. Another, once.
    if (!isSuspected(path.checksum) && (left.answered || complete.answered || n > 0)) return;
  }
}

/**
 * The same by one datagram of each kind, together, and nothing is concluded but of these two. `hurry`: somebody's packets may be corrupted while
 * this is asked, so `unknown` if the peer has answered too often; else it is waited for.
 */
export async function askBoth(path: Path, hurry: boolean, by: Asking): Promise<PathReport['checksum']> {
  const { address, target } = path;
  const size = checksumSize(target.family);
  path.allowance ??= new Allowance();
  while (!path.allowance.has(by.now(), BOTH)) {
    if (hurry) return 'unknown';
    await by.pause(PAUSE);
    if (path.target !== target) return 'unknown';
  }
  const port = anyPort(by);
  const timeout = hurry ? Math.max(HURRY.atLeast, HURRY.roundTrips * (path.rtt ?? 0)) : patience(path);
  // The one left to the device goes first: a limit of the peer's cannot look like corruption.
  const left = by.ask(address, 'udp', size, port, timeout);
  const complete = by.ask(address, 'raw-udp', size, port, timeout);
  path.allowance.use();
  path.allowance.use();
  if ((await left).answered) {
    if (path.target !== target) return 'unknown';
    path.checksum = afterChecksum(path.checksum, true, undefined);
    by.told();
    return 'good';
  }
  return (await complete).answered && path.target === target ? 'corrupted' : 'unknown';
}
