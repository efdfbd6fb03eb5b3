import { ROUTE_PROTOCOL } from '../contract.ts';
import { type Addr, bits, type Family } from '../net/addr.ts';
import { network } from '../net/prefix.ts';
import type { ObservedRoute } from './observed.ts';

/** linux/rtnetlink.h: a route that leads somewhere. */
export const RTN_UNICAST = 1;

/** What of a route decides where packets go. */
export type WayOut = Pick<ObservedRoute, 'dst' | 'dev' | 'via' | 'metric' | 'rtmType' | 'tos' | 'protocol'>;

/** A route's priority as the kernel compares it; the least wins. */
export const priority = (r: Pick<WayOut, 'dst' | 'metric'>): number =>
  r.metric ?? (r.dst.addr.family === 4 ? 0 : 1024);

/** Routes of one prefix length by network address: the best of each. */
interface Level {
  readonly shift: bigint;
  readonly routes: Map<bigint, WayOut>;
}

function levels(family: Family, routes: readonly WayOut[]): Level[] {
  const found = new Map<number, Level>();
  for (const route of routes) {
    const { addr, len } = route.dst;
    // Our own routes are what the answer is for, and one for a type of service is not asked for ordinary packets.
    if (addr.family !== family || route.protocol === ROUTE_PROTOCOL || route.tos !== 0) continue;
    const level = found.get(len) ?? { shift: BigInt(bits(family) - len), routes: new Map() };
    found.set(len, level);
    const value = network(route.dst).addr.value;
    const other = level.routes.get(value);
    if (!other || priority(route) < priority(other)) level.routes.set(value, route);
  }
  return [...found].sort(([a], [b]) => b - a).map(([, level]) => level);
}

/**
 * Would the kernel send to an address straight out of `dev`, without a gateway? Longest-prefix match over routes of the
 * main table, made ready once for many questions.
 */
export function onLinkOf(dev: string, routes: readonly WayOut[]): (a: Addr) => boolean {
  const tables = { 4: levels(4, routes), 6: levels(6, routes) };
  return (a) => {
    for (const { shift, routes: level } of tables[a.family]) {
      const route = level.get((a.value >> shift) << shift);
      if (route) return route.rtmType === RTN_UNICAST && !route.via && route.dev === dev;
    }
    return false;
  };
}
