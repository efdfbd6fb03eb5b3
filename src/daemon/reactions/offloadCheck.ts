import type { PathReport, Probing } from '../../probe/types.ts';

/** How often paths are asked whether it is better now: what was lost once proves nothing. */
const ROUNDS = 3;
/** Paths that are asked when none is suspected: whoever is asked answers for all. */
const ASKED = 8;

/** What is to be found out. */
export interface OffloadCheck {
  readonly device: string;
  /** That were suspected; when none of them is left, some others through the device are asked. */
  readonly paths: readonly string[];
  /** Its offload is on to see whether that does harm; else it is off to see whether that helps. */
  readonly isTrial: boolean;
}

type Checking = Pick<Probing, 'paths' | 'mayCheck' | 'checkNow'>;

/**
 * Whom to ask while the offload is on: whoever's datagrams arrive whole while it is off, and who would answer now. None: a trial would prove
 * nothing.
 */
export function trialPaths(probing: Checking, device: string, suspects: readonly string[]): string[] {
  const left = suspects.filter((path) => probing.paths.has(path));
  const isFit = (path: string): boolean =>
    probing.paths.get(path)?.checksum === 'good' && probing.mayCheck(path);
  return left.length > 0 ? left.filter(isFit) : through(probing, device).filter(isFit).take(ASKED).toArray();
}

/**
 * Do packets arrive whole, as the device is now? A trial asks once and ends with the first that does not: meanwhile all that others send through the
 * device is at stake.
 */
export async function checkOffload(
  probing: Checking | undefined,
  { device, paths, isTrial }: OffloadCheck,
  isEnded: () => boolean,
): Promise<PathReport['checksum']> {
  if (!probing) return 'unknown';
  if (isTrial) return tried(trialPaths(probing, device, paths).map((path) => probing.checkNow(path, true)));
  const asked = paths.filter((path) => probing.paths.has(path));
  if (asked.length === 0) asked.push(...through(probing, device).take(ASKED));
  let verdict: PathReport['checksum'] = 'unknown';
  for (let round = 0; round < ROUNDS && !isEnded(); round++) {
    const found = await Promise.all(asked.map((path) => probing.checkNow(path, false)));
    // Turning it off may help one path only.
    if (found.includes('good')) return 'good';
    if (found.includes('corrupted')) verdict = 'corrupted';
  }
  return verdict;
}

/** Turning it on must harm nobody: `corrupted` as soon as one says so. */
async function tried(asked: readonly Promise<PathReport['checksum']>[]): Promise<PathReport['checksum']> {
  const found = asked.map(async (one) => {
    const verdict = await one;
    if (verdict === 'corrupted') throw new Harm();
    return verdict;
  });
  try {
    return (await Promise.all(found)).includes('good') ? 'good' : 'unknown';
  } catch (e) {
    if (e instanceof Harm) return 'corrupted';
    throw e;
  }
}

class Harm extends Error {}

/** The paths through a device that small packets take. */
const through = ({ paths }: Checking, device: string): IteratorObject<string> =>
  Iterator.from(paths)
    .filter(([, { target, health }]) => target.dev === device && target.offloads && health !== 'unreachable')
    .map(([path]) => path);
