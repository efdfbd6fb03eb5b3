import { addr, addrBytes } from '../../src/net/addr.ts';
import type { Netns } from './netns.ts';

/** Protocol number of UDP. */
const UDP = 17;
/** Bytes from the outer UDP header to the inner IP header: UDP, VXLAN, Ethernet. */
const TO_INNER = 8 + 8 + 14;
const TABLE = 'badnic';

/** Inner datagrams whose checksums are broken if they were left to the device. */
export interface Datagrams {
  /** Inner addresses. */
  readonly from: string;
  readonly to: string;
  /** Bytes of UDP header and payload. */
  readonly lengths: readonly number[];
}

/**
 * The sum that a sender leaves in the checksum field for the device to complete: of addresses, protocol and length, folded, not inverted
 * (`CHECKSUM_PARTIAL`, include/linux/skbuff.h).
 */
function pseudoHeaderSum(from: string, to: string, length: number): number {
  let sum = UDP + length;
  for (const bytes of [addrBytes(addr(from)), addrBytes(addr(to))]) {
    for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/**
 * A NIC that breaks checksums which are left to it inside VXLAN, and no others: what `sender` sends through a tunnel with a checksum field that holds nothing
 * but the pseudo-header's sum gets another start, so that it is completed to a wrong one.
 *
 * `last` is the device from which packets reach the receiver: the other end of the receiver's cable. Between veths a checksum would not be completed at
 * all, and the receiver would not look at it; so that device's offload is turned off. Returns what mends the NIC.
 */
export async function breakChecksums(
  sender: Netns,
  datagrams: readonly Datagrams[],
  last: { readonly netns: Netns; readonly dev: string },
): Promise<() => Promise<void>> {
  await last.netns.run(['ethtool', '-K', last.dev, 'tx', 'off']);
  const rules = datagrams.map(({ from, to, lengths }) => {
    const ipHeader = from.includes(':') ? 40 : 20;
    const length = (TO_INNER + ipHeader + 4) * 8;
    const protocol = (TO_INNER + (ipHeader === 40 ? 6 : 9)) * 8;
    // The fields for length and checksum are side by side.
    const both = lengths.map((n) => `0x${((n << 16) | pseudoHeaderSum(from, to, n)).toString(16)}`);
    return `udp dport 8472 @th,${protocol},8 ${UDP} @th,${length},32 { ${both.join(', ')} } counter @th,${length + 16},16 set 0x0bad`;
  });
  await sender.nft(
    `table inet ${TABLE} { chain broken { type filter hook postrouting priority 300; ${rules.join('\n')}\n }\n }`,
  );
  return () => sender.nft(`delete table inet ${TABLE}`);
}

/** How many packets the NIC has broken so far. */
export async function brokenPackets(sender: Netns): Promise<number> {
  const text = await sender.run(['nft', 'list', 'table', 'inet', TABLE]);
  return [...text.matchAll(/counter packets (\d+)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}
