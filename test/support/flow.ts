import { expect } from 'vitest';
import { type Loss, measureLoss } from './loss.ts';
import type { Workload } from './workload.ts';

/** Numbered datagrams, 1000 a second, from one pod to another while something happens. */
export const flow = (from: Workload, to: Workload, during: () => Promise<unknown>): Promise<Loss> =>
  measureLoss(from.netns, to.netns, to.addr(4), { dir: to.host.dir, during });

/**
 * Something happens, and no packet of these flows is lost, doubled or refused by its own host. Each pod may be the
 * receiver of one flow only.
 */
export async function lossless(
  flows: readonly (readonly [from: Workload, to: Workload])[],
  during: () => Promise<unknown>,
): Promise<void> {
  const [first, ...others] = flows;
  if (!first) {
    await during();
    return;
  }
  const [from, to] = first;
  const loss = await flow(from, to, () => lossless(others, during));
  expect(loss, `${from.netns.name} to ${to.netns.name}`).toMatchObject({
    lost: 0,
    doubled: 0,
    errors: {},
    ended: true,
  });
  expect(loss.received).toBeGreaterThan(0);
}

/** The flows between two pods, both ways. */
export const bothWays = (a: Workload, b: Workload): readonly (readonly [Workload, Workload])[] => [
  [a, b],
  [b, a],
];
