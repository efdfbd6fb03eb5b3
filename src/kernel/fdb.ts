import { sameAddr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { ObservedFdb } from './observed.ts';
import type { Fdb, Owner } from './types.ts';

export const sameFdb = (o: ObservedFdb, wanted: Fdb): boolean => !o.odd && sameAddr(o.dst, wanted.dst);

export const ownsFdb = (o: ObservedFdb, owner: Owner): boolean => owner.devices.has(o.dev);

/**
 * May the entry be replaced in one step? The VXLAN driver refuses NLM_F_REPLACE for multicast MACs and for the
 * all-zero one, which stands for "everything else" (drivers/net/vxlan: vxlan_fdb_update_existing).
 */
export const isUnicast = (mac: Mac): boolean =>
  (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00';
