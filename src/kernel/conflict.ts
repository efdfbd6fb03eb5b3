import { formatPrefix, network, type Prefix } from '../net/prefix.ts';
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

const sizeKey = (p: Prefix): number => p.addr.family * 256 + p.len;

const keyOf = (dst: Prefix, metric: number | undefined): string =>
  objectKey({ kind: 'route', dst, ...(metric === undefined ? {} : { metric }) } as Route);

/**
 * The prefixes of this host's other devices, against which routes to peers are held. A peer's prefix that is also that
 * of a local device (`cni0` after the lease has moved) must not be routed away. One that only contains a local address
 * is routed, and reported. A wider local prefix is no conflict: an overlay out of the underlay's own range works.
 */
export class LocalPrefixes {
  /** By family and length (numbers, for thousands of routes are looked up), then by address. */
  readonly #bySize = new Map<number, Map<bigint, string>>();
  readonly #all: { readonly dev: string; readonly prefix: Prefix }[] = [];

  constructor(observed: ObservedState, owner: Owner) {
    for (const { dev, addr } of observed.addresses()) {
      if (owner.devices.has(dev) || addr.len === 0) continue;
      this.#all.push({ dev, prefix: addr });
      const { value } = network(addr).addr;
      const of = this.#bySize.get(sizeKey(addr)) ?? new Map<bigint, string>();
      this.#bySize.set(sizeKey(addr), of.set(value, `${formatPrefix(addr)} on ${dev}`));
    }
  }

  /** Who has this very prefix, in words. A blackhole is meant to lie below a connected route. */
  holder(route: Route): string | undefined {
    return route.type === 'blackhole'
      ? undefined
      : this.#bySize.get(sizeKey(route.dst))?.get(route.dst.addr.value);
  }

  /**
   * Local addresses inside peers' prefixes: found by asking for each length that is routed. Yields `undefined` now and
   * then, for there may be thousands of routes.
   */
  *inside(routes: ReadonlyMap<string, Route>): Generator<Conflict | undefined> {
    const shapes = new Map<number, Set<number | undefined>>();
    let count = 0;
    for (const { type, dst, metric } of routes.values()) {
      if (++count % BREATH === 0) yield undefined;
      if (type === 'blackhole') continue;
      const metrics = shapes.get(sizeKey(dst));
      if (!metrics) shapes.set(sizeKey(dst), new Set([metric]));
      else if (!metrics.has(metric)) metrics.add(metric);
    }
    for (const { dev, prefix } of this.#all) {
      if (++count % BREATH === 0) yield undefined;
      for (let len = 0; len < prefix.len; len++) {
        const metrics = shapes.get(prefix.addr.family * 256 + len);
        if (!metrics) continue;
        const dst = network({ addr: prefix.addr, len });
        for (const metric of metrics) {
          const key = keyOf(dst, metric);
          const object = routes.get(key);
          if (object && object.dev !== dev) {
            yield {
              kind: 'conflict',
              key,
              object,
              with: `${formatPrefix(prefix)} on ${dev} inside it`,
              withheld: false,
            };
          }
        }
      }
    }
  }
}
