import { InvariantError } from '../errors.ts';
import { formatAddr } from '../net/addr.ts';
import type { Doomed } from './kernel.ts';
import { plainRoute } from './route.ts';
import { type KernelObject, KIND_ORDER, type KindName, keyOf, objectKey } from './types.ts';

type OfKind<K extends KindName> = Extract<KernelObject, { kind: K }>;

/** Everything the kernel should hold, by kind and key. */
export type DesiredState = { readonly [K in KindName]: ReadonlyMap<string, OfKind<K>> };

export const NOTHING_DESIRED: DesiredState = {
  link: new Map(),
  sysctl: new Map(),
  address: new Map(),
  neigh: new Map(),
  fdb: new Map(),
  route: new Map(),
};

/**
 * Sorts objects into a {@link DesiredState}. Of two with one key the first is kept; it yields after each object, so
 * that the caller can take slices.
 */
export function* sortDesired(objects: Iterable<KernelObject>): Generator<void, DesiredState> {
  const sorted = Object.fromEntries(KIND_ORDER.map((kind) => [kind, new Map()])) as {
    [K in KindName]: Map<string, OfKind<K>>;
  };
  for (const o of objects) {
    const object = o.kind === 'route' ? plainRoute(o) : o;
    const of = sorted[object.kind] as Map<string, KernelObject> | undefined;
    if (!of)
      throw new InvariantError(
        `there is no kernel object of kind ${JSON.stringify((o as { kind: unknown }).kind)}`,
      );
    const key = keyOf(object);
    if (!of.has(key)) of.set(key, object);
    yield;
  }
  return sorted;
}

/** All at once: for small sets and tests. */
export function desiredState(objects: Iterable<KernelObject>): DesiredState {
  const sorting = sortDesired(objects);
  for (;;) {
    const step = sorting.next();
    if (step.done) return step.value;
  }
}

/** The device whose absence keeps an object from being put; undefined when it needs none. */
export function deviceOf(o: KernelObject): string | undefined {
  return o.kind === 'link' ? undefined : o.dev;
}

/** Are two desired objects of one key the same wish? */
export function sameWish(a: KernelObject, b: KernelObject): boolean {
  return a === b || wish(a) === wish(b);
}

/** The value behind the key, as text: compared only for objects that are about to be changed. */
function wish(o: KernelObject): string {
  return JSON.stringify(o, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value));
}

/** An object in the words of `ip`. */
export function describe(o: KernelObject | Doomed): string {
  switch (o.kind) {
    case 'link':
      return `link ${o.name}`;
    case 'neigh':
      return `${objectKey(o)} lladdr ${o.mac}`;
    case 'fdb':
      return `fdb ${o.mac} dev ${o.dev}${o.dst ? ` dst ${formatAddr(o.dst)}` : ''}`;
    case 'route': {
      const way =
        o.type === 'blackhole' ? ' blackhole' : `${o.via ? ` via ${formatAddr(o.via)}` : ''} dev ${o.dev}`;
      return `${objectKey(o)}${way}${o.onlink ? ' onlink' : ''}`;
    }
    case 'sysctl':
      return `${objectKey(o)} = ${o.value}`;
    default:
      return objectKey(o);
  }
}
