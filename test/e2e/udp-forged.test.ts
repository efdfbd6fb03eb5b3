import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/proc.ts';
import {
  at,
  chained,
  DF,
  data,
  FORGED_IPV4,
  FORGED_IPV6,
  four,
  MORE,
  OURS,
  PEER,
  six,
} from '../support/udpForgeries.ts';
import { forwarderOf, since, udpCluster } from '../support/udpHost.ts';
import { type Datagram, Outsider } from '../support/udpOutsider.ts';
import { extension, fragment6, ip4, ip6, udp } from '../support/udpPackets.ts';
import type { Workload } from '../support/workload.ts';

let cluster: Cluster;
let host: Host;
let pod: Workload;
/** Has a lease: the second subnets. */
let peer: Outsider;
/** Has the third. */
let other: Outsider;
/** Is nobody. */
let stranger: Outsider;

beforeAll(async () => {
  const made = await udpCluster([0], { families: [4, 6] });
  ({ cluster } = made);
  host = made.hosts[0]!;
  pod = made.pods[0]!;
  // With a NIC that merges what it receives: a message holds many of what follows.
  await cluster.underlay.wire(host.at);
  [peer, other, stranger] = [
    await Outsider.create(cluster, 'peer'),
    await Outsider.create(cluster, 'other'),
    await Outsider.create(cluster, 'stranger'),
  ];
  await peer.enrol(cluster, 2);
  await other.enrol(cluster, 3);
  await until(
    'both to be peers',
    async () => (await host.get<unknown[]>('/v1/forwarder/peers')).length === 2,
  );
  await host.netns.nft(`table netdev sniff {
    chain in { type filter hook ingress device flannel0 priority 0; counter; }
  }`);
});
afterAll(async () => {
  for (const outsider of [peer, other, stranger]) await outsider?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

/** How many packets the kernel has had from the device, as it counts itself. */
async function delivered(): Promise<number> {
  const { nftables } = JSON.parse(
    await host.netns.run(['nft', '-j', 'list', 'table', 'netdev', 'sniff']),
  ) as {
    nftables: { rule?: { expr: { counter?: { packets: number } }[] } }[];
  };
  return nftables.reduce((sum, { rule }) => sum + (rule?.expr[0]?.counter?.packets ?? 0), 0);
}

/**
 * Send these, then one that is as it should be: nothing but that one is delivered, and each of the others is counted for this
 * reason, by nothing else. `outer`: the family the datagrams are sent by.
 */
async function expectDropped(
  from: Outsider,
  reason: string | Readonly<Record<string, number>>,
  packets: readonly (Uint8Array | Datagram)[],
  { outer = 4, answers = 0 }: { outer?: 4 | 6; answers?: number } = {},
): Promise<void> {
  const address = outer === 4 ? host.at.ipv4 : host.at.ipv6;
  const [before, seen] = [await forwarderOf(host), await delivered()];
  await from.send(
    address,
    packets.map((p) => (p instanceof Uint8Array ? { data: p } : p)),
  );
  await peer.send(address, [{ data: four() }]);
  await until('the right one', async () => {
    const { counters } = await forwarderOf(host);
    return counters.in_packets !== before.counters.in_packets;
  });
  const after = await forwarderOf(host);
  const expected = typeof reason === 'string' ? { [reason]: packets.length } : reason;
  expect(since(before.drops.in, after.drops.in)).toEqual(expected);
  expect(since(before.counters, after.counters)).toMatchObject({ in_packets: 1, in_bytes: 60 });
  expect(since(before.counters, after.counters).icmp_sent ?? 0).toBe(answers);
  expect(await delivered()).toBe(seen + 1);
}

describe('IPv4 from a peer', () => {
  test.each(FORGED_IPV4)('%s', async (_, reason, packets, answers = 0) => {
    await expectDropped(peer, reason, packets(), { answers });
  });
});

describe('IPv6 from a peer', () => {
  test.each(FORGED_IPV6)('%s', async (_, reason, packets, answers = 0) => {
    await expectDropped(peer, reason, packets(), { outer: 6, answers });
  });
});

test('whoever is no peer gets nothing in, be it right or nonsense, whatever address it makes up', async () => {
  const { netns } = stranger.at;
  await netns.ipBatch(['addr add 192.0.2.99/24 dev eth0', 'addr add 2001:db8::99/64 dev eth0']);
  const packets = [
    four(),
    six(),
    data(0),
    four({ ttl: 0 }),
    four({ ttl: 1 }),
    four({ version: 0 }),
    four({}, 3000),
  ];
  const from = (addresses: readonly string[]): Datagram[] =>
    addresses.flatMap((address) => packets.map((p) => ({ data: p, from: address, port: 8285 })));
  await expectDropped(stranger, 'unknown_peer', from([stranger.at.ipv4, '192.0.2.99']));
  await expectDropped(stranger, 'unknown_peer', from([stranger.at.ipv6, '2001:db8::99']), { outer: 6 });
});

test("a peer gets nothing in by another peer's address, from which that one does", async () => {
  await expectDropped(other, 'forged_source', [four(), six()]);
  await expectDropped(other, 'forged_source', [four(), six()], { outer: 6 });
  const before = await delivered();
  const mine = [four({ from: '10.42.3.9' }), six({ from: 'fd00:42:0:3::9' })];
  await other.send(
    host.at.ipv4,
    mine.map((p) => ({ data: p })),
  );
  await until('them', async () => (await delivered()) === before + 2);
});

test('what may pass does, from any port of a peer, by either family outside', async () => {
  const right = [
    four(),
    four({}, 0),
    four({}, 1444),
    four({ fragment: DF }),
    four({ ttl: 2 }),
    // Parts of one that is never put together; RFC 6946; headers that are skipped.
    four({ fragment: MORE, id: 7 }),
    four({ fragment: 2, id: 8 }),
    four({ fragment: at(65_472), id: 9 }, 0),
    six(),
    six({}, 0),
    six({}, 1424),
    six({ hops: 2 }),
    chained(44, [fragment6(17, 0, false)]),
    chained(44, [fragment6(17, 0, true)]),
    chained(44, [fragment6(17, 16, false)]),
    chained(0, [extension(17)]),
    chained(60, [...Array(7).fill(extension(60)), extension(17)]),
    chained(43, [extension(17)]),
    ip4(data(5), { from: PEER[4], to: OURS[4], protocol: 253 }),
    ip6(data(0), { from: PEER[6], to: OURS[6], next: 59 }),
  ];
  const [before, seen] = [await forwarderOf(host), await delivered()];
  const ports = [1, 1023, 8285, 65_535];
  for (const address of [host.at.ipv4, host.at.ipv6])
    await peer.send(
      address,
      ports.flatMap((port) => right.map((p) => ({ data: p, port }))),
    );
  const count = 2 * ports.length * right.length;
  await until(
    'all',
    async () => since(before.counters, (await forwarderOf(host)).counters).in_packets === count,
  );
  expect((await forwarderOf(host)).drops.in).toEqual(before.drops.in);
  // They are put together to larger ones where they may be.
  expect((await delivered()) - seen).toBeLessThanOrEqual(count);
});

/**
 * So many ICMP messages of a kind (type and code, in hex) that the forwarder sends to a peer, in the order they came. Others may come between: the kernel
 * says of earlier packets, seconds later, that nobody has their address.
 */
const answered = (
  { got }: Awaited<ReturnType<Outsider['listen']>>,
  count: number,
  kinds: Readonly<Record<4 | 6, string>>,
): Promise<string[]> =>
  until(`${count} answers`, () => {
    const told = got().filter((hex) =>
      hex.startsWith('4') ? hex.startsWith(kinds[4], 40) : hex.startsWith(kinds[6], 80),
    );
    return told.length === count ? told : undefined;
  });

test('a hop limit that ends here is answered to the peer, by the address of our device', async () => {
  const v4 = await peer.listen(peer.at.ipv4);
  const odd = Buffer.concat([udp(data(7), { from: PEER[4], to: OURS[4] })]);
  await expectDropped(
    peer,
    'ttl_exceeded',
    [four({ ttl: 1 }), ip4(odd, { from: PEER[4], to: OURS[4], ttl: 1 }), six({ hops: 1 })],
    { answers: 3 },
  );
  const told = await answered(v4, 3, { 4: '0b00', 6: '0300' });
  // From 10.42.1.0 to 10.42.2.9: time exceeded in transit; then what it is about.
  expect(told[0]).toMatch(/^45.{22}0a2a01000a2a02090b00.{4}0{8}45/);
  expect(told[0]!.slice(56)).toBe(four({ ttl: 1 }).toString('hex'));
  expect(told[2]).toMatch(/^6.{15}fd000042000000010{16}fd000042000000020{15}90300.{4}0{8}6/);
  await v4.proc.stop('SIGKILL');
});

test('a flood of hop limits that end here is answered at a bounded rate', async () => {
  const before = await forwarderOf(host);
  const begin = performance.now();
  const count = 3000;
  await peer.send(host.at.ipv4, Array(count).fill({ data: four({ ttl: 1 }) }));
  const after = await until('all to be counted', async () => {
    const now = await forwarderOf(host);
    return since(before.drops.in, now.drops.in).ttl_exceeded === count && now;
  });
  const seconds = (performance.now() - begin) / 1000;
  const { icmp_sent: sent = 0, icmp_suppressed: suppressed = 0 } = since(before.counters, after.counters);
  expect(sent + suppressed).toBe(count);
  expect(sent).toBeLessThanOrEqual(101 + 1000 * seconds);
});

test('a packet that is too large is answered with our MTU, if it must not be fragmented', async () => {
  const v4 = await peer.listen(peer.at.ipv4);
  await expectDropped(peer, 'oversized', [four({ fragment: DF }, 1473), four({}, 1473), six({}, 1433)], {
    answers: 2,
  });
  const told = await answered(v4, 2, { 4: '0304', 6: '0200' });
  expect(told[0]).toMatch(/^45.{22}0a2a01000a2a02090304.{4}000005c0/);
  expect(told[1]!.slice(80)).toMatch(/^0200.{4}000005c0/);
  await v4.proc.stop('SIGKILL');
});

test('what was changed on its way is not made right by being put together', async () => {
  const to = pod.addr(4);
  const ends = { from: PEER[4], to, port: 7777 };
  const log = `${host.dir}/pod-listen.log`;
  const program = `
    const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', (m) => console.log('got ' + m));
    socket.bind(7777, '0.0.0.0', () => console.log('listening'));
  `;
  await using listener = await pod.netns.start([process.execPath, '--eval', program], { log });
  await listener.saying(/listening/);
  const packet = (text: string, wrong = 0) =>
    ip4(udp(Buffer.from(text), { ...ends, wrong }), { from: PEER[4], to });
  await peer.send(
    host.at.ipv4,
    [packet('one'), packet('bad', 1), packet('two'), packet('end')].map((p) => ({ data: p })),
  );
  await listener.saying(/got end/);
  expect(listener.output()).toBe('listening\ngot one\ngot two\ngot end\n');
});
