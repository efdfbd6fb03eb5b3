import { sameAddr } from '../net/addr.ts';
import { scopeOf } from '../net/scope.ts';
import type { Message, Request } from '../netlink/message.ts';
import {
  type AddressAttributes,
  afOf,
  IFA_F_DADFAILED,
  IFA_F_NODAD,
  type IfAddr,
  address as ip,
} from '../netlink/rtnl.ts';
import type { Names } from './names.ts';
import type { ObservedAddress } from './observed.ts';
import type { Address, Owner } from './types.ts';

/**
 * On one of our devices, and not an IPv6 link-local one: those the kernel makes by itself when the device comes up,
 * and makes again when they are removed.
 */
export const ownsAddress = (o: ObservedAddress, owner: Owner): boolean =>
  owner.devices.has(o.dev) && !(o.addr.addr.family === 6 && scopeOf(o.addr.addr) === 'link');

/** Not when a duplicate was found at some time (the kernel keeps such an address unused), nor point-to-point. */
export const isUsable = (o: ObservedAddress): boolean =>
  (o.flags & IFA_F_DADFAILED) === 0 && o.peer === undefined;

/**
 * Would the kernel refuse `wanted` because of `o`? IPv6 knows one address once on a device, whatever its prefix length
 * (net/ipv6/addrconf.c ipv6_add_addr_hash); IPv4 holds the same address with several lengths.
 */
export const standsInTheWay = (o: ObservedAddress, wanted: Address): boolean =>
  wanted.addr.addr.family === 6 && sameAddr(o.addr.addr, wanted.addr.addr);

/** All addresses, or those of one link. */
export const dumpAddresses = (ifindex?: number): Request<IfAddr, AddressAttributes> =>
  ip.dump(ifindex === undefined ? {} : { ifa_index: ifindex });

export function readAddress(
  { header, attributes }: Message<IfAddr, AddressAttributes>,
  names: Names,
): ObservedAddress | undefined {
  const dev = names.name(header.ifa_index);
  // IPv4 tells both; they differ on point-to-point links, where IFA_ADDRESS is the other end's.
  const own = attributes.IFA_LOCAL ?? attributes.IFA_ADDRESS;
  if (dev === undefined || !own) return undefined;
  const peer = attributes.IFA_ADDRESS;
  return {
    kind: 'address',
    dev,
    ifindex: header.ifa_index,
    addr: { addr: own, len: header.ifa_prefixlen },
    flags: attributes.IFA_FLAGS ?? header.ifa_flags,
    scope: header.ifa_scope,
    ...(peer && !sameAddr(peer, own) ? { peer } : {}),
  };
}

/** Without duplicate address detection: nobody else on the overlay can have it, and it is needed at once. */
export const createAddress = ({ dev, addr }: Address, names: Names): Request<IfAddr, AddressAttributes> =>
  ip.create(
    { ifa_family: afOf(addr.addr.family), ifa_prefixlen: addr.len, ifa_index: names.ifindex(dev) },
    {
      IFA_LOCAL: addr.addr,
      IFA_ADDRESS: addr.addr,
      ...(addr.addr.family === 6 ? { IFA_FLAGS: IFA_F_NODAD } : {}),
    },
  );

/** IFA_ADDRESS has the kernel compare the prefix length too. */
export const deleteAddress = ({ addr, ifindex, peer }: ObservedAddress): Request<IfAddr, AddressAttributes> =>
  ip.remove(
    { ifa_family: afOf(addr.addr.family), ifa_prefixlen: addr.len, ifa_index: ifindex },
    { IFA_LOCAL: addr.addr, IFA_ADDRESS: peer ?? addr.addr },
  );
