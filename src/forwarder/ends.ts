import type { ForwarderAddon, ForwarderQueue } from '../native/forwarder.ts';
import { type Addr, addrBytes, addrFromBytes, type Family, formatAddr, sameAddr } from '../net/addr.ts';
import type { Bundle } from './bundle.ts';

/** Queues of one TUN device. */
export interface TunEnd {
  readonly device: string;
  readonly ifindex: number;
  readonly fds: readonly number[];
}

/** Sockets bound to one address and port; `senders`: none, or one for each. */
export interface UdpEnd {
  readonly addr: Addr;
  readonly port: number;
  readonly sockets: readonly number[];
  readonly senders: readonly number[];
}

/** The descriptors between which is forwarded. A value: who replaces one closes what is not in the next. */
export interface Ends {
  readonly tun: TunEnd | undefined;
  readonly udp: readonly UdpEnd[];
}

export const NO_ENDS: Ends = { tun: undefined, udp: [] };

/** How many workers there are, undefined before the first descriptor: each queue and each socket has one. */
export const countOf = ({ tun, udp }: Ends): number | undefined => tun?.fds.length ?? udp[0]?.sockets.length;

const descriptors = ({ tun, udp }: Ends): number[] => [
  ...(tun?.fds ?? []),
  ...udp.flatMap(({ sockets, senders }) => [...sockets, ...senders]),
];

/** What of `before` is not in `after`. */
export function leftOver(before: Ends, after: Ends): number[] {
  const kept = new Set(descriptors(after));
  return descriptors(before).filter((fd) => !kept.has(fd));
}

/** What workers get; none without a device or without any socket. */
export function queuesOf({ tun, udp }: Ends): ForwarderQueue[] {
  if (!tun || udp.length === 0) return [];
  const of = (family: Family) => udp.find(({ addr }) => addr.family === family);
  const [v4, v6] = [of(4), of(6)];
  return tun.fds.map((fd, i) => ({
    tun: fd,
    udp4: v4?.sockets[i] ?? -1,
    udp6: v6?.sockets[i] ?? -1,
    out4: v4?.senders[i] ?? -1,
    out6: v6?.senders[i] ?? -1,
  }));
}

/** Attach `count` queues to a device that is there. Throws the addon's errors. */
export function attach(native: ForwarderAddon, device: string, count: number): TunEnd {
  const fds = native.tunAttach(device, count);
  try {
    return { device, ifindex: native.tunIdentity(fds[0]!).ifindex, fds };
  } catch (cause) {
    native.closeFds(fds);
    throw cause;
  }
}

/** Open `count` sockets. Throws the addon's errors. */
export function bind(native: ForwarderAddon, addr: Addr, port: number, count: number): UdpEnd {
  return { addr, port, ...native.udpOpen(addrBytes(addr), port, count) };
}

export const isBoundTo = (end: UdpEnd, addr: Addr, port: number): boolean =>
  end.port === port && sameAddr(end.addr, addr);

/**
 * What descriptors that came from elsewhere are, as the kernel says: queues of one device and sockets on one port. Throws
 * an Error that says why they cannot be used; they stay the caller's then.
 */
export function inspect(native: ForwarderAddon, { device, port, queues }: Bundle): Ends {
  const ids = queues.map(({ tun }) => native.tunIdentity(tun));
  const ifindex = ids[0]?.ifindex;
  if (ifindex === undefined) throw new Error('there is no queue among the descriptors');
  if (ids.some((id) => id.name !== device || id.ifindex !== ifindex))
    throw new Error(`the queues are of ${ids.map((id) => id.name).join(', ')}, not all of ${device}`);
  const udp: UdpEnd[] = [];
  for (const [role, out] of [
    ['udp4', 'out4'],
    ['udp6', 'out6'],
  ] as const) {
    const sockets = queues.map((queue) => queue[role]);
    if (sockets.every((fd) => fd < 0)) continue;
    const at = sockets.map((fd) => identify(native, fd));
    const [first] = at;
    if (!first || at.some((end) => !end || end.port !== port || !sameAddr(end.addr, first.addr)))
      throw new Error(`the sockets are not all bound to one address and port ${port}`);
    if (first.addr.family !== (role === 'udp4' ? 4 : 6))
      throw new Error(`a socket for another family is bound to ${formatAddr(first.addr)}`);
    const senders = queues.map((queue) => queue[out]);
    const some = senders.filter((fd) => fd >= 0);
    if (some.length !== 0 && some.length !== senders.length)
      throw new Error('some queues have a socket to send from, others have none');
    udp.push({ addr: first.addr, port, sockets, senders: some });
  }
  if (udp.length === 0) throw new Error('there is no socket among the descriptors');
  return { tun: { device, ifindex, fds: queues.map(({ tun }) => tun) }, udp };
}

function identify(
  native: ForwarderAddon,
  fd: number,
): { readonly addr: Addr; readonly port: number } | undefined {
  if (fd < 0) return undefined;
  const { address, port } = native.udpIdentity(fd);
  return { addr: addrFromBytes(address), port };
}
