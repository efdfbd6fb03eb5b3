import { join } from 'node:path';
import { expect } from 'vitest';
import type { Netns } from './netns.ts';
import type { Proc } from './proc.ts';
import type { Workload } from './workload.ts';

/** Between which pods, by which family. */
export interface Path {
  readonly from: Workload;
  readonly to: Workload;
  readonly family?: 4 | 6;
}

/**
 * Both ends of a TCP connection send bytes that nobody could guess, all at once, and say what they have sent and got:
 * `listen|connect ADDRESS PORT BYTES SEED`.
 */
const TCP = `
const { createServer, connect } = require('node:net');
const { createCipheriv, createHash } = require('node:crypto');
const [role, host, port, bytes, seed] = process.argv.slice(1);
const both = (socket) => {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, Number(seed)), Buffer.alloc(16));
  const zeros = Buffer.alloc(1 << 18), sent = createHash('sha256'), got = createHash('sha256');
  let left = Number(bytes), count = 0;
  const more = () => {
    while (left > 0) {
      const chunk = cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
      left -= chunk.length;
      sent.update(chunk);
      if (!socket.write(chunk)) return;
    }
    socket.end();
  };
  socket.on('drain', more);
  socket.on('data', (data) => { count += data.length; got.update(data); });
  socket.on('error', (error) => { console.log(error.message); process.exit(1); });
  socket.on('close', () => {
    console.log(JSON.stringify({ count, sent: sent.digest('hex'), got: got.digest('hex') }));
    process.exit(0);
  });
  more();
};
const options = { host, port: Number(port), allowHalfOpen: true };
if (role === 'connect') both(connect(options));
else createServer({ allowHalfOpen: true }, both).listen(options, () => console.log('listening'));
`;

/**
 * Datagrams whose content follows from their number, and what comes back of them: `echo|send ADDRESS PORT COUNT SIZES`.
 * The sender has at most 16 on their way, and says how many came back whole, in order, after five seconds of silence.
 */
const UDP = `
const { createSocket } = require('node:dgram');
const { createCipheriv } = require('node:crypto');
const [role, host, port, count, sizes] = process.argv.slice(1);
const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 1 << 22 });
if (role === 'echo') {
  socket.on('message', (data, { address, port }) => socket.send(data, port, address));
  socket.bind(Number(port), host, () => console.log('listening'));
} else {
  const lengths = sizes.split(',').map(Number), total = Number(count);
  const content = (n) => {
    const iv = Buffer.alloc(16);
    iv.writeUInt32BE(n);
    return createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), iv).update(Buffer.alloc(lengths[n % lengths.length]));
  };
  const away = [];
  let next = 0, whole = 0, foreign = 0, late = 0, timer;
  const end = () => { console.log(JSON.stringify({ whole, foreign, late })); process.exit(0); };
  const more = () => {
    clearTimeout(timer);
    timer = setTimeout(end, 5000);
    if (whole === total) return end();
    for (; next < total && away.length < 16; next++) {
      away.push(content(next));
      socket.send(away.at(-1), Number(port), host);
    }
  };
  socket.on('message', (data) => {
    const at = away.findIndex((sent) => data.equals(sent));
    if (at < 0) foreign++;
    else {
      if (at > 0) late++;
      away.splice(at, 1);
      whole++;
    }
    more();
  });
  socket.bind(0, more);
}
`;

const node = (program: string, ...args: (string | number)[]): string[] => [
  process.execPath,
  // Once seen: all sent, got and said, and the process stood still at its exit, where V8's helper threads are waited for.
  '--v8-pool-size=0',
  '--eval',
  program,
  '--',
  ...args.map(String),
];

let count = 0;
const nextPort = (): number => 20_000 + (++count % 10_000);

interface Ends {
  readonly count: number;
  readonly sent: string;
  readonly got: string;
}

const lastLine = (text: string): Ends => JSON.parse(text.trimEnd().split('\n').at(-1)!) as Ends;

/**
 * `bytes` each way at once over one TCP connection; what arrives is what was sent, by sha256. Fails when that takes longer
 * than `timeout` ms: it stalls. The congestion control is cubic.
 */
export async function expectTransfer(
  { from, to, family = 4 }: Path,
  bytes: number,
  timeout = 60_000,
): Promise<void> {
  const address = to.addr(family);
  const port = nextPort();
  const log = join(to.host.dir, `transfer-${port}.log`);
  await Promise.all([from, to].map(({ netns }) => cubic(netns, family)));
  await using server = await to.netns.start(node(TCP, 'listen', address, port, bytes, 1), { log });
  await server.saying(/listening/);
  const client = lastLine(await from.netns.run(node(TCP, 'connect', address, port, bytes, 2), { timeout }));
  await server.exited;
  const served = lastLine(server.output());
  expect([client.count, served.count]).toEqual([bytes, bytes]);
  expect([client.got, served.got]).toEqual([served.sent, client.sent]);
  expect(client.sent).not.toBe(served.sent);
}

/** Its connections are cubic's by way of their route: another default takes a privilege in all namespaces but the first. */
async function cubic(netns: Netns, family: 4 | 6): Promise<void> {
  const [route] = await netns.ipJson<{ gateway: string }[]>(`-${family} route show default`);
  await netns.ip(`-${family} route change default via ${route!.gateway} dev eth0 congctl cubic`);
}

async function echo(netns: Netns, address: string, port: number, dir: string): Promise<Proc> {
  const proc = await netns.start(node(UDP, 'echo', address, port), { log: join(dir, `echo-${port}.log`) });
  await proc.saying(/listening/);
  return proc;
}

/**
 * `datagrams` there and back again, with payloads of these lengths in turn (bytes; fragments are put together by the pods): none is
 * lost, changed or out of order.
 */
export async function expectEchoes(
  { from, to, family = 4 }: Path,
  datagrams: number,
  sizes: readonly number[],
): Promise<void> {
  const address = to.addr(family);
  const port = nextPort();
  await using server = await echo(to.netns, address, port, to.host.dir);
  const out = await from.netns.run(node(UDP, 'send', address, port, datagrams, sizes.join()));
  expect(server.ended).toBeUndefined();
  expect(JSON.parse(out)).toEqual({ whole: datagrams, foreign: 0, late: 0 });
}
