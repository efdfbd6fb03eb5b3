import type { Netns } from './netns.ts';
import { CommandError } from './proc.ts';
import type { Workload } from './workload.ts';

/**
 * One echo request. Resolves to the round trip in milliseconds, or to undefined when no answer came within `timeout`
 * whole seconds; throws when it could not be sent for another reason than a missing route.
 */
export async function ping(from: Netns, to: string, timeout = 1): Promise<number | undefined> {
  try {
    const out = await from.run(['busybox', 'ping', '-n', '-c', '1', '-W', String(timeout), to]);
    return Number(/time=([\d.]+) ms/.exec(out)?.[1]);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const unanswered = /100% packet loss|Network (?:is )?unreachable|No route to host/.test(
      error.stdout + error.stderr,
    );
    if (unanswered) return undefined;
    throw error;
  }
}

/** One cell of a matrix; `ms` undefined: no answer. */
export interface Pinged {
  readonly from: Workload;
  readonly to: Workload;
  readonly family: 4 | 6;
  readonly ms: number | undefined;
}

/** Every workload to every other, one after the other, so that the round trips are worth something. */
export async function pingMatrix(
  workloads: readonly Workload[],
  families: readonly (4 | 6)[],
): Promise<Pinged[]> {
  const cells: Pinged[] = [];
  for (const family of families) {
    for (const from of workloads) {
      for (const to of workloads) {
        if (from === to) continue;
        // The first echo pays for neighbour discovery in both pods' subnets.
        await ping(from.netns, to.addr(family));
        cells.push({ from, to, family, ms: await ping(from.netns, to.addr(family)) });
      }
    }
  }
  return cells;
}
