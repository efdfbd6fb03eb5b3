import { RECONCILE_DEBOUNCE } from '../contract.ts';
import { KernelError, NativeError } from '../errors.ts';
import { addon } from '../native/addon.ts';
import type { Addr, Family } from '../net/addr.ts';
import { ERRNO } from '../netlink/errno.ts';
import { NETLINK_ROUTE } from '../netlink/header.ts';
import type { Message, Request } from '../netlink/message.ts';
import { changeOf } from '../netlink/monitor.ts';
import type { NetlinkFailure } from '../netlink/protocol.ts';
import { AF_INET, AF_INET6, afOf, rootQdisc, route } from '../netlink/rtnl.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { dumpAddresses, readAddress } from './address.ts';
import { describe } from './desired.ts';
import { encode } from './encode.ts';
import { readEntry } from './entry.ts';
import { dumpFdb, readFdb } from './fdb.ts';
import type { Hint, Kernel, Op, Watch, WayTo } from './kernel.ts';
import { dumpLinks, finishLink, getLink, getLinkByName, readLink } from './link.ts';
import { Names } from './names.ts';
import { dumpNeighs, readNeigh } from './neigh.ts';
import type {
  ObservedAddress,
  ObservedFdb,
  ObservedLink,
  ObservedNeigh,
  ObservedRoute,
  RouteQuery,
} from './observed.ts';
import { dumpRoutes, readRoute } from './route.ts';
import { procSys, type SysctlFiles } from './sysctl.ts';
import type { Link } from './types.ts';

export interface NetlinkKernelOptions {
  /** Descriptor of a network namespace; the process's own if absent. */
  readonly netnsFd?: number;
  /** Sysctls of that namespace; /proc/sys shows those of the process's own. */
  readonly sysctls?: SysctlFiles;
  /** Makes a TUN device in that namespace; the addon makes them in the process's own. Throws with `code` and `errno`. */
  readonly createTun?: (name: string) => void | Promise<void>;
}

/** enum rtnetlink_groups: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, IPV4_NETCONF, IPV6_NETCONF. */
const GROUPS = [1, 3, 5, 7, 9, 11, 24, 25];
/** Forwarding and other settings of a device or of all have changed (linux/netconf.h). */
const RTM_NEWNETCONF = 80;

/** {@link Kernel} by rtnetlink. */
export class NetlinkKernel implements Kernel {
  readonly socket: NetlinkSocket;
  readonly #netnsFd: number;
  readonly #sysctls: SysctlFiles;
  readonly #createTun: (name: string) => void | Promise<void>;
  readonly #names = new Names();

  constructor(socket: NetlinkSocket, options: NetlinkKernelOptions) {
    this.socket = socket;
    this.#netnsFd = options.netnsFd ?? -1;
    this.#sysctls = options.sysctls ?? procSys;
    this.#createTun = options.createTun ?? ((name) => addon().tunCreate(name));
  }

  /** Throws NativeError when there is no socket to be had. */
  static open(options: NetlinkKernelOptions = {}): NetlinkKernel {
    const { netnsFd } = options;
    return new NetlinkKernel(NetlinkSocket.open(netnsFd === undefined ? {} : { netnsFd }), options);
  }

  async links(ifindex?: number): Promise<readonly ObservedLink[]> {
    if (ifindex !== undefined) {
      const message = await this.socket.get(getLink(ifindex));
      const link = message && readLink(message);
      if (link) this.#names.set(ifindex, link.name);
      else this.#names.delete(ifindex);
      return link ? [link] : [];
    }
    const links = await this.socket.dump(dumpLinks(), readLink);
    this.#names.clear();
    for (const link of links) this.#names.set(link.ifindex, link.name);
    return links;
  }

  addresses(ifindex?: number): Promise<readonly ObservedAddress[]> {
    return this.#list(dumpAddresses(ifindex), (message) => readAddress(message, this.#names));
  }

  neighs(ifindex: number): Promise<readonly ObservedNeigh[]> {
    return this.#list(dumpNeighs(ifindex), (message) => readNeigh(message, this.#names));
  }

  fdb(ifindex: number): Promise<readonly ObservedFdb[]> {
    return this.#list(dumpFdb(ifindex), (message) => readFdb(message, this.#names));
  }

  routes(query: RouteQuery, keep: (route: ObservedRoute) => boolean): Promise<readonly ObservedRoute[]> {
    return this.#list(dumpRoutes(query), (message) => {
      const found = readRoute(message, query.family, this.#names);
      return found && keep(found) ? found : undefined;
    });
  }

  async wayTo(to: Addr): Promise<WayTo | undefined> {
    const whole = to.family === 4 ? 32 : 128;
    try {
      const message = await this.socket.get(
        route.get({ rtm_family: afOf(to.family), rtm_dst_len: whole }, { RTA_DST: to }),
      );
      const { RTA_OIF: oif, RTA_PREFSRC: src, RTA_GATEWAY: via } = message?.attributes ?? {};
      const dev = oif === undefined ? undefined : this.#names.name(oif);
      if (dev === undefined) return undefined;
      return { dev, ...(src ? { src } : {}), ...(via ? { via } : {}) };
    } catch (cause) {
      if (
        cause instanceof KernelError &&
        ['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'].includes(cause.code)
      ) {
        return undefined;
      }
      throw cause;
    }
  }

  sysctl(path: string): Promise<string | undefined> {
    return this.#sysctls.read(path);
  }

  async apply(ops: readonly Op[]): Promise<readonly (KernelError | undefined)[]> {
    const results: (KernelError | undefined)[] = [];
    for (let at = 0; at < ops.length; ) {
      const op = ops[at]!;
      if (op.object.kind === 'sysctl') {
        results.push(await this.#write(op));
        at++;
      } else if (op.verb === 'create' && op.object.kind === 'link') {
        results.push(await this.#createLink(op, op.object));
        at++;
      } else {
        const end = ops.findIndex((o, i) => i > at && isSpecial(o));
        const run = ops.slice(at, end < 0 ? ops.length : end);
        results.push(...(await this.#transact(run)));
        at += run.length;
      }
    }
    return results;
  }

  async #transact(ops: readonly Op[]): Promise<readonly (KernelError | undefined)[]> {
    const results = new Array<KernelError | undefined>(ops.length);
    const ofRequest: number[] = [];
    const requests: Request[] = [];
    for (const [i, op] of ops.entries()) {
      try {
        for (const request of encode(op, this.#names)) {
          requests.push(request);
          ofRequest.push(i);
        }
      } catch (cause) {
        if (!(cause instanceof KernelError)) throw cause;
        results[i] = refused(op, { errno: cause.errno, code: cause.code, extack: `no ${cause.object}` });
      }
    }
    for (const [i, failure] of (await this.socket.transact(requests)).entries()) {
      const op = ofRequest[i]!;
      if (failure) results[op] ??= refused(ops[op]!, failure);
    }
    return results;
  }

  /** Two steps, the second only after the first: it would touch whoever else has the name. */
  async #createLink(op: Op, link: Link): Promise<KernelError | undefined> {
    const [error] = link.tun ? [await this.#createTunLink(op, link.name)] : await this.#transact([op]);
    if (error) return error;
    // What is put on the new device next needs its number.
    const message = await this.socket.get(getLinkByName(link.name));
    const made = message && readLink(message);
    if (made) this.#names.set(made.ifindex, made.name);
    // What waits, waits in the device's own queues. The kernel's default queues would lie idle, and take 48 MB: three rings of
    // TXQLEN for each of 256 queues (net/sched/sch_generic.c pfifo_fast_init). A kernel that has none refuses this.
    if (link.tun && made) await this.socket.transact([rootQdisc(made.ifindex, 'noqueue') as Request]);
    const [failure] = await this.socket.transact([finishLink(link) as Request]);
    return failure && refused(op, failure);
  }

  /** By the TUN driver itself: "tun/tap creation via rtnetlink is not supported". */
  async #createTunLink(op: Op, name: string): Promise<KernelError | undefined> {
    // The driver would take a TUN that is there for the one to be made.
    if (await this.socket.get(getLinkByName(name)))
      return refused(op, { errno: ERRNO.EEXIST!, code: 'EEXIST' });
    try {
      await this.#createTun(name);
      return undefined;
    } catch (cause) {
      const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
      return refused(op, { errno: ERRNO[code] ?? ERRNO.EIO!, code, extack: TUN_ADVICE[code] ?? message });
    }
  }

  watch(onHints: (hints: readonly Hint[], overrun: boolean) => void): Watch {
    try {
      return addon().netlinkMonitor(
        NETLINK_ROUTE,
        GROUPS,
        this.#netnsFd,
        RECONCILE_DEBOUNCE,
        (native, overrun) => {
          const hints: Hint[] = [];
          for (const hint of native) {
            if (hint.type === RTM_NEWNETCONF) hints.push({ kind: 'sysctl', ifindex: 0 });
            const change = changeOf(hint);
            if (!change) continue;
            const family: Family | undefined =
              change.family === AF_INET ? 4 : change.family === AF_INET6 ? 6 : undefined;
            const { message } = hint;
            hints.push({
              kind: change.kind,
              ifindex: change.ifindex,
              ...(family ? { family } : {}),
              ...(message ? { entry: () => readEntry(message, this.#names) } : {}),
            });
          }
          if (hints.length > 0 || overrun) onHints(hints, overrun);
        },
        this.socket.portId,
      );
    } catch (cause) {
      if (cause instanceof NativeError) throw cause;
      throw new NativeError((cause as Error).message, { cause });
    }
  }

  close(): void {
    this.socket.close();
  }

  async #list<H, A, T>(
    request: Request<H, A>,
    read: (message: Message<H, A>) => T | undefined,
  ): Promise<T[]> {
    try {
      return await this.socket.dump(request, read);
    } catch (cause) {
      // A dump for one device that has just gone.
      if (cause instanceof KernelError && cause.code === 'ENODEV') return [];
      throw cause;
    }
  }

  async #write(op: Op): Promise<KernelError | undefined> {
    if (op.object.kind !== 'sysctl') return undefined;
    try {
      await this.#sysctls.write(op.object.path, op.object.value);
      return undefined;
    } catch (cause) {
      const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
      return refused(op, { errno: ERRNO[code] ?? 5, code, extack: message });
    }
  }
}

const NO_TUN =
  'there is no /dev/net/tun; load the kernel module tun (modprobe tun), or give the container that device';

/** What to do when /dev/net/tun refuses, by errno. */
const TUN_ADVICE: Readonly<Record<string, string>> = {
  ENOENT: NO_TUN,
  ENODEV: NO_TUN,
  ENXIO: NO_TUN,
  EPERM: 'a TUN device needs CAP_NET_ADMIN, and /dev/net/tun to be allowed for the container',
  EACCES: '/dev/net/tun may not be opened',
};

/** Operations that are not just messages in a row. */
const isSpecial = ({ verb, object }: Op): boolean =>
  object.kind === 'sysctl' || (verb === 'create' && object.kind === 'link');

const refused = (op: Op, failure: Pick<NetlinkFailure, 'errno' | 'code' | 'extack'>): KernelError =>
  new KernelError({
    errno: failure.errno,
    code: failure.code,
    op: `${op.verb} ${op.object.kind}`,
    object: describe(op.object),
    extack: failure.extack,
  });
