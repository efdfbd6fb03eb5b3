import { describe, desiredState, NOTHING_DESIRED } from './desired.ts';
import { plan } from './diff.ts';
import type { Kernel, Op } from './kernel.ts';
import type { ObservedRoute } from './observed.ts';
import { Observer } from './observer.ts';
import { settled } from './outcome.ts';
import { isAdoptable } from './route.ts';
import { countByKind } from './status.ts';
import { type KernelObject, type KindName, type Owner, objectKey } from './types.ts';

export interface CleanupReport {
  /** What stood on a removed link went with it and is not counted. */
  readonly removed: Readonly<Record<KindName, number>>;
  readonly failed: readonly { readonly object: string; readonly error: string }[];
}

/**
 * Removes from the kernel all that is ours by docs/contracts.md: links of the owner's names and links with our alias
 * (with what stands on them), and routes of our protocol. Nothing else. Of flanneld's host-gw routes, those that equal
 * one of `desired` go too: without it they cannot be told from others'. No daemon must run meanwhile.
 */
export async function cleanup(
  kernel: Kernel,
  owner: Owner,
  desired: Iterable<KernelObject> = [],
): Promise<CleanupReport> {
  const observer = new Observer(kernel, { owner });
  await observer.look();
  const wanted = desiredState(desired).route;
  const adopted = new Map<string, ObservedRoute>();
  for (const o of observer.state.routes()) {
    const route = wanted.get(objectKey(o));
    if (route && isAdoptable(o, route)) adopted.set(objectKey(o), o);
  }
  const ops: Op[] = [];
  for (const item of plan(observer.state, NOTHING_DESIRED, owner, { prune: true, adopted })) {
    if (item?.kind === 'step') ops.push(...item.ops);
  }
  const removed = countByKind();
  const failed: { object: string; error: string }[] = [];
  const results = await kernel.apply(ops);
  for (const [i, op] of ops.entries()) {
    const error = settled(op, results[i]);
    if (error) failed.push({ object: describe(op.object), error: error.message });
    else removed[op.object.kind]++;
  }
  return { removed, failed };
}
