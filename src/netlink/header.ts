/** Constants of linux/netlink.h, by their names there. */

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

/** sizeof(struct nlmsghdr): u32 length, u16 type, u16 flags, u32 sequence, u32 port id. */
export const NLMSG_HDRLEN = 16;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** Message types below this are netlink's own. */
export const NLMSG_MIN_TYPE = 16;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
/** The dump changed under the reader: it may lack or repeat entries. */
export const NLM_F_DUMP_INTR = 0x10;

/** With get requests: the whole table. */
export const NLM_F_DUMP = 0x300;

/** With new requests. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** With NLMSG_ERROR: the refused request is not echoed; attributes follow. */
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
