import { containsPrefix, formatPrefix, network, type Prefix } from '../net/prefix.ts';
import type { ObservedState } from './state.ts';
import { type KernelObject, type Owner, objectKey, type Route } from './types.ts';

/** Something of others' is where an object of ours should be. Reported, never fought over. */
export interface Conflict {
  readonly kind: 'conflict';
  readonly key: string;
  readonly object: KernelObject;
  /** What is in the way, in words. */
  readonly with: string;
  /** The object is not put for that. */
  readonly withheld: boolean;
}

/** Routes looked at between two breaths. */
const BREATH = 256;

/** Family and length of a prefix as one number: thousands are looked at. */
const sizeOf = ({ addr, len }: Prefix): number => addr.family * 256 + len;

const keyOf = (dst: Prefix, metric: number | undefined): string =>
  objectKey({ kind: 'route', dst, ...(metric === undefined ? {} : { metric }) } as Route);

/** The prefixes of this host's other devices, held against the routes to peers. */
export interface LocalPrefixes {
  /** Whose the very prefix of a route is, in words, by the route's key. */
  readonly taken: ReadonlyMap<string, string>;
  /** Local addresses inside peers' prefixes. */
  readonly inside: readonly Conflict[];
}

/**
 * A peer's prefix that is also that of a local device (`cni0` after the lease has moved) must not be routed away. One that
 * only contains a local address is routed, and reported. A wider local prefix is no conflict: an overlay out of the
 * underlay's own range works. A blackhole is meant to lie below a connected route. Yields `undefined` now and then, for
 * there may be thousands of routes.
 */
export function* localPrefixes(
  observed: ObservedState,
  owner: Owner,
  routes: ReadonlyMap<string, Route>,
): Generator<undefined, LocalPrefixes> {
  const taken = new Map<string, string>();
  const inside: Conflict[] = [];
  const shapes = yield* shapesOf(routes.values());
  let count = 0;
  for (const { dev, addr: prefix } of observed.addresses()) {
    if (++count % BREATH === 0) yield undefined;
    if (owner.devices.has(dev)) continue;
    for (const [size, metrics] of shapes) {
      const dst = { addr: prefix.addr, len: size % 256 };
      if (sizeOf(dst) !== size || dst.len > prefix.len) continue;
      for (const metric of metrics) {
        const key = keyOf(network(dst), metric);
        const object = routes.get(key);
        if (!object || object.type === 'blackhole') continue;
        const words = `${formatPrefix(prefix)} on ${dev}`;
        if (dst.len === prefix.len) taken.set(key, words);
        else if (object.dev !== dev && !object.home?.some((home) => containsPrefix(home, prefix))) {
          inside.push({ kind: 'conflict', key, object, with: `${words} inside it`, withheld: false });
        }
      }
    }
  }
  return { taken, inside };
}

/** The metrics of routes by their {@link sizeOf}: mostly it is one. */
function* shapesOf(routes: Iterable<Route>): Generator<undefined, Map<number, Set<number | undefined>>> {
  const shapes = new Map<number, Set<number | undefined>>();
  let last: Route | undefined;
  let count = 0;
  for (const route of routes) {
    if (++count % BREATH === 0) yield undefined;
    const { type, dst, metric } = route;
    if (type === 'blackhole') continue;
    // Thousands in a row are alike.
    if (
      last &&
      last.dst.len === dst.len &&
      last.dst.addr.family === dst.addr.family &&
      last.metric === metric
    )
      continue;
    last = route;
    const size = sizeOf(dst);
    shapes.set(size, (shapes.get(size) ?? new Set()).add(metric));
  }
  return shapes;
}
