import { ROUTE_PROTOCOL, RTPROT_BOOT } from '../contract.ts';
import { sameAddr } from '../net/addr.ts';
import { scopeOf } from '../net/scope.ts';
import type { ObservedRoute } from './observed.ts';
import type { Owner, Route } from './types.ts';

/** linux/rtnetlink.h */
export const RTPROT_KERNEL = 2;
export const RTPROT_STATIC = 4;
export const RTPROT_RA = 9;
export const RTPROT_DHCP = 16;
export const RTN_UNICAST = 1;
export const RTN_BLACKHOLE = 6;

/** The metric of an IPv6 route that names none (IP6_RT_PRIO_USER); IPv4's is 0. */
export const IPV6_METRIC = 1024;

/** The metric in the form that objects are keyed and compared by: undefined when it is the kernel's default. */
export const plainMetric = (family: 4 | 6, metric: number | undefined): number | undefined =>
  metric === undefined || metric === 0 || (family === 6 && metric === IPV6_METRIC) ? undefined : metric;

/** The same route with its metric in plain form. */
export function plainRoute(route: Route): Route {
  const metric = plainMetric(route.dst.addr.family, route.metric);
  if (metric === route.metric) return route;
  const { metric: _, ...rest } = route;
  return metric === undefined ? rest : { ...rest, metric };
}

/**
 * Protocols that are asked for in the main table, one kernel-side filtered listing each. A host may hold a million
 * routes of a routing daemon (bird, bgp, zebra, …): those never reach us. What this misses, a route of such a protocol
 * in the place of one of ours, shows when ours is refused (EEXIST).
 */
export const ROUTE_PROTOCOLS: readonly number[] = [
  ROUTE_PROTOCOL,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  RTPROT_STATIC,
  RTPROT_RA,
  RTPROT_DHCP,
];

/**
 * Which routes of those are remembered: all of ours; of others the default routes (which interface leads out), the
 * on-link prefixes (what needs no gateway) and flanneld's, which are of protocol boot and have a gateway.
 */
export const keepRoute = (o: ObservedRoute): boolean =>
  o.protocol === ROUTE_PROTOCOL ||
  o.protocol === RTPROT_BOOT ||
  o.dst.len === 0 ||
  (!o.via && o.dev !== undefined && scopeOf(o.dst.addr) === 'global');

/** flanneld's own kind of route: protocol boot, through a gateway that is on the link by decree, on our device. */
const isFlanneldOnlink = (o: ObservedRoute, owner: Owner): boolean =>
  o.protocol === RTPROT_BOOT &&
  o.onlink &&
  o.via !== undefined &&
  o.dev !== undefined &&
  owner.devices.has(o.dev);

export const ownsRoute = (o: ObservedRoute, owner: Owner): boolean =>
  o.protocol === ROUTE_PROTOCOL || isFlanneldOnlink(o, owner);

/** The same way to the same place; the protocol says only who wrote it. */
export const sameRoute = (o: ObservedRoute, wanted: Route): boolean =>
  o.type === wanted.type && o.onlink === wanted.onlink && o.mtu === wanted.mtu && isAlike(o, wanted);

const isAlike = (o: ObservedRoute, wanted: Route): boolean => !o.odd && o.tos === 0 && sameNextHop(o, wanted);

/** IPv6 shows a blackhole on `lo`, which nobody asked for. */
const hopDev = (r: Route): string | undefined => (r.type === 'blackhole' ? undefined : r.dev);

export const sameNextHop = (a: Route, b: Route): boolean =>
  a.type === b.type && sameAddr(a.via, b.via) && hopDev(a) === hopDev(b);

/**
 * A route that flanneld's host-gw backend has left: ours to keep only because we want the very same one. Its metric is
 * part of the key by which the two were brought together.
 */
export const isAdoptable = (o: ObservedRoute, wanted: Route): boolean =>
  o.protocol === RTPROT_BOOT && o.via !== undefined && sameRoute(o, wanted);

/** What the kernel shows after it has accepted one of ours. */
export function observedRoute(route: Route, ifindex: number | undefined): ObservedRoute {
  return {
    ...route,
    ...(ifindex === undefined ? {} : { ifindex }),
    rtmType: route.type === 'blackhole' ? RTN_BLACKHOLE : RTN_UNICAST,
    scope: 0,
    tos: 0,
    odd: false,
  };
}
