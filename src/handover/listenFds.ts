import { type Bundle, MAX_QUEUES, ROLES, type Role } from '../forwarder/bundle.ts';
import type { ForwarderQueue } from '../native/forwarder.ts';

/** A descriptor that the service manager passed, by its name in FDNAME=. */
export interface Passed {
  readonly fd: number;
  readonly name: string;
}

/** What a descriptor is, as the kernel says. */
export type Identity =
  | { readonly kind: 'tun'; readonly device: string; readonly ifindex: number; readonly flags: number }
  | { readonly kind: 'udp'; readonly family: 4 | 6; readonly port: number };

/** Those that systemd sets (sd_listen_fds(3)); of no meaning to our children. */
export const LISTEN_VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/** The first descriptor that is passed: behind standard error. */
const FIRST = 3;
/** More are nothing of ours, and no list to be believed. */
const MOST = 1024;

type ListenEnv = Readonly<Record<string, string | undefined>>;

/** What was passed to this process; nothing when it was meant for another one, or is no list. */
export function parseListenFds(env: ListenEnv, pid: number): Passed[] {
  const count = whole(env.LISTEN_FDS);
  if (whole(env.LISTEN_PID) !== pid || count === undefined || count > MOST) return [];
  const names = env.LISTEN_FDNAMES === undefined ? [] : env.LISTEN_FDNAMES.split(':');
  // Names that do not fit the descriptors name none of them.
  return Array.from({ length: count }, (_, i) => ({
    fd: FIRST + i,
    name: names.length === count ? names[i]! : '',
  }));
}

const whole = (text: string | undefined): number | undefined =>
  text !== undefined && /^(0|[1-9][0-9]{0,8})$/.test(text) ? Number(text) : undefined;

/** Each distinct descriptor with its name in the store: `loden-` and all its places, e.g. `loden-tun.0`, `loden-out4.0+out4.1`. */
export function namesOf({ queues }: Bundle): Map<string, number> {
  const places = new Map<number, string[]>();
  for (const [i, queue] of queues.entries()) {
    for (const role of ROLES) {
      const fd = queue[role];
      if (fd >= 0) places.set(fd, [...(places.get(fd) ?? []), `${role}.${i}`]);
    }
  }
  return new Map([...places].map(([fd, at]) => [`loden-${at.join('+')}`, fd]));
}

const PLACE = /^(tun|udp4|udp6|out4|out6)\.(0|[1-9][0-9]?)$/;

/** The places a name stands for; undefined for a name that is not ours. */
function placesOf(name: string): { role: Role; queue: number }[] | undefined {
  if (!name.startsWith('loden-')) return undefined;
  const places = name
    .slice('loden-'.length)
    .split('+')
    .map((text) => PLACE.exec(text));
  if (places.some((match) => !match || Number(match[2]) >= MAX_QUEUES)) return undefined;
  return places.map((match) => ({ role: match![1] as Role, queue: Number(match![2]) }));
}

export const isOurName = (name: string): boolean => placesOf(name) !== undefined;

export interface Unpacked {
  /** Undefined when not even one whole queue was passed. */
  readonly bundle: Bundle | undefined;
  /** What cannot be used: to be closed. */
  readonly strange: readonly (Passed & { readonly why: string })[];
}

/** IFF_TUN, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR (linux/if_tun.h): what the forwarder reads and writes. */
const TUN_FLAGS = 0x0001 | 0x0100 | 0x1000 | 0x4000;

/** Make a bundle of what was passed. `identify` says what a descriptor is, undefined: nothing of ours. */
export function unpack(passed: readonly Passed[], identify: (fd: number) => Identity | undefined): Unpacked {
  const strange = new Map<Passed, string>();
  const queues = new Map<number, Map<Role, Passed>>();
  const known = new Map<Passed, Identity>();
  for (const one of passed) {
    const places = placesOf(one.name);
    const identity = places && identify(one.fd);
    const why = !places
      ? `${JSON.stringify(one.name.slice(0, 100))} is no name of ours`
      : (misplaced(places, identity) ?? doubled(places, queues));
    if (why !== undefined) {
      strange.set(one, why);
      continue;
    }
    known.set(one, identity!);
    for (const { role, queue } of places!) {
      if (!queues.has(queue)) queues.set(queue, new Map());
      queues.get(queue)!.set(role, one);
    }
  }
  const bundle = assemble(queues, known);
  const used = new Set(bundle?.queues.flatMap((queue) => ROLES.map((role) => queue[role])));
  for (const one of known.keys()) if (!used.has(one.fd)) strange.set(one, 'it belongs to no whole set');
  return { bundle, strange: [...strange].map(([one, why]) => ({ ...one, why })) };
}

/** Why a descriptor cannot be in these places. */
function misplaced(places: readonly { role: Role }[], identity: Identity | undefined): string | undefined {
  if (!identity) return 'it is neither a queue of a TUN device nor a UDP socket';
  for (const { role } of places) {
    if (identity.kind === 'tun') {
      if (role !== 'tun') return `a queue of a TUN device in the place of ${role}`;
      if ((identity.flags & TUN_FLAGS) !== TUN_FLAGS) return 'a queue of a TUN device of another make';
    } else if (role === 'tun' || !role.endsWith(String(identity.family))) {
      return `a UDP socket for IPv${identity.family} in the place of ${role}`;
    }
  }
  return undefined;
}

const doubled = (
  places: readonly { role: Role; queue: number }[],
  queues: ReadonlyMap<number, ReadonlyMap<Role, Passed>>,
): string | undefined =>
  places.some(({ role, queue }) => queues.get(queue)?.has(role)) ? 'its place is taken' : undefined;

/** Queues 0 to n that are whole and alike: of one device, with sockets of one port. */
function assemble(
  queues: ReadonlyMap<number, ReadonlyMap<Role, Passed>>,
  known: ReadonlyMap<Passed, Identity>,
): Bundle | undefined {
  let device: { readonly device: string; readonly ifindex: number } | undefined;
  let port: number | undefined;
  const whole: ForwarderQueue[] = [];
  for (let i = 0; queues.has(i); i++) {
    const queue = queues.get(i)!;
    const tun = queue.has('tun') ? known.get(queue.get('tun')!) : undefined;
    const sockets = (['udp4', 'udp6'] as const).flatMap((role) => {
      const at = queue.get(role);
      const identity = at && known.get(at);
      return identity?.kind === 'udp' ? [identity] : [];
    });
    if (tun?.kind !== 'tun' || sockets.length === 0) return undefined;
    device ??= tun;
    port ??= sockets[0]!.port;
    if (tun.ifindex !== device.ifindex || sockets.some((socket) => socket.port !== port)) return undefined;
    const fd = (role: Role) => queue.get(role)?.fd ?? -1;
    whole.push({ tun: fd('tun'), udp4: fd('udp4'), udp6: fd('udp6'), out4: fd('out4'), out6: fd('out6') });
  }
  if (!device || port === undefined || whole.length !== queues.size) return undefined;
  return { device: device.device, port, queues: whole };
}
