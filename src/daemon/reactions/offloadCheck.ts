import type { PathReport, Probing } from '../../probe/types.ts';

/**
 * How often paths are asked in one check: a verdict from before the change stands until so many questions in a row have not been
 * answered (SILENT of the prober's).
 */
const ROUNDS = 3;
/** Paths that are asked when none is suspected. */
const ASKED = 3;

/** What is to be found out. */
export interface OffloadCheck {
  readonly device: string;
  /** That were suspected; when none of them is left, some others through the device are asked. */
  readonly paths: readonly string[];
  /** Its offload is on to see whether that does harm; else it is off to see whether that helps. */
  readonly isTrial: boolean;
}

/** Do packets arrive whole, as the device is now? Asks a few paths a few times. */
export async function checkOffload(
  probing: Pick<Probing, 'paths' | 'probeNow'> | undefined,
  { device, paths, isTrial }: OffloadCheck,
  isEnded: () => boolean,
): Promise<PathReport['checksum']> {
  if (!probing) return 'unknown';
  const asked = paths.filter((path) => probing.paths.has(path));
  if (asked.length === 0) asked.push(...somePaths(probing, device));
  let verdict: PathReport['checksum'] = 'unknown';
  for (let round = 0; round < ROUNDS && !isEnded(); round++) {
    const reports = await Promise.all(asked.map((path) => probing.probeNow(path).catch(() => undefined)));
    // Of one that does not answer at all nothing new is known.
    const found = reports.map((report) => (report?.health === 'unreachable' ? 'unknown' : report?.checksum));
    verdict = judgement(isTrial, found);
    if (verdict === (isTrial ? 'corrupted' : 'good')) break;
  }
  return verdict;
}

/** Turning it off may help one path; turning it on must harm none. */
function judgement(
  isTrial: boolean,
  found: readonly (PathReport['checksum'] | undefined)[],
): PathReport['checksum'] {
  const order = isTrial ? (['corrupted', 'good'] as const) : (['good', 'corrupted'] as const);
  return order.find((verdict) => found.includes(verdict)) ?? 'unknown';
}

/** Any that may answer; after a change of the uplink nobody has asked yet. */
function somePaths({ paths }: Pick<Probing, 'paths'>, device: string): string[] {
  return Iterator.from(paths)
    .filter(([, { target, health }]) => target.dev === device && target.offloads && health !== 'unreachable')
    .map(([path]) => path)
    .take(ASKED)
    .toArray();
}
