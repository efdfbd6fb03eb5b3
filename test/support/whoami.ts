import { createSocket } from 'node:dgram';

/**
 * A UDP probe: `serve <port>…` answers each datagram with the address it came from; `ask <address> <port>` prints that answer,
 * or `lost` when none comes within half a second. Tells masquerading and loss apart.
 */
const [mode, ...args] = process.argv.slice(2);

if (mode === 'serve') {
  for (const port of args) {
    const socket = createSocket('udp6');
    socket.on('message', (_, from) =>
      socket.send(from.address.replace(/^::ffff:/, ''), from.port, from.address),
    );
    socket.bind(Number(port), '::', () => console.log(`serving ${port}`));
  }
} else {
  const [address, port] = args as [string, string];
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const end = (text: string) => {
    console.log(text);
    process.exit();
  };
  socket.on('message', (text) => end(text.toString()));
  socket.on('error', (error) => end(`lost: ${error.message}`));
  socket.send('who am I?', Number(port), address, (error) => error && end(`lost: ${error.message}`));
  setTimeout(() => end('lost'), 500);
}
