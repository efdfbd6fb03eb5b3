import { hash } from 'node:crypto';
import { type Addr, addrBytes } from '../../net/addr.ts';
import { localMac, type Mac, macFromBytes } from '../../net/mac.ts';
import type { AttachmentId } from '../types.ts';

/** What names an attachment among all of a host. */
export interface Named extends AttachmentId {
  readonly network: string;
}

/** Bytes of text that the kernel takes as IFLA_IFALIAS: IFALIASZ of linux/if.h, less the NUL, less one (net/core/dev.c dev_set_alias). */
const LONGEST_ALIAS = 254;

const sha256 = (text: string | Uint8Array): Buffer => hash('sha256', text, 'buffer');

/** None of the three can hold a line feed: what they are made of is checked by the protocol. */
const identity = ({ network, containerId, ifname }: Named): string => `${network}\n${containerId}\n${ifname}`;

/** The host's end of the veth: 15 characters, which is all that a name may have. */
export const hostIfName = (a: Named): string => `veth${hash('sha256', identity(a)).slice(0, 11)}`;

/** Might a device of this name be one of ours? Its alias tells. */
export const isHostIfName = (name: string): boolean => /^veth[0-9a-f]{11}$/.test(name);

const ALIAS = 'loden cni ';

/** Says to an operator, and to a sweep, whose the host's end is. */
export const hostAlias = ({ network, containerId, ifname }: Named): string =>
  cut(`${ALIAS}${network} ${containerId} ${ifname}`, LONGEST_ALIAS);

export const isHostAlias = (alias: string | undefined): boolean => alias?.startsWith(ALIAS) ?? false;

/** Of a bridge that was made here; one that is adopted keeps what it has. Not LINK_ALIAS: that marks the overlay's devices. */
export const BRIDGE_ALIAS = 'loden cni';

/** The host's end: nobody's address hangs on it, so it follows from the attachment. */
export const hostMac = (a: Named): Mac => localMac(sha256(`host\n${identity(a)}`));

/**
 * The MAC of who has these addresses, a pod or a gateway: an address that is given out again keeps its MAC, so that no
 * neighbour has a stale one. `0a:58` and the IPv4 address, else 32 bits of a hash of the first IPv6 address.
 */
export function addressMac(addresses: readonly Addr[]): Mac {
  const of = addresses.find((a) => a.family === 4) ?? addresses[0];
  if (!of) throw new RangeError('a MAC cannot be derived of no address');
  const bytes = addrBytes(of);
  const tail = of.family === 4 ? bytes : sha256(bytes).subarray(0, 4);
  return macFromBytes([0x0a, 0x58, ...tail]);
}

/** At most `size` bytes of UTF-8, no character cut in two. */
function cut(text: string, size: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= size) return text;
  let end = size;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString();
}
