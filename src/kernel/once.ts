import { KernelError } from '../errors.ts';
import { ERRNO } from '../netlink/errno.ts';
import type { Conflict } from './conflict.ts';
import { type DesiredState, describe, desiredState } from './desired.ts';
import { type Blocked, plan, type Step } from './diff.ts';
import { difference } from './differences.ts';
import type { Kernel, Op } from './kernel.ts';
import { NO_CHANGE } from './link.ts';
import { lookAt } from './look.ts';
import type { ObservedLink } from './observed.ts';
import { settled } from './outcome.ts';
import { isVacuous } from './sysctl.ts';
import { type KernelObject, type Owner, subjectOf } from './types.ts';

export interface OnceOptions {
  /** False: only look, change nothing. */
  readonly apply: boolean;
  /**
   * Devices that need no look, because the caller knows about them: those to be made, which are not there (undefined), and
   * an end of a veth made just now with its other end, bare and down, with this ifindex (`peer` of what `onMade` is told).
   */
  readonly fresh?: ReadonlyMap<string, number | undefined>;
  /**
   * Devices that others hang on (a bridge), with their ifindex, as seen a moment ago: not looked for. Nothing is wanted of
   * them or on them here.
   */
  readonly known?: ReadonlyMap<string, number>;
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
 * For ADD, `fresh` names the host's end of the veth and `known` the bridge, `onMade` tells the ifindex of the pod's end
 * (`peer`), and the pod's side is put meanwhile with that end for `fresh`: two exchanges in the host's namespace, and one in
 * the pod's. With nothing to look at, the first message has left when this returns: time to open the pod's namespace. When
 * both sides are done, Kernel.activate of the host's end, then the bridge, and of the pod's end has packets go through at once.
 *
 * Rejects when the kernel does not answer (NativeError, KernelError); what it refuses is among the failures.
 */
export async function reconcileOnce(
  kernel: Kernel,
  desired: Iterable<KernelObject>,
  options: OnceOptions,
): Promise<OnceResult> {
  const wanted = desiredState(desired);
  const fresh = options.fresh ?? NONE_FRESH;
  const look = lookAt(kernel, wanted, fresh, options.known ?? NONE_KNOWN);
  const state = look instanceof Promise ? await look : look;
  const differences: string[] = [];
  const failures: KernelError[] = [];
  const steps: Step[] = [];
  for (const item of plan(state, wanted, ownerOf(wanted), { prune: false })) {
    if (!item || item.kind === 'adopted') continue;
    const object = item.object as KernelObject;
    if (!fresh.has(subjectOf(object) ?? '')) differences.push(difference(item, state));
    if (item.kind === 'step') steps.push(item);
    else if (options.apply) failures.push(...hopeless(item));
  }
  if (options.apply) failures.push(...(await run(kernel, inOrder(steps, options.onMade))));
  return { differences, failures };
}

const NONE_FRESH: ReadonlyMap<string, number | undefined> = new Map();
const NONE_KNOWN: ReadonlyMap<string, number> = new Map();

/** The devices are given; routes are told by their protocol. */
function ownerOf(wanted: DesiredState): Owner {
  const devices = new Set<string>();
  for (const objects of Object.values(wanted)) {
    for (const o of objects.values()) {
      const dev = subjectOf(o);
      if (dev !== undefined) devices.add(dev);
    }
  }
  return { devices, protocols: new Set(Array.from(wanted.route.values(), (o) => o.protocol)) };
}

function hopeless({ kind, object, ...item }: Blocked | Conflict): KernelError[] {
  const what = { op: `create ${object.kind}`, object: describe(object) };
  if (kind === 'blocked') {
    const extack = `there is no device ${(item as Blocked).dev}`;
    return [new KernelError({ ...what, errno: ERRNO.ENODEV!, code: 'ENODEV', extack })];
  }
  const { with: other, withheld } = item as Conflict;
  if (!withheld) return [];
  return [new KernelError({ ...what, errno: ERRNO.EEXIST!, code: 'EEXIST', extack: `there is ${other}` })];
}

/**
 * Sysctls of a device are there once it is, and some count only before it comes up (accept_dad, accept_ra): each link gets
 * its own then. All of it is one batch.
 */
function inOrder(steps: readonly Step[], onMade: OnceOptions['onMade']): Op[] {
  const sysctls = Map.groupBy(
    steps.filter(({ object }) => object.kind === 'sysctl').flatMap(({ ops }) => ops),
    ({ object }) => subjectOf(object as KernelObject),
  );
  const take = (dev: string | undefined): readonly Op[] => {
    const those = sysctls.get(dev) ?? [];
    sysctls.delete(dev);
    return those;
  };
  const first: Op[] = [];
  const rest: Op[] = [];
  for (const { object, ops } of steps) {
    if (object.kind === 'sysctl') continue;
    if (object.kind !== 'link') {
      rest.push(...ops);
      continue;
    }
    for (const op of ops) {
      if (op.verb === 'create') first.push(onMade ? { ...op, onMade } : op, ...take(object.name));
      // A larger MTU may be what gives a device its IPv6 sysctls.
      else if (op.verb === 'change' && op.change.up && op.change.mtu)
        first.push({ ...op, change: { ...op.change, up: false } }, ...take(object.name), {
          ...op,
          change: { ...NO_CHANGE, up: true },
        });
      else if (op.verb === 'change') first.push(...take(object.name), op);
      else first.push(op);
    }
  }
  return [...first, ...[...sysctls.values()].flat(), ...rest];
}

async function run(kernel: Kernel, ops: readonly Op[]): Promise<KernelError[]> {
  if (ops.length === 0) return [];
  const failures: KernelError[] = [];
  for (const [i, result] of (await kernel.apply(ops)).entries()) {
    const op = ops[i]!;
    const failure = settled(op, result);
    if (!failure) continue;
    const { object } = op;
    if (object.kind === 'sysctl' && failure.code === 'ENOENT' && isVacuous(object, undefined)) continue;
    failures.push(failure);
  }
  return failures;
}
