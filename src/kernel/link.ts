import { LINK_ALIAS } from '../contract.ts';
import { sameAddr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { ObservedLink } from './observed.ts';
import type { ObservedState } from './state.ts';
import type { Link, Owner } from './types.ts';

/** What a change of a link can reach in place (drivers/net/vxlan: vxlan_changelink; seen with Linux 6.18). */
export interface LinkChange {
  readonly mac: boolean;
  readonly mtu: boolean;
  readonly up: boolean;
  readonly alias: boolean;
  /** `local` within its family, the underlay device, learning. */
  readonly vxlan: boolean;
}

/** Ours by name, or by the mark of a daemon that had another configuration. */
export const ownsLink = (o: ObservedLink, owner: Owner): boolean =>
  owner.devices.has(o.name) || o.alias === LINK_ALIAS;

/**
 * What has to be done to `o`: nothing (`same`), a change in place, or `rebuild` for what the kernel will not change:
 * the type, VNI, port, GBP, the family of `local`. A default destination also means rebuild: it would flood.
 */
export function compareLink(
  o: ObservedLink,
  wanted: Link,
  state: Pick<ObservedState, 'link'>,
): 'same' | 'rebuild' | LinkChange {
  const v = o.vxlan;
  const w = wanted.vxlan;
  if (!v || v.vni !== w.vni || v.port !== w.port || v.gbp !== w.gbp || v.remote) return 'rebuild';
  if (v.local && v.local.family !== w.local.family) return 'rebuild';
  const change: LinkChange = {
    mac: o.mac !== wanted.mac,
    mtu: o.mtu !== wanted.mtu,
    up: o.up !== wanted.up,
    alias: (o.alias ?? '') !== wanted.alias,
    vxlan:
      !sameAddr(v.local, w.local) ||
      v.learning !== w.learning ||
      v.underlay === undefined ||
      v.underlay !== state.link(w.underlay)?.ifindex,
  };
  return Object.values(change).includes(true) ? change : 'same';
}

/** The MAC of a VXLAN device of this name that is there already: peers know it, so it is kept. */
export function adoptableMac(state: Pick<ObservedState, 'link'>, name: string): Mac | undefined {
  const link = state.link(name);
  return link?.vxlan ? link.mac : undefined;
}
