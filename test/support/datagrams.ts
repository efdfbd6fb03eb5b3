import { createSocket, type Socket } from 'node:dgram';
import { createInterface } from 'node:readline';

/**
 * A program that sends UDP datagrams on command, one a line on standard input: `{"from","to","sport","dport","id","size"}`; each gets a line
 * of answer when the kernel has taken it. The first four bytes of the payload are the id; `size` is the payload's, bytes.
 */

const sockets = new Map<string, Promise<Socket>>();

function socketOf(from: string, sport: number): Promise<Socket> {
  const name = `${from} ${sport}`;
  const open = () =>
    new Promise<Socket>((resolve, reject) => {
      const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4');
      socket.on('error', reject);
      socket.bind(sport, from, () => resolve(socket));
    });
  const found = sockets.get(name) ?? open();
  sockets.set(name, found);
  return found;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { from, to, sport, dport, id, size } = JSON.parse(line);
  const payload = Buffer.alloc(size);
  payload.writeUInt32BE(id);
  const socket = await socketOf(from, sport);
  // Refused by a rule of an earlier packet: an ICMP error waits at the socket; the next try goes out.
  const send = () => new Promise<Error | null>((resolve) => socket.send(payload, dport, to, resolve));
  if (await send()) await send();
  process.stdout.write('sent\n');
}
