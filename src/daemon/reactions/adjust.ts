import type { KernelObject, Route, VxlanLink } from '../../kernel/types.ts';
import { keyOf, objectKey } from '../../kernel/types.ts';
import { memo } from '../../memo.ts';
import type { Family } from '../../net/addr.ts';
import { network, type Prefix } from '../../net/prefix.ts';
import type { LeaseView, SubnetKey } from '../../subnet/types.ts';
import { subnetOf } from '../../subnet/types.ts';

/** What probing has taught about paths and devices: how desired objects are to be other than leases alone would have them. */
export interface Adjustments {
  /** Routes to peers that are lowered. */
  readonly routeMtus: readonly RouteMtu[];
  /** Whether devices fill in checksums that senders leave to them, by name; the others' stays as it is. */
  readonly txChecksums: ReadonlyMap<string, boolean>;
}

export interface RouteMtu {
  readonly key: SubnetKey;
  readonly family: Family;
  /** Bytes. */
  readonly mtu: number;
}

export const NO_ADJUSTMENTS: Adjustments = { routeMtus: [], txChecksums: new Map() };

/**
 * The objects as they are to be, the same (===) where there is nothing to change. `ownRoute` (of backends with one route
 * for all peers) makes those of peers that have none among the objects.
 */
export function* adjusted(
  objects: Iterable<KernelObject>,
  { routeMtus, txChecksums }: Adjustments,
  view: LeaseView,
  ownRoute: ((subnet: Prefix) => Route) | undefined,
): Generator<KernelObject> {
  const wanted = new Map<string, { readonly mtu: number; readonly subnet: Prefix }>();
  for (const { key, family, mtu } of routeMtus) {
    const lease = view.peers.get(key);
    const subnet = lease && subnetOf(lease, family);
    if (subnet) wanted.set(routeKey(subnet), { mtu, subnet });
  }
  for (const o of objects) {
    if (o.kind === 'route' && wanted.size > 0) {
      const key = keyOf(o);
      const found = wanted.get(key);
      wanted.delete(key);
      yield found ? lowered(o, found.mtu) : o;
    } else if (o.kind === 'link' && o.vxlan) yield withChecksums(o, txChecksums.get(o.name));
    else yield o;
  }
  if (ownRoute) for (const { mtu, subnet } of wanted.values()) yield lowered(ownRoute(subnet), mtu);
}

const routeKey = memo((subnet: Prefix): string =>
  objectKey({ kind: 'route', dst: network(subnet) } as Route),
);

/** The last one of each route. */
const lowerings = memo((_: Route) => ({ route: undefined as Route | undefined }));

function lowered(route: Route, mtu: number): Route {
  const last = lowerings(route);
  if (last.route?.mtu !== mtu) last.route = { ...route, mtu };
  return last.route!;
}

const withChecksums = (link: VxlanLink, txChecksum: boolean | undefined): VxlanLink =>
  txChecksum === undefined ? link : { ...link, txChecksum };
