import { isObject, show } from '../../fields.ts';
import { type Mac, parseMac } from '../../net/mac.ts';
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
  const { VNI: theirs = vni, VtepMAC: text } = data;
  const mac = typeof text === 'string' ? parseMac(text) : undefined;
  if (!mac) return { wrong: `its VtepMAC is ${show(text)}, not a MAC address` };
  if (theirs !== vni && theirs !== leaseVni(vni)) return { wrong: `its VNI is ${show(theirs)}, not ${vni}` };
  // IEEE 802: the lowest bit of the first byte marks a group address.
  if (Number.parseInt(mac.slice(0, 2), 16) & 1) return { wrong: `its VtepMAC ${mac} is a multicast address` };
  if (mac === '00:00:00:00:00:00') return { wrong: `its VtepMAC is ${mac}` };
  return { mac };
}
