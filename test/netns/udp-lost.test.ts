import { expect, test } from 'vitest';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

const at = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

/**
 * A forwarder with two queues and nobody who repairs anything, in a process of its own in the namespace, while packets come from
 * both sides. Says what share of a CPU it takes, in this order: at work, its device down, its device deleted.
 */
const PROGRAM = `
  import { execFileSync } from 'node:child_process';
  import { createSocket } from 'node:dgram';
  import { setTimeout as sleep } from 'node:timers/promises';
  const { addon } = await import(${at('../../src/native/addon.ts')});
  const { encodeTable } = await import(${at('../../src/backends/udp/tableBytes.ts')});
  const { prefix } = await import(${at('../../src/net/prefix.ts')});
  const { addr } = await import(${at('../../src/net/addr.ts')});
  const { four } = await import(${at('../support/udpForgeries.ts')});
  const ip = (text) => execFileSync('ip', text.split(' '));
  const native = addon();
  native.tunCreate('flannel0');
  ip('addr add 10.42.1.0/32 dev flannel0');
  ip('link set flannel0 up');
  ip('route add 10.42.0.0/16 dev flannel0');
  const tun = native.tunAttach('flannel0', 2);
  const { sockets, senders } = native.udpOpen(Uint8Array.of(192, 0, 2, 1), 8285, 2);
  const events = [];
  const forwarder = native.forwarder(-1, (event) => events.push(event));
  forwarder.swap(encodeTable({
    mtu: 1472,
    tun: [addr('10.42.1.0')],
    own: [prefix('10.42.1.0/24')],
    peers: [{ slot: 0, endpoints: [addr('192.0.2.9')], prefixes: [prefix('10.42.2.0/24')] }],
  }));
  forwarder.start([0, 1].map((i) => ({ tun: tun[i], udp4: sockets[i], udp6: -1, out4: senders[i], out6: -1 })));
  const { counters, drops } = native.forwarderLayout();
  const names = [...counters.map((c) => c.name), ...drops.map((d) => 'out ' + d.name), ...drops.map((d) => 'in ' + d.name)];
  const counted = () => Object.fromEntries([...forwarder.counters()].map((n, i) => [names[i], Number(n)]).filter(([, n]) => n));
  const bound = (address) => new Promise((done) => {
    const socket = createSocket('udp4');
    socket.on('error', () => {});
    socket.bind(0, address, () => done(socket));
  });
  const [pod, peer] = [await bound('10.42.1.0'), await bound('192.0.2.9')];
  // 500 a second from each.
  setInterval(() => {
    for (let i = 0; i < 10; i++) {
      pod.send('x', 9, '10.42.2.9', () => {});
      peer.send(four({ to: '10.42.1.0' }), 8285, '192.0.2.1', () => {});
    }
  }, 20);
  const measured = async () => {
    await sleep(200);
    const [cpu, begin, before] = [process.cpuUsage(), performance.now(), counted()];
    await sleep(1000);
    const { user, system } = process.cpuUsage(cpu);
    const share = (user + system) / 1000 / (performance.now() - begin);
    return { share, before, after: counted(), events: [...events] };
  };
  const said = [await measured()];
  ip('link set flannel0 down');
  said.push(await measured());
  ip('link set flannel0 up');
  ip('link del flannel0');
  said.push(await measured());
  forwarder.close();
  console.log(JSON.stringify(said));
  process.exit(0);
`;

interface Measured {
  readonly share: number;
  readonly before: Readonly<Record<string, number>>;
  readonly after: Readonly<Record<string, number>>;
  readonly events: readonly { readonly kind: string; readonly queue: number }[];
}

test('a forwarder whose device is down or gone takes no more of the CPU than one at work', async () => {
  await using netns = await Netns.create(thisProcess(), 'lost');
  await netns.ipBatch(['addr add 192.0.2.1/32 dev lo', 'addr add 192.0.2.9/32 dev lo']);
  const argv = [process.execPath, '--input-type=module-typescript', '--eval', PROGRAM];
  const said = JSON.parse(await netns.run(argv)) as [Measured, Measured, Measured];
  const [work, down, gone] = said;
  const more = ({ before, after }: Measured, name: string) => (after[name] ?? 0) - (before[name] ?? 0);
  expect(more(work, 'out_packets')).toBeGreaterThan(0);
  expect(more(work, 'in_packets')).toBeGreaterThan(0);
  expect(work.events).toEqual([]);
  // Down: what comes is refused by the device, and counted.
  expect(down.events).toEqual([]);
  expect(more(down, 'in_packets')).toBe(0);
  expect(more(down, 'in tun_error')).toBeGreaterThan(0);
  // Gone: each worker has said so, once, and sleeps.
  expect(gone.events.map(({ kind, queue }) => `${kind} ${queue}`).sort()).toEqual([
    'tun-lost 0',
    'tun-lost 1',
  ]);
  expect(gone.after).toEqual(gone.before);
  // Two threads that spin are 2.
  for (const { share } of said) expect(share).toBeLessThan(0.5);
});
