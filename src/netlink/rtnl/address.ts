import { addr, string, u8, u32 } from '../codecs.ts';
import { type Shape, verbs } from '../message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../policy.ts';

/** linux/rtnetlink.h, linux/if_addr.h. */
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

export const IFA_F_SECONDARY = 0x01;
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_TENTATIVE = 0x40;
export const IFA_F_PERMANENT = 0x80;
export const IFA_F_NOPREFIXROUTE = 0x200;

/** struct ifaddrmsg */
export const ifaddrmsg = header('ifaddrmsg', {
  ifa_family: u8,
  ifa_prefixlen: u8,
  /** The low 8 bits of IFA_FLAGS. */
  ifa_flags: u8,
  ifa_scope: u8,
  ifa_index: u32,
});
export type IfAddr = HeaderOf<typeof ifaddrmsg>;

/** struct ifa_cacheinfo: lifetimes in seconds, time stamps in hundredths. */
const ifa_cacheinfo = header('ifa_cacheinfo', {
  ifa_prefered: u32,
  ifa_valid: u32,
  cstamp: u32,
  tstamp: u32,
});

export const IFA = attributes({
  /** The prefix's address; on a point-to-point link the other end's. */
  IFA_ADDRESS: [1, addr],
  /** The device's own. IPv6 sends it for point-to-point addresses only. */
  IFA_LOCAL: [2, addr],
  IFA_LABEL: [3, string],
  IFA_BROADCAST: [4, addr],
  IFA_CACHEINFO: [6, ifa_cacheinfo],
  IFA_FLAGS: [8, u32],
  IFA_RT_PRIORITY: [9, u32],
  IFA_TARGET_NETNSID: [10, u32],
  IFA_PROTO: [11, u8],
});
export type AddressAttributes = ValuesOf<typeof IFA>;

export const addressShape: Shape<IfAddr, AddressAttributes> = {
  name: 'address',
  header: ifaddrmsg,
  attributes: IFA,
};
/** A dump filtered by `ifa_index` may lack entries without NLM_F_DUMP_INTR when others are removed meanwhile; a whole one says so. */
export const address = verbs(addressShape, { new: RTM_NEWADDR, del: RTM_DELADDR, get: RTM_GETADDR });
