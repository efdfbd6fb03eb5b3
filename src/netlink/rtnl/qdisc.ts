import { pad, s32, string, u8, u32 } from '../codecs.ts';
import { type Request, type Shape, verbs } from '../message.ts';
import { attributes, type HeaderOf, header, type ValuesOf } from '../policy.ts';

/** linux/rtnetlink.h, linux/pkt_sched.h. */
export const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const TC_H_ROOT = 0xffff_ffff;

/** struct tcmsg */
const tcmsg = header('tcmsg', {
  tcm_family: u8,
  tcm_pad: pad(3),
  tcm_ifindex: s32,
  tcm_handle: u32,
  tcm_parent: u32,
  tcm_info: u32,
});
export type Tc = HeaderOf<typeof tcmsg>;

const TCA = attributes({ TCA_KIND: [1, string] });
export type QdiscAttributes = ValuesOf<typeof TCA>;

const shape: Shape<Tc, QdiscAttributes> = { name: 'qdisc', header: tcmsg, attributes: TCA };
const qdisc = verbs(shape, { new: RTM_NEWQDISC, del: RTM_DELQDISC, get: RTM_GETQDISC });

/** `tc qdisc replace dev … root <kind>` */
export const rootQdisc = (ifindex: number, kind: string): Request<Tc, QdiscAttributes> =>
  qdisc.put({ tcm_ifindex: ifindex, tcm_parent: TC_H_ROOT }, { TCA_KIND: kind });
