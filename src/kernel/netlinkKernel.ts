import { RECONCILE_DEBOUNCE } from '../contract.ts';
import { KernelError, NativeError } from '../errors.ts';
import { addon } from '../native/addon.ts';
import type { Addr, Family } from '../net/addr.ts';
import { ERRNO } from '../netlink/errno.ts';
import { NETLINK_ROUTE } from '../netlink/header.ts';
import type { Message, Request } from '../netlink/message.ts';
import { changeOf } from '../netlink/monitor.ts';
import { AF_INET, AF_INET6, afOf, RTN_LOCAL, route } from '../netlink/rtnl.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { dumpAddresses, readAddress } from './address.ts';
import { Batch, type Refusal } from './batch.ts';
import { readEntry } from './entry.ts';
import { dumpFdb, readFdb } from './fdb.ts';
import type { Hint, Kernel, Op, Watch, WayTo } from './kernel.ts';
import { dumpLinks, getLink, getLinkByName, readLink } from './link.ts';
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
import { TxChecksums } from './offload.ts';
import { dumpRoutes, readRoute } from './route.ts';
import { procSys, type SysctlFiles, socketSysctls } from './sysctl.ts';

export interface NetlinkKernelOptions {
  /** Descriptor of a network namespace, needed until this is open and watched; the process's own if absent. */
  readonly netnsFd?: number;
  /** {@link NetlinkOptions.later}; what it changes is told to its own watchers too. */
  readonly later?: boolean;
  /** Also see and change whether VXLAN devices fill in checksums, which is one more question for each. */
  readonly txChecksums?: boolean;
  /** Sysctls of that namespace; by the socket's own thread if absent, for /proc/sys shows those of who looks. */
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
  readonly #txChecksums: TxChecksums | undefined;

  constructor(socket: NetlinkSocket, options: NetlinkKernelOptions) {
    this.socket = socket;
    this.#netnsFd = options.netnsFd ?? -1;
    this.#sysctls = options.sysctls ?? (options.netnsFd === undefined ? procSys : socketSysctls(socket));
    this.#txChecksums = options.txChecksums ? new TxChecksums(options.netnsFd) : undefined;
    this.#createTun = options.createTun ?? ((name) => addon().tunCreate(name));
  }

  /** Throws NativeError when there is no socket to be had. */
  static open(options: NetlinkKernelOptions = {}): NetlinkKernel {
    const { netnsFd, later = false } = options;
    return new NetlinkKernel(
      NetlinkSocket.open({ ...(netnsFd === undefined ? {} : { netnsFd }), later }),
      options,
    );
  }

  async linkNamed(name: string): Promise<ObservedLink | undefined> {
    const message = await this.socket.get(getLinkByName(name));
    const link = message && readLink(message);
    if (link) this.#names.set(link.ifindex, link.name);
    else this.#names.forget(name);
    return link;
  }

  async activate(names: readonly string[]): Promise<void> {
    await this.socket.transact(names.map(getLinkByName));
  }

  remember({ ifindex, name }: Pick<ObservedLink, 'ifindex' | 'name'>): void {
    this.#names.set(ifindex, name);
  }

  async links(ifindex?: number): Promise<readonly ObservedLink[]> {
    if (ifindex !== undefined) {
      const message = await this.socket.get(getLink(ifindex));
      const link = message && readLink(message);
      if (link) this.#names.set(ifindex, link.name);
      else this.#names.delete(ifindex);
      return link ? [await this.#withOffload(link)] : [];
    }
    const links = await this.socket.dump(dumpLinks(), readLink);
    this.#names.clear();
    for (const link of links) this.#names.set(link.ifindex, link.name);
    return this.#txChecksums ? Promise.all(links.map((link) => this.#withOffload(link))) : links;
  }

  async #withOffload(link: ObservedLink): Promise<ObservedLink> {
    if (!this.#txChecksums || !link.vxlan) return link;
    const txChecksum = await this.#txChecksums.read(link.ifindex);
    return txChecksum === undefined ? link : { ...link, vxlan: { ...link.vxlan, txChecksum } };
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
      if (message?.header.rtm_type === RTN_LOCAL) {
        return { dev: dev ?? 'lo', ...(src ? { src } : {}), isLocal: true };
      }
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

  apply(ops: readonly Op[]): Promise<readonly (KernelError | undefined)[]> {
    return new Batch({
      socket: this.socket,
      names: this.#names,
      sysctls: this.#sysctls,
      txChecksums: this.#txChecksums,
      createTun: (name) => this.#createTunLink(name),
    }).run(ops);
  }

  /** By the TUN driver itself: "tun/tap creation via rtnetlink is not supported". Undefined: it is there. */
  async #createTunLink(name: string): Promise<Refusal | undefined> {
    // The driver would take a TUN that is there for the one to be made.
    if (await this.socket.get(getLinkByName(name))) return { errno: ERRNO.EEXIST!, code: 'EEXIST' };
    try {
      await this.#createTun(name);
      return undefined;
    } catch (cause) {
      const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
      return { errno: ERRNO[code] ?? ERRNO.EIO!, code, extack: TUN_ADVICE[code] ?? message };
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
    this.#txChecksums?.close();
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
