import type { Message, Request } from '../netlink/message.ts';
import { afOf, type Ndm, type NeighAttributes, NUD_PERMANENT, neigh } from '../netlink/rtnl.ts';
import type { Names } from './names.ts';
import type { ObservedNeigh } from './observed.ts';
import type { Neigh, Owner } from './types.ts';

export const sameNeigh = (o: ObservedNeigh, wanted: Neigh): boolean => o.mac === wanted.mac;

/** Only PERMANENT neighbours are ever observed: what the kernel has learned is not ours, on no device. */
export const ownsNeigh = (o: ObservedNeigh, owner: Owner): boolean => owner.devices.has(o.dev);

/** Of one link, both families. */
export const dumpNeighs = (ifindex: number): Request<Ndm, NeighAttributes> =>
  neigh.dump({}, { NDA_IFINDEX: ifindex });

export function readNeigh(
  { header, attributes }: Message<Ndm, NeighAttributes>,
  names: Names,
): ObservedNeigh | undefined {
  const dev = names.name(header.ndm_ifindex);
  const { NDA_DST: addr, NDA_LLADDR: mac } = attributes;
  if ((header.ndm_state & NUD_PERMANENT) === 0 || dev === undefined || !addr || !mac) return undefined;
  return { kind: 'neigh', dev, ifindex: header.ndm_ifindex, addr, mac };
}

/** Takes the place of whatever the kernel has learned about the address. */
export const putNeigh = ({ dev, addr, mac }: Neigh, names: Names): Request<Ndm, NeighAttributes> =>
  neigh.put(
    { ndm_family: afOf(addr.family), ndm_ifindex: names.ifindex(dev), ndm_state: NUD_PERMANENT },
    { NDA_DST: addr, NDA_LLADDR: mac },
  );

export const deleteNeigh = ({ addr, ifindex }: ObservedNeigh): Request<Ndm, NeighAttributes> =>
  neigh.remove({ ndm_family: afOf(addr.family), ndm_ifindex: ifindex }, { NDA_DST: addr });
