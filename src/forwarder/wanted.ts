import type { ForwarderAddon } from '../native/forwarder.ts';
import { attach, bind, countOf, type Ends, isBoundTo, type TunEnd } from './ends.ts';
import type { SavedForwarding } from './tableFile.ts';
import { deviceTrouble, socketTrouble } from './words.ts';

/** What is to be forwarded, as the daemon knows it. */
export interface ForwarderWish extends SavedForwarding {
  /** Of the device, as the kernel was last seen to hold it; undefined: there is none to attach to. `any`: whichever there is. */
  readonly ifindex: number | 'any' | undefined;
  /** For a forwarder that has no descriptors yet; those that were handed over keep their number. */
  readonly threads: number;
}

/** What is wrong, in words, by what it is about. */
export type Problems = Map<string, string>;

/** What `work` gives; undefined when it throws, which is put among the problems. */
export function attempt<T>(
  about: string,
  problems: Problems,
  trouble: (e: NodeJS.ErrnoException) => string,
  work: () => T,
): T | undefined {
  try {
    return work();
  } catch (e) {
    problems.set(about, trouble(e as NodeJS.ErrnoException));
    return undefined;
  }
}

/** Is the device of these queues still there? */
export const isAlive = (native: ForwarderAddon, { fds, ifindex }: TunEnd): boolean =>
  fds.every((fd) => {
    try {
      return native.tunIdentity(fd).ifindex === ifindex;
    } catch {
      return false;
    }
  });

/**
 * What there is of the descriptors that are wished, opened where it is missing; why there is not more, among the problems.
 * Nothing of `now` is closed. `isInUse`: it is known to work.
 */
export function wantedEnds(
  native: ForwarderAddon,
  wish: ForwarderWish,
  now: Ends,
  isInUse: boolean,
  problems: Problems,
): Ends {
  const { device, ifindex, port, local } = wish;
  const isSame = now.tun?.device === device && (ifindex === 'any' || now.tun.ifindex === ifindex);
  const tun = now.tun && isSame && (isInUse || isAlive(native, now.tun)) ? now.tun : undefined;
  const kept = now.udp.filter((end) => local.some((a) => isBoundTo(end, a, port)));
  // Who closes a queue or a socket of many loses what it holds, so the first number stays.
  const count = countOf({ tun, udp: kept }) ?? wish.threads;
  const udp = local.flatMap((a) => {
    const end = kept.find((e) => isBoundTo(e, a, port));
    if (end) return end;
    return (
      attempt(`udp ${a.family}`, problems, socketTrouble(a, port), () => bind(native, a, port, count)) ?? []
    );
  });
  return { tun: tun ?? attached(native, wish, count, problems), udp };
}

function attached(
  native: ForwarderAddon,
  { device, ifindex }: ForwarderWish,
  count: number,
  problems: Problems,
): TunEnd | undefined {
  if (ifindex === undefined) {
    problems.set('device', `waiting for the device ${device}`);
    return undefined;
  }
  const tun = attempt('device', problems, deviceTrouble(device), () => attach(native, device, count));
  if (!tun || ifindex === 'any' || tun.ifindex === ifindex) return tun;
  // Another one by now: it is going to be seen, and may have to be exchanged.
  native.closeFds(tun.fds);
  problems.set('device', `waiting for a look at the device ${device}`);
  return undefined;
}
