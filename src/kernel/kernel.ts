import type { KernelError } from '../errors.ts';
import type { Addr, Family } from '../net/addr.ts';
import type { Entry } from './entry.ts';
import type { LinkChange } from './link.ts';
import type {
  ObservedAddress,
  ObservedFdb,
  ObservedLink,
  ObservedNeigh,
  ObservedRoute,
  RouteQuery,
} from './observed.ts';
import type { Address, Fdb, KindName, Link, Neigh, Route, Sysctl } from './types.ts';

/** One change of the kernel. The verbs say what may stand in the way. */
export type Op = (
  | {
      /** Fails (EEXIST) when there is something in its place. */
      readonly verb: 'create';
      readonly object: Link | Address | Route;
    }
  | {
      /** Create, or take the place of what has this key in one step. Never a route. */
      readonly verb: 'put';
      readonly object: Neigh | Fdb | Sysctl;
    }
  | {
      /** Behind what has this key already: a further IPv4 route, a further remote of a multicast MAC. */
      readonly verb: 'append';
      readonly object: Route | Fdb;
    }
  | {
      /** Set what differs, in place. */
      readonly verb: 'change';
      readonly object: Link;
      readonly observed: ObservedLink;
      readonly change: LinkChange;
    }
  | {
      /** Exactly this one. */
      readonly verb: 'delete';
      readonly object: Doomed;
    }
) & {
  /** Its failure does not matter: it only makes the way for the next smoother. */
  readonly optional?: boolean;
  /** Called when a link has been made, with what it is before it is finished (its alias, up): a veth tells its peer's ifindex. */
  readonly onMade?: (link: ObservedLink) => void;
};

/** What can be deleted: as it was observed, so that nothing else is hit. */
export type Doomed = ObservedLink | ObservedAddress | ObservedNeigh | ObservedFdb | ObservedRoute | Route;

/** Which way the kernel sends. */
export interface WayTo {
  readonly dev: string;
  /** The source address it would choose. */
  readonly src?: Addr;
  /** The gateway, if there is one. */
  readonly via?: Addr;
  /** It is an address of this host, ready to be used; absent: it is not. */
  readonly isLocal?: true;
}

/** Something of this kind has changed on this device; what it is now must be looked up. */
export interface Hint {
  readonly kind: KindName;
  /** 0 when the notification names none. */
  readonly ifindex: number;
  /** Of addresses, neighbours and routes. */
  readonly family?: Family;
  /** Of a neighbour or an FDB entry, if that was told: what is there now. Undefined when it cannot be read. */
  readonly entry?: () => Entry | undefined;
}

export interface Watch {
  close(): void;
}

/**
 * The kernel of one network namespace, as far as Loden needs it. One implementation speaks netlink, another is a model
 * for tests. All methods reject with {@link KernelError} or NativeError when the question itself fails.
 */
export interface Kernel {
  /** All links, or the one with this ifindex (none: it is gone). */
  links(ifindex?: number): Promise<readonly ObservedLink[]>;
  /** The link of this name, by one question to the kernel; undefined: there is none. */
  linkNamed(name: string): Promise<ObservedLink | undefined>;
  /**
   * Make the kernel act upon the carriers of links at once, one after the other, which it does in its own time else. It does
   * when it is asked for them (rtnl_getlink; since Linux 6.8). Names of none are passed over.
   */
  activate(names: readonly string[]): Promise<void>;
  /**
   * Somebody else has told the number of a device (who has made the other end of a veth): what is put on it needs it.
   * Every question that finds a link does this by itself.
   */
  remember(link: Pick<ObservedLink, 'ifindex' | 'name'>): void;
  /** All addresses, or those of one link. */
  addresses(ifindex?: number): Promise<readonly ObservedAddress[]>;
  /** PERMANENT neighbours of one link, both families. */
  neighs(ifindex: number): Promise<readonly ObservedNeigh[]>;
  /** Permanent FDB entries of one VXLAN link. */
  fdb(ifindex: number): Promise<readonly ObservedFdb[]>;
  /** Routes of the main table. `keep` is asked for each before it is stored. */
  routes(query: RouteQuery, keep: (route: ObservedRoute) => boolean): Promise<readonly ObservedRoute[]>;
  /** Which way a packet to this address would take; undefined: none. */
  wayTo(to: Addr): Promise<WayTo | undefined>;
  /** The trimmed value of a file below /proc/sys; undefined when there is none. */
  sysctl(path: string): Promise<string | undefined>;
  /**
   * Carry out the operations in order, none held back by the failure of another, but for what belongs on a device that
   * could not be made in the same batch (ENODEV): it would go to whoever has the name. A link that is made comes up after
   * the sysctls that follow it directly. One result for each: undefined, or why it failed. Callers keep batches at about NETLINK_CHUNK operations.
   */
  apply(ops: readonly Op[]): Promise<readonly (KernelError | undefined)[]>;
  /**
   * Be told that something changed: hints, never data. `overrun`: anything may have. Neighbours and routes that
   * {@link apply} has changed need not be told.
   */
  watch(onHints: (hints: readonly Hint[], overrun: boolean) => void): Watch;
  close(): void;
}
