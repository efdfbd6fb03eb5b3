import { sameAddr } from '../net/addr.ts';
import { scopeOf } from '../net/scope.ts';
import type { ObservedAddress } from './observed.ts';
import type { Address, Owner } from './types.ts';

/** linux/if_addr.h */
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_PERMANENT = 0x80;

/**
 * On one of our devices, and not an IPv6 link-local one: those the kernel makes by itself when the device comes up,
 * and makes again when they are removed.
 */
export const ownsAddress = (o: ObservedAddress, owner: Owner): boolean =>
  owner.devices.has(o.dev) && !(o.addr.addr.family === 6 && scopeOf(o.addr.addr) === 'link');

/** A duplicate was found at some time: the kernel keeps such an address and does not use it. */
export const isUsable = (o: ObservedAddress): boolean => (o.flags & IFA_F_DADFAILED) === 0;

/**
 * Would the kernel refuse `wanted` because of `o`? IPv6 knows one address once on a device, whatever its prefix length
 * (net/ipv6/addrconf.c ipv6_add_addr_hash); IPv4 holds the same address with several lengths.
 */
export const standsInTheWay = (o: ObservedAddress, wanted: Address): boolean =>
  wanted.addr.addr.family === 6 && sameAddr(o.addr.addr, wanted.addr.addr);
