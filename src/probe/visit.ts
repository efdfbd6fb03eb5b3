import type { ProbeKind } from '../native/prober.ts';
import type { Family } from '../net/addr.ts';
import { Allowance } from './allowance.ts';
import type { Outcome } from './asker.ts';
import type { Path } from './path.ts';
import { afterSizes, foundBy, nextSizes, startSearch } from './search.ts';
import { afterChecksum, afterSmall, FULL_LOST, FULL_PASSES, isOpen, isSuspected, SILENT } from './verdict.ts';

/** Bytes of a small probe's IP packet: 56 of payload, as ping sends. */
export const smallSize = (family: Family): number => (family === 4 ? 84 : 104);
/** Bytes of the IP packet of a datagram that asks for the checksum: 32 of payload. Always the same. */
export const checksumSize = (family: Family): number => (family === 4 ? 60 : 80);
/** Ports that datagrams are sent to: above those that Linux gives out to programs, where hardly anything listens. */
export const PORTS = { first: 61_000, count: 4_536 } as const;

/** Milliseconds that a small packet is waited for: four lost ones take less than three seconds. */
const PATIENCE = 700;
/** Milliseconds between two packets of which the first was refused at once: what refuses it may be about to change. */
const PAUSE = 250;
/** Answers to datagrams that are kept for whoever asks at once. */
const KEPT = 3;
/** Small probes of one visit at most: an undecided path is asked again in the next. */
const MOST_SMALL = 8;

export interface Prober {
  ask(address: Uint8Array, kind: ProbeKind, size: number, port: number, timeout: number): Promise<Outcome>;
  random(): number;
  /** Monotonic, milliseconds. */
  now(): number;
  pause(ms: number): Promise<void>;
  /** A small probe was answered after so many milliseconds, or lost. */
  small(rtt: number | undefined): void;
  /** Something was learnt. */
  told(): void;
}

/** What is asked. */
export interface Wish {
  /** Small probes at least. */
  readonly small: number;
  readonly checksum: boolean;
  /** Somebody waits for a fresh answer: what the peer would not answer yet is waited for. */
  readonly fresh: boolean;
}

/** Packets other than the first small ones are waited for according to how long those took. */
const patience = (path: Path): number => Math.min(PATIENCE, 200 + 20 * (path.rtt ?? 50));

/** Ask all there is to ask of one path, and judge. */
export async function visit(path: Path, wish: Wish, by: Prober): Promise<void> {
  path.visits++;
  await askSmall(path, wish.small, by);
  // Where small packets do not pass, large ones prove nothing.
  if (path.small.health === 'unreachable' || (path.small.bits & 1) === 0) return;
  const checksum = wish.checksum && path.target.offloads ? askChecksum(path, wish.fresh, by) : undefined;
  await askFullSize(path, by);
  await checksum;
}

async function askSmall(path: Path, least: number, by: Prober): Promise<void> {
  const { address, target } = path;
  for (let n = 0; n < MOST_SMALL && (n < least || isOpen(path.small)); n++) {
    const outcome = await by.ask(address, 'echo', smallSize(target.family), 0, PATIENCE);
    if (path.target !== target) return;
    path.at = Date.now();
    path.small = afterSmall(path.small, outcome.answered);
    if (outcome.answered) path.answered(outcome.rtt);
    path.error = outcome.answered ? undefined : outcome.why;
    by.small(outcome.answered ? outcome.rtt : undefined);
    by.told();
    // It stays as it was: one packet in each round finds out when that ends.
    if (path.small.health === 'unreachable' && !outcome.answered) return;
    if (!outcome.answered && outcome.why !== undefined) await by.pause(PAUSE);
  }
}

async function askFullSize(path: Path, by: Prober): Promise<void> {
  const { target, address } = path;
  const full = target.mtu;
  if (full <= smallSize(target.family)) return;
  const ask = (size: number) => by.ask(address, 'echo', size, 0, patience(path));
  let lost = 0;
  let passed = 0;
  let hint: number | undefined;
  // Lost ones count only beside small ones that pass; on a lossy path it takes more of them.
  const enough = () => (path.small.health === 'lossy' ? 2 * FULL_LOST : FULL_LOST);
  const wanted = path.fullSize.verdict === 'lost' ? FULL_PASSES : 1;
  while (passed < wanted && lost < enough()) {
    const outcome = await ask(full);
    if (path.target !== target) return;
    if (outcome.answered) {
      passed++;
      continue;
    }
    passed = 0;
    lost++;
    hint = outcome.mtu ?? hint;
    // Known already, and still so.
    if (path.fullSize.verdict === 'lost') break;
    await askSmall(path, 1, by);
    if (path.target !== target || path.small.health === 'unreachable') return;
  }
  let found: number | undefined = full;
  if (passed < wanted) {
    const same = path.fullSize.verdict === 'lost' && (await stillFits(path, ask));
    found = same ? path.fullSize.pathMtu : await searchSize(path, ask, hint);
    if (path.target !== target) return;
  }
  path.fullSize = { verdict: found === full ? 'passes' : 'lost', pathMtu: found, at: by.now() };
  by.told();
}

/** Is the path MTU still what was found? */
async function stillFits(path: Path, ask: (size: number) => Promise<Outcome>): Promise<boolean> {
  const { pathMtu } = path.fullSize;
  if (pathMtu === undefined) return false;
  const [more, ...same] = await Promise.all([ask(pathMtu + 1), ask(pathMtu), ask(pathMtu)]);
  return !more.answered && same.some((outcome) => outcome.answered);
}

async function searchSize(
  path: Path,
  ask: (size: number) => Promise<Outcome>,
  hint: number | undefined,
): Promise<number | undefined> {
  const { target } = path;
  let search = startSearch(target.family, target.mtu, hint);
  for (;;) {
    const sizes = nextSizes(search);
    if (sizes.length === 0 || path.target !== target) return foundBy(search);
    const outcomes = await Promise.all(sizes.map(ask));
    const passed = sizes.filter((_, i) => outcomes[i]!.answered);
    const hints = outcomes.flatMap((o) => (o.answered || o.mtu === undefined ? [] : [o.mtu]));
    search = afterSizes(search, sizes, passed, hints.length > 0 ? Math.max(...hints) : undefined);
  }
}

/**
 * Does a datagram whose checksum the device fills in arrive? If not, one that is complete is sent to the same port, and so on by turns: an answer
 * to the latter alone means something only when it comes again and again.
 */
async function askChecksum(path: Path, fresh: boolean, by: Prober): Promise<void> {
  const { address, target } = path;
  const size = checksumSize(target.family);
  path.allowance ??= new Allowance();
  for (let n = 0; n < SILENT; n++) {
    while (!path.allowance.has(by.now(), fresh ? 1 : 1 + KEPT)) {
      if (!fresh) return;
      await by.pause(PAUSE);
      if (path.target !== target) return;
    }
    const port = PORTS.first + Math.floor(by.random() * PORTS.count);
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

/** Small probes asked of one that has something wrong: its window is full the sooner. */
export const SMALL_OF_TROUBLED = 3;
/** Visits between two that ask for the checksum. */
export const CHECKSUM_EVERY = 4;
