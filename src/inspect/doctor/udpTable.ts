import { endianness } from 'node:os';
import { type Addr, addrFromBytes } from '../../net/addr.ts';

export interface UdpRow {
  readonly address: Addr;
  readonly port: number;
  readonly inode: string;
}

/** The text of /proc/net/udp or udp6: addresses are hexadecimal words of 32 bits as the machine has them in memory. */
export function parseUdpTable(text: string): UdpRow[] {
  const rows: UdpRow[] = [];
  for (const line of text.split('\n')) {
    const [, local, inode] =
      /^\s*\d+:\s+([0-9A-F]+:[0-9A-F]{4})\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+\d+\s+\d+\s+(\d+)/.exec(line) ?? [];
    if (!local || !inode) continue;
    const [hex, port] = local.split(':') as [string, string];
    if (hex.length !== 8 && hex.length !== 32) continue;
    rows.push({ address: addrFromBytes(wordsToBytes(hex)), port: Number.parseInt(port, 16), inode });
  }
  return rows;
}

function wordsToBytes(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  return bytes;
}
