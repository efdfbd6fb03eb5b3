import { ROUTE_PROTOCOL, RTPROT_BOOT } from '../contract.ts';
import { type Family, sameAddr } from '../net/addr.ts';
import { scopeOf } from '../net/scope.ts';
import { NLM_F_APPEND, NLM_F_CREATE } from '../netlink/header.ts';
import type { Message, Request } from '../netlink/message.ts';
import {
  afOf,
  type RouteAttributes,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTM_F_CLONED,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
  RTPROT_KERNEL,
  RTPROT_STATIC,
  type Rtm,
  route,
} from '../netlink/rtnl.ts';
import type { Names } from './names.ts';
import type { ObservedRoute, RouteQuery } from './observed.ts';
import type { Owner, Route } from './types.ts';

/** linux/rtnetlink.h */
const RTPROT_RA = 9;
const RTPROT_DHCP = 16;

/** The metric of an IPv6 route that names none (IP6_RT_PRIO_USER); IPv4's is 0. */
export const IPV6_METRIC = 1024;

/** The metric in the form that objects are keyed and compared by: undefined when it is the kernel's default. */
const plainMetric = (family: 4 | 6, metric: number | undefined): number | undefined =>
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
 * Which routes of those are remembered: all with a global destination, for a more specific route of others decides
 * whether a peer is on-link. Link-local and multicast prefixes stand on every device and tell nothing.
 */
export const keepRoute = (o: ObservedRoute): boolean =>
  o.protocol === ROUTE_PROTOCOL || o.dst.len === 0 || scopeOf(o.dst.addr) === 'global';

/** Of foreign routes at most so many are remembered of each listing, whoever put them there. */
export const MOST_FOREIGN = 20_000;

/** flanneld's own kind of route: protocol boot, through a gateway that is on the link by decree, on our device. */
const isFlanneldOnlink = (o: ObservedRoute, owner: Owner): boolean =>
  o.protocol === RTPROT_BOOT &&
  o.onlink &&
  o.via !== undefined &&
  o.dev !== undefined &&
  owner.devices.has(o.dev);

export const ownsRoute = (o: ObservedRoute, owner: Owner): boolean =>
  owner.protocols
    ? owner.protocols.has(o.protocol)
    : o.protocol === ROUTE_PROTOCOL || isFlanneldOnlink(o, owner);

/** The same way to the same place; the protocol says only who wrote it. */
export const sameRoute = (o: ObservedRoute, wanted: Route): boolean =>
  o.type === wanted.type && o.onlink === wanted.onlink && o.mtu === wanted.mtu && isAlike(o, wanted);

const isAlike = (o: ObservedRoute, wanted: Route): boolean => !o.odd && o.tos === 0 && sameNextHop(o, wanted);

export const sameNextHop = (a: Route, b: Route): boolean =>
  a.type === b.type && sameAddr(a.via, b.via) && a.dev === b.dev;

/**
 * A route that flanneld's host-gw backend has left: ours only because we want one to the same next hop. Its metric is part of
 * the key by which the two were brought together. flanneld gives it no MTU; ours may have one, and then takes its place.
 */
export const isAdoptable = (o: ObservedRoute, wanted: Route): boolean =>
  o.protocol === RTPROT_BOOT &&
  o.via !== undefined &&
  o.mtu === undefined &&
  o.onlink === wanted.onlink &&
  isAlike(o, wanted);

/** Is it the same route still, in every respect? */
export const sameRow = (a: ObservedRoute, b: ObservedRoute): boolean =>
  sameNextHop(a, b) &&
  a.ifindex === b.ifindex &&
  a.onlink === b.onlink &&
  a.mtu === b.mtu &&
  a.rtmType === b.rtmType &&
  a.scope === b.scope &&
  a.tos === b.tos &&
  sameAddr(a.src, b.src) &&
  a.odd === b.odd;

/** What the kernel shows after it has accepted one of ours. */
export function observedRoute(route: Route, ifindex: number | undefined): ObservedRoute {
  return {
    ...route,
    ...(ifindex === undefined ? {} : { ifindex }),
    rtmType: RTN[route.type],
    scope: scopeFor(route),
    tos: 0,
    odd: false,
  };
}

export const dumpRoutes = ({ family, protocol, oif }: RouteQuery): Request<Rtm, RouteAttributes> =>
  route.dump(
    { rtm_family: afOf(family), rtm_table: RT_TABLE_MAIN, rtm_protocol: protocol ?? 0 },
    { RTA_OIF: oif },
  );

export function readRoute(
  { header, attributes: a }: Message<Rtm, RouteAttributes>,
  family: Family,
  names: Names,
): ObservedRoute | undefined {
  if (header.rtm_table !== RT_TABLE_MAIN || header.rtm_flags & RTM_F_CLONED) return undefined;
  // IPv6 shows a blackhole on `lo`, which nobody asked for.
  const oif = header.rtm_type === RTN_BLACKHOLE ? undefined : a.RTA_OIF;
  const dev = oif === undefined ? undefined : names.name(oif);
  const metric = plainMetric(family, a.RTA_PRIORITY);
  const { RTAX_MTU: mtu, ...metrics } = a.RTA_METRICS ?? {};
  const isPlainType = header.rtm_type === RTN_UNICAST || header.rtm_type === RTN_BLACKHOLE;
  return {
    kind: 'route',
    type: header.rtm_type === RTN_BLACKHOLE ? 'blackhole' : 'unicast',
    dst: { addr: a.RTA_DST ?? { family, value: 0n }, len: header.rtm_dst_len },
    ...(a.RTA_GATEWAY ? { via: a.RTA_GATEWAY } : {}),
    ...(dev === undefined ? {} : { dev }),
    onlink: (header.rtm_flags & RTNH_F_ONLINK) !== 0,
    protocol: header.rtm_protocol,
    ...(metric === undefined ? {} : { metric }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(oif === undefined ? {} : { ifindex: oif }),
    rtmType: header.rtm_type,
    scope: header.rtm_scope,
    tos: header.rtm_tos,
    ...(a.RTA_PREFSRC ? { src: a.RTA_PREFSRC } : {}),
    odd: !isPlainType || Object.keys(metrics).length > 0 || ODD.some((name) => a[name] !== undefined),
  };
}

/** Attributes that no route of ours has. */
const ODD = [
  'RTA_SRC',
  'RTA_PREFSRC',
  'RTA_MULTIPATH',
  'RTA_FLOW',
  'RTA_VIA',
  'RTA_NEWDST',
  'RTA_ENCAP',
  'RTA_EXPIRES',
  'RTA_NH_ID',
] as const satisfies readonly (keyof RouteAttributes)[];

const RTN = { unicast: RTN_UNICAST, blackhole: RTN_BLACKHOLE } as const;

/** IPv4 tells how far away the destination is: without a gateway it is on the link. */
const scopeFor = (o: Route): number =>
  o.type === 'unicast' && !o.via && o.dst.addr.family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;

function write(o: Route, names: Names): [Partial<Rtm>, RouteAttributes] {
  return [
    {
      rtm_family: afOf(o.dst.addr.family),
      rtm_dst_len: o.dst.len,
      rtm_table: RT_TABLE_MAIN,
      rtm_protocol: o.protocol,
      rtm_scope: scopeFor(o),
      rtm_type: RTN[o.type],
      rtm_flags: o.onlink ? RTNH_F_ONLINK : 0,
    },
    {
      RTA_DST: o.dst.addr,
      RTA_GATEWAY: o.via,
      RTA_OIF: o.dev === undefined ? undefined : names.ifindex(o.dev),
      RTA_PRIORITY: o.metric,
      RTA_METRICS: o.mtu === undefined ? undefined : { RTAX_MTU: o.mtu },
    },
  ];
}

/** Refused when the prefix is taken at this metric. There is no replacing: see {@link ./diff.ts}. */
export const createRoute = (o: Route, names: Names): Request<Rtm, RouteAttributes> =>
  route.create(...write(o, names));

/** Behind what has the same prefix and metric. */
export const appendRoute = (o: Route, names: Names): Request<Rtm, RouteAttributes> => ({
  ...createRoute(o, names),
  flags: NLM_F_CREATE | NLM_F_APPEND,
});

/**
 * Exactly this one, as far as the kernel compares: it takes a missing metric for "any", so IPv6's default is spelt out,
 * and finds no multipath route by gateway, so that one goes by prefix, metric and protocol.
 */
export function deleteRoute(o: Route | ObservedRoute, names: Names): Request<Rtm, RouteAttributes> {
  const seen = 'rtmType' in o ? o : undefined;
  const isSimple = o.type === 'unicast' && o.dev !== undefined;
  return route.remove(
    {
      rtm_family: afOf(o.dst.addr.family),
      rtm_dst_len: o.dst.len,
      rtm_tos: seen?.tos ?? 0,
      rtm_table: RT_TABLE_MAIN,
      rtm_protocol: o.protocol,
      rtm_scope: RT_SCOPE_NOWHERE,
      rtm_type: seen?.rtmType ?? RTN[o.type],
    },
    {
      RTA_DST: o.dst.addr,
      RTA_GATEWAY: o.via,
      RTA_OIF: isSimple ? (seen?.ifindex ?? names.ifindex(o.dev!)) : undefined,
      RTA_PRIORITY: o.metric ?? (o.dst.addr.family === 6 ? IPV6_METRIC : undefined),
      RTA_METRICS: o.mtu === undefined ? undefined : { RTAX_MTU: o.mtu },
    },
  );
}
