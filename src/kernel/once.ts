import type { KernelError } from '../errors.ts';
import type { Kernel } from './kernel.ts';
import type { ObservedLink } from './observed.ts';
import type { KernelObject } from './types.ts';

export interface OnceOptions {
  /** False: only look, change nothing. */
  readonly apply: boolean;
  /**
   * Devices that need no look, because the caller knows about them: those to be made, which are not there (undefined), and
   * an end of a veth made just now with its other end, bare and down, with this ifindex (`peer` of what `onMade` is told).
   */
  readonly fresh?: ReadonlyMap<string, number | undefined>;
  /**
   * Called as soon as a link has been made, before it is brought up and what belongs on it is put: the other end of a veth
   * can be seen to meanwhile, through a kernel of its namespace.
   */
  readonly onMade?: (link: ObservedLink) => void;
}

export interface OnceResult {
  /** What was not as desired, one for each object, in words. What belongs on fresh devices is none. Empty: all was well. */
  readonly differences: readonly string[];
  /** What could not be put right, in the order it was tried; always empty when nothing was to be applied. */
  readonly failures: readonly KernelError[];
}

/**
 * Compare the kernel with what is desired, and make it so: for devices that come and go with pods, where nobody watches.
 * Only the devices that are desired or that something is desired on are looked at; nothing is ever deleted but what is in
 * the place of a desired object and ours. List a bridge before its ports. A device of another type in the place of a bridge
 * or a veth, or a veth without `peer` that is not there, is a difference and a failure, and nothing is put on it.
 *
 *     // ADD: two exchanges in the host's namespace, two in the pod's.
 *     const bare = await new Promise(onMade => reconcileOnce(host, hostSide, { apply: true, fresh: new Map([[hostIf, undefined]]), onMade }))
 *     await reconcileOnce(pod, podSide, { apply: true, fresh: new Map([[ifname, bare.peer]]) });
 *     // CHECK
 *     const { differences } = await reconcileOnce(pod, podSide, { apply: false });
 *
 * Rejects when the kernel does not answer (NativeError, KernelError); what it refuses is among the failures.
 */
export async function reconcileOnce(
  _kernel: Kernel,
  _desired: Iterable<KernelObject>,
  _options: OnceOptions,
): Promise<OnceResult> {
  throw new Error('not yet');
}
