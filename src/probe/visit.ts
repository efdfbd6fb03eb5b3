import type { Family } from '../net/addr.ts';
import type { Outcome } from './asker.ts';
import { type Asking, PATIENCE, PAUSE, patience } from './asking.ts';
import { askChecksum } from './datagrams.ts';
import type { Path } from './path.ts';
import { afterSizes, foundBy, nextSizes, startSearch } from './search.ts';
import { afterSmall, FULL_LOST, FULL_PASSES, isOpen } from './verdict.ts';

/** Bytes of a small probe's IP packet: 56 of payload, as ping sends. */
const smallSize = (family: Family): number => (family === 4 ? 84 : 104);

/** Small probes of one visit at most: an undecided path is asked again in the next. */
const MOST_SMALL = 8;

/** What is asked. */
export interface Wish {
  /** Small probes at least. */
  readonly small: number;
  readonly checksum: boolean;
  /** Somebody waits for a fresh answer: what the peer would not answer yet is waited for. */
  readonly fresh: boolean;
}

/** Ask all there is to ask of one path, and judge. */
export async function visit(path: Path, wish: Wish, by: Asking): Promise<void> {
  path.visits++;
  await askSmall(path, wish.small, by);
  // Where small packets do not pass, large ones prove nothing.
  if (path.small.health === 'unreachable' || (path.small.bits & 1) === 0) return;
  const checksum = wish.checksum && path.target.offloads ? askChecksum(path, wish.fresh, by) : undefined;
  await askFullSize(path, by);
  await checksum;
}

async function askSmall(path: Path, least: number, by: Asking): Promise<void> {
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

async function askFullSize(path: Path, by: Asking): Promise<void> {
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

/** Small probes asked of one that has something wrong: its window is full the sooner. */
export const SMALL_OF_TROUBLED = 3;
/** Visits between two that ask for the checksum. */
export const CHECKSUM_EVERY = 4;
