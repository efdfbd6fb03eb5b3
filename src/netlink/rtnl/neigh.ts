import { addr, mac, pad, s32, u8, u16, u16be, u32 } from '../codecs.ts';
import { type Shape, verbs } from '../message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../policy.ts';

/** linux/rtnetlink.h, linux/neighbour.h. With ndm_family AF_BRIDGE these messages are about forwarding databases. */
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const NUD_NONE = 0x00;
export const NUD_INCOMPLETE = 0x01;
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;

export const NTF_SELF = 1 << 1;
export const NTF_MASTER = 1 << 2;
/** The host answers for the address (linux/neighbour.h); such entries are apart from all others. */
export const NTF_PROXY = 1 << 3;
export const NTF_EXT_LEARNED = 1 << 4;

/** struct ndmsg */
export const ndmsg = header('ndmsg', {
  ndm_family: u8,
  ndm_pad1: pad(1),
  ndm_pad2: pad(2),
  ndm_ifindex: s32,
  ndm_state: u16,
  ndm_flags: u8,
  ndm_type: u8,
});
export type Ndm = HeaderOf<typeof ndmsg>;

export const NDA = attributes({
  /** The neighbour's address; of a VXLAN's FDB entry: the VTEP. */
  NDA_DST: [1, addr],
  NDA_LLADDR: [2, mac],
  NDA_PROBES: [4, u32],
  NDA_VLAN: [5, u16],
  NDA_PORT: [6, u16be],
  NDA_VNI: [7, u32],
  NDA_IFINDEX: [8, u32],
  NDA_MASTER: [9, u32],
  NDA_LINK_NETNSID: [10, s32],
  NDA_SRC_VNI: [11, u32],
  NDA_PROTOCOL: [12, u8],
  NDA_NH_ID: [13, u32],
  NDA_FLAGS_EXT: [15, u32],
});
export type NeighAttributes = ValuesOf<typeof NDA>;

export const neighShape: Shape<Ndm, NeighAttributes> = { name: 'neighbour', header: ndmsg, attributes: NDA };
/**
 * Dumps are filtered by NDA_IFINDEX; for AF_BRIDGE by `ndm_ifindex`. An FDB entry that is put where the same MAC has
 * another destination gets its destination replaced. A dump of the FDB may lack an entry when others are removed
 * meanwhile, and the kernel does not say so (no NLM_F_DUMP_INTR): what seems missing may be there.
 */
export const neigh = verbs(neighShape, { new: RTM_NEWNEIGH, del: RTM_DELNEIGH, get: RTM_GETNEIGH });
