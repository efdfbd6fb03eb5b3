import { sameAddr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import { NLM_F_APPEND, NLM_F_CREATE } from '../netlink/header.ts';
import type { Message, Request } from '../netlink/message.ts';
import {
  AF_BRIDGE,
  type Ndm,
  type NeighAttributes,
  NTF_SELF,
  NUD_PERMANENT,
  neigh,
} from '../netlink/rtnl.ts';
import type { Names } from './names.ts';
import type { ObservedFdb } from './observed.ts';
import type { Fdb, Owner } from './types.ts';

export const sameFdb = (o: ObservedFdb, wanted: Fdb): boolean =>
  o.odd === undefined && sameAddr(o.dst, wanted.dst);

export const ownsFdb = (o: ObservedFdb, owner: Owner): boolean => owner.devices.has(o.dev);

/**
 * May the entry be replaced in one step? The VXLAN driver refuses NLM_F_REPLACE for multicast MACs and for the
 * all-zero one, which stands for "everything else" (drivers/net/vxlan: vxlan_fdb_update_existing).
 */
export const isUnicast = (mac: Mac): boolean =>
  (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00';

/** Of one VXLAN link. */
export const dumpFdb = (ifindex: number): Request<Ndm, NeighAttributes> =>
  neigh.dump({ ndm_family: AF_BRIDGE, ndm_ifindex: ifindex });

export function readFdb(
  { header, attributes: a }: Message<Ndm, NeighAttributes>,
  names: Names,
): ObservedFdb | undefined {
  const dev = names.name(header.ndm_ifindex);
  const isOurs = header.ndm_state & NUD_PERMANENT && header.ndm_flags & NTF_SELF;
  if (!isOurs || dev === undefined || !a.NDA_LLADDR) return undefined;
  const { NDA_PORT: port, NDA_VNI: vni, NDA_IFINDEX: via } = a;
  const odd = port !== undefined || vni !== undefined || via !== undefined || a.NDA_NH_ID !== undefined;
  return {
    kind: 'fdb',
    dev,
    ifindex: header.ndm_ifindex,
    mac: a.NDA_LLADDR,
    ...(a.NDA_DST ? { dst: a.NDA_DST } : {}),
    ...(odd ? { odd: { port, vni, via } } : {}),
  };
}

const self = (ifindex: number): Partial<Ndm> => ({
  ndm_family: AF_BRIDGE,
  ndm_ifindex: ifindex,
  ndm_state: NUD_PERMANENT,
  ndm_flags: NTF_SELF,
});

/** Moves the first remote of a unicast MAC in one step. */
export const putFdb = ({ dev, mac, dst }: Fdb, names: Names): Request<Ndm, NeighAttributes> =>
  neigh.put(self(names.ifindex(dev)), { NDA_LLADDR: mac, NDA_DST: dst });

/** One more remote of a multicast MAC. */
export const appendFdb = ({ dev, mac, dst }: Fdb, names: Names): Request<Ndm, NeighAttributes> => ({
  ...neigh.create(self(names.ifindex(dev)), { NDA_LLADDR: mac, NDA_DST: dst }),
  flags: NLM_F_CREATE | NLM_F_APPEND,
});

/** Just this remote; the last one takes the entry with it. */
export const deleteFdb = ({ ifindex, mac, dst, odd }: ObservedFdb): Request<Ndm, NeighAttributes> =>
  neigh.remove(self(ifindex), {
    NDA_LLADDR: mac,
    NDA_DST: dst,
    NDA_PORT: odd?.port,
    NDA_VNI: odd?.vni,
    NDA_IFINDEX: odd?.via,
  });
