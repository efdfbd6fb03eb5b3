import { expect } from 'vitest';
import { type Loss, measureLoss } from './loss.ts';
import type { Workload } from './workload.ts';

/** Which way packets go, and by which family; IPv4 when it says nothing. */
export type Flow = readonly [from: Workload, to: Workload, family?: 4 | 6];

/** Numbered datagrams, 1000 a second, from one pod to another while something happens. */
export const flow = ([from, to, family = 4]: Flow, during: () => Promise<unknown>): Promise<Loss> =>
  measureLoss(from.netns, to.netns, to.addr(family), { dir: to.host.dir, during });

/**
 * Something happens, and no packet of these flows is lost, doubled or refused by its own host. Each pod may be the
 * receiver of one flow of a family only.
 */
export async function lossless(flows: readonly Flow[], during: () => Promise<unknown>): Promise<void> {
  const [first, ...others] = flows;
  if (!first) {
    await during();
    return;
  }
  const [from, to, family = 4] = first;
  const loss = await flow(first, () => lossless(others, during));
  expect(loss, `${from.netns.name} to ${to.netns.name} by IPv${family}`).toMatchObject({
    lost: 0,
    doubled: 0,
    errors: {},
    ended: true,
  });
  expect(loss.received).toBeGreaterThan(0);
}

/** The flows between two pods, both ways. */
export const bothWays = (a: Workload, b: Workload, families: readonly (4 | 6)[] = [4]): readonly Flow[] =>
  families.flatMap((family): Flow[] => [
    [a, b, family],
    [b, a, family],
  ]);
