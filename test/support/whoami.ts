import { createSocket } from 'node:dgram';

/**
 * A UDP probe: `serve <address>…` answers each datagram to PORTS with the address it came from; `ask <address> <port>` prints that answer,
 * or `lost` when none comes within half a second. Tells masquerading and loss apart.
 */
const PORTS = [4000, 5000] as const;

const [mode, ...args] = process.argv.slice(2);

const family = (address: string) => (address.includes(':') ? 'udp6' : 'udp4');

if (mode === 'serve') {
  for (const address of args) {
    for (const port of PORTS) {
      const socket = createSocket(family(address));
      socket.on('message', (_, from) => socket.send(from.address, from.port, from.address));
      socket.bind(port, address, () => console.log(`serving ${address} ${port}`));
    }
  }
} else {
  const [address, port] = args as [string, string];
  const socket = createSocket(family(address));
  const end = (text: string) => {
    console.log(text);
    process.exit();
  };
  socket.on('message', (text) => end(text.toString()));
  socket.on('error', (error) => end(`lost: ${error.message}`));
  socket.send('who am I?', Number(port), address, (error) => error && end(`lost: ${error.message}`));
  setTimeout(() => end('lost'), 500);
}
