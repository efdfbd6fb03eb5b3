import type { Proc } from './proc.ts';
import type { TunnelEnd } from './tunnel.ts';

/** What is wrong with the answer to an echo request. */
export const FORGERIES = [
  'nonce',
  'token',
  'magic',
  'identifier',
  'source',
  'checksum',
  'none',
  'twice',
] as const;

/**
 * Plays the other end of a tunnel: takes VXLAN packets from its UDP socket and answers the n-th echo request with the n-th forgery. Everything that is
 * not forged is right, as only somebody on the path could know it.
 */
const FORGER = `
const forgeries = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
const ETHER = 8, IP = ETHER + 14, ICMP = IP + 20, PAYLOAD = ICMP + 8;
const sum = (bytes) => {
  let s = 0;
  for (let i = 0; i < bytes.length; i += 2) s += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return ~s & 0xffff;
};
let n = 0;
socket.on('message', (request, from) => {
  if (request.length < PAYLOAD || request.readUInt16BE(ETHER + 12) !== 0x0800) return;
  if (request[IP + 9] !== 1 || request[ICMP] !== 8) return;
  const forgery = forgeries[n++];
  const reply = Buffer.from(request);
  request.copy(reply, ETHER, ETHER + 6, ETHER + 12);
  request.copy(reply, ETHER + 6, ETHER, ETHER + 6);
  request.copy(reply, IP + 12, IP + 16, IP + 20);
  request.copy(reply, IP + 16, IP + 12, IP + 16);
  reply[ICMP] = 0;
  if (forgery === 'magic') reply[PAYLOAD] ^= 1;
  if (forgery === 'token') reply[PAYLOAD + 7] ^= 1;
  if (forgery === 'nonce') reply[PAYLOAD + 15] ^= 1;
  if (forgery === 'identifier') reply[ICMP + 4] ^= 1;
  if (forgery === 'source') reply[IP + 15] ^= 1;
  reply.writeUInt16BE(0, ICMP + 2);
  reply.writeUInt16BE(sum(reply.subarray(ICMP)), ICMP + 2);
  if (forgery === 'checksum') reply[ICMP + 3] ^= 1;
  reply.writeUInt16BE(0, IP + 10);
  reply.writeUInt16BE(sum(reply.subarray(IP, ICMP)), IP + 10);
  for (let i = 0; i < (forgery === 'twice' ? 2 : 1); i++) socket.send(reply, 8472, from.address);
  console.log('answered', n);
});
socket.bind(8472, () => console.log('listening'));
`;

/** Replaces the tunnel at this end. */
export async function forge(end: TunnelEnd, log: string, forgeries: readonly string[]): Promise<Proc> {
  await end.netns.ip('link del vx0');
  const forger = await end.netns.start([process.execPath, '--eval', FORGER, ...forgeries], { log });
  await forger.saying(/listening/);
  return forger;
}
