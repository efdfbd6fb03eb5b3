import { RECONCILE_DEBOUNCE } from '../contract.ts';
import { NativeError } from '../errors.ts';
import { addon, type NativeMonitor, type NetlinkHint } from '../native/addon.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE } from './header.ts';
import { RTM_DELADDR, RTM_NEWADDR } from './rtnl/address.ts';
import { AF_BRIDGE, AF_UNSPEC } from './rtnl/family.ts';
import { RTM_DELLINK, RTM_NEWLINK } from './rtnl/link.ts';
import { RTM_DELNEIGH, RTM_NEWNEIGH } from './rtnl/neigh.ts';
import { RTM_DELROUTE, RTM_NEWROUTE } from './rtnl/route.ts';

/** Multicast groups by what they tell of (enum rtnetlink_groups). */
const ROUTE_GROUPS = {
  /** RTNLGRP_LINK */
  link: [1],
  /** RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR */
  address: [5, 9],
  /** RTNLGRP_NEIGH: neighbours and FDB entries */
  neigh: [3],
  /** RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE */
  route: [7, 11],
} as const;
export type RouteGroup = keyof typeof ROUTE_GROUPS;

/** NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h) */
const NFNLGRP_NFTABLES = 7;

/** Something of this kind changed; what it is now must be looked up. */
export interface Change {
  readonly kind: 'link' | 'address' | 'neigh' | 'fdb' | 'route';
  /** The device; 0 for routes without one (blackholes, multipath). */
  readonly ifindex: number;
  /** AF_INET, AF_INET6, AF_BRIDGE or AF_UNSPEC. */
  readonly family: number;
}

/** The hint in the words of {@link Change}; undefined for message types that say nothing about them. */
export function changeOf(hint: NetlinkHint): Change | undefined {
  const { ifindex, family } = hint;
  switch (hint.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return { kind: 'link', ifindex, family };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { kind: 'address', ifindex, family };
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return { kind: family === AF_BRIDGE ? 'fdb' : 'neigh', ifindex, family };
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return { kind: 'route', ifindex, family };
    default:
      return undefined;
  }
}

export interface MonitorOptions {
  /** Descriptor of a network namespace; the process's own if absent. */
  readonly netnsFd?: number;
  /** Milliseconds from the first notification of a burst to its delivery. */
  readonly quietMs?: number;
}

/**
 * Watches links, addresses, neighbours or routes. `onChanges` gets each distinct change of a burst once; `overrun`
 * tells that some were lost and everything may have changed. Does not keep the process alive. Throws {@link NativeError}.
 */
export function watchRoutes(
  groups: readonly RouteGroup[],
  onChanges: (changes: readonly Change[], overrun: boolean) => void,
  options: MonitorOptions = {},
): NativeMonitor {
  return watch(
    NETLINK_ROUTE,
    groups.flatMap((g) => ROUTE_GROUPS[g]),
    options,
    (hints, overrun) => {
      const changes = new Map<string, Change>();
      for (const hint of hints) {
        const change = changeOf(hint);
        // RTM_NEW… and RTM_DEL… of one thing are one change.
        if (change) changes.set(`${change.kind} ${change.ifindex} ${change.family}`, change);
      }
      if (changes.size > 0 || overrun) onChanges([...changes.values()], overrun);
    },
  );
}

/**
 * Watches links go. A port that leaves its bridge is told as a deletion too, of AF_BRIDGE: it is still there. `onLost`:
 * some notifications were lost. Throws {@link NativeError}.
 */
export function watchLinksGone(
  onGone: (ifindex: number) => void,
  onLost: () => void,
  options: MonitorOptions = {},
): NativeMonitor {
  const told = (hints: readonly NetlinkHint[], overrun: boolean) => {
    for (const { type, family, ifindex } of hints) {
      if (type === RTM_DELLINK && family === AF_UNSPEC) onGone(ifindex);
    }
    if (overrun) onLost();
  };
  return watch(NETLINK_ROUTE, ROUTE_GROUPS.link, options, told, RTM_DELLINK);
}

/** Watches the nftables ruleset: `onChange` is called once for each burst of changes, whoever made them. */
export function watchNftables(onChange: () => void, options: MonitorOptions = {}): NativeMonitor {
  return watch(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], options, () => onChange());
}

function watch(
  protocol: number,
  groups: readonly number[],
  options: MonitorOptions,
  onHints: (hints: readonly NetlinkHint[], overrun: boolean) => void,
  onlyType?: number,
): NativeMonitor {
  try {
    return addon().netlinkMonitor(
      protocol,
      groups,
      options.netnsFd ?? -1,
      options.quietMs ?? RECONCILE_DEBOUNCE,
      onHints,
      undefined,
      onlyType,
    );
  } catch (cause) {
    if (cause instanceof NativeError) throw cause;
    throw new NativeError((cause as Error).message, { cause });
  }
}
