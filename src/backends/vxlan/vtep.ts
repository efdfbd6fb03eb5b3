import { fields, isObject, show } from '../../fields.ts';
import { type Mac, macBytes, parseMac } from '../../net/mac.ts';
import type { BackendData } from '../../subnet/types.ts';

/** flannel keeps the VNI of a lease in 16 bits: it writes the low half of a larger one, and cannot read a whole one. */
const leaseVni = (vni: number): number => vni & 0xffff;

/** What a lease value says of a tunnel end, in the key order flannel writes. */
export const vtepData = (vni: number, mac: Mac): BackendData => ({ VNI: leaseVni(vni), VtepMAC: mac });

/** The MAC of a peer's tunnel end out of its BackendData, or what is wrong with it. */
export function parseVtep(
  data: BackendData,
  vni: number,
): { readonly mac: Mac } | { readonly wrong: string } {
  if (!isObject(data))
    return { wrong: `its BackendData is ${show(data)}, not an object with VNI and VtepMAC` };
  const f = fields(data);
  const theirs = f.integer('VNI', 0, 0xff_ffff, vni);
  const mac = f.text('VtepMAC', 'a MAC address', parseMac);
  const [problem] = f.problems;
  if (problem) return { wrong: `its ${problem.path} is ${problem.got}, not ${problem.expected}` };
  if (!mac) return { wrong: 'its BackendData has no VtepMAC' };
  if (theirs !== vni && theirs !== leaseVni(vni)) return { wrong: `its VNI is ${theirs}, not ${vni}` };
  const bytes = macBytes(mac);
  if (bytes[0]! & 1) return { wrong: `its VtepMAC ${mac} is a multicast address` };
  if (bytes.every((b) => b === 0)) return { wrong: `its VtepMAC is ${mac}` };
  return { mac };
}
