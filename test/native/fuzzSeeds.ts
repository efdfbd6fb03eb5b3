import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CNI } from './cniSeeds.ts';

/**
 * Where fuzzing starts: an input for each case that a mutation would hardly hit. Run by node it writes native/fuzz/corpus/TARGET/seed-*; each
 * target's first comment has the format. Inputs that once found something (found-*) are kept as they are.
 */

const CORPUS = fileURLToPath(new URL('../../native/fuzz/corpus', import.meta.url));

const u8 = (...values: number[]): Buffer => Buffer.from(values);
const u16 = (value: number): Buffer => u8(value >> 8, value & 255);
const u16le = (value: number): Buffer => u8(value & 255, value >> 8);
const u32le = (value: number): Buffer => Buffer.concat([u16le(value & 0xffff), u16le(value >>> 16)]);
const join8 = (...parts: Buffer[]): Buffer => Buffer.concat(parts);

/** 10.1.<net>.<host> or fd00:0:0:<net>::<host>: native/fuzz/world.h says whose. */
const v4 = (net: number, host = 9): Buffer => u8(10, 1, net, host);
const v6 = (net: number, host = 9): Buffer => {
  const out = Buffer.alloc(16);
  out[0] = 0xfd;
  out[7] = net;
  out[15] = host;
  return out;
};

interface Ip {
  readonly source?: Buffer;
  readonly destination?: Buffer;
  readonly ttl?: number;
  /** IPv4: flags and fragment offset. */
  readonly fragment?: number;
  /** IPv4: bytes of options. */
  readonly options?: Buffer;
  readonly tos?: number;
}

/** Lengths and checksums are left to the targets, which mend them. */
const ip4 = (protocol: number, payload: Buffer, ip: Ip = {}): Buffer => {
  const options = ip.options ?? u8();
  const head = u8(0x45 + options.length / 4, ip.tos ?? 0);
  const length = u16(20 + options.length + payload.length);
  const middle = join8(u16(0x1234), u16(ip.fragment ?? 0x4000), u8(ip.ttl ?? 64, protocol, 0, 0));
  return join8(head, length, middle, ip.source ?? v4(2), ip.destination ?? v4(0), options, payload);
};
const ip6 = (next: number, payload: Buffer, ip: Ip = {}): Buffer =>
  join8(
    ...[u8(0x60 | ((ip.tos ?? 0) >> 4), 0, 0, 0), u16(payload.length), u8(next, ip.ttl ?? 64)],
    ...[ip.source ?? v6(2), ip.destination ?? v6(1), payload],
  );

const tcp = (flags = 0x10, options = u8(), ports = u8(0x9c, 0x40, 0, 80)): Buffer =>
  join8(
    ...[ports, u8(0, 1, 2, 3), u8(9, 8, 7, 6), u8(0x50 + (options.length / 4) * 16, flags)],
    ...[u16(512), u16(0), u16(0), options],
  );
const udp = (length = 8): Buffer => join8(u8(0x9c, 0x40, 0, 53), u16(length), u16(0xffff));
const icmp = (type: number, code = 0): Buffer => u8(type, code, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4);
const stamps = Buffer.concat([u8(1, 1, 8, 10), Buffer.alloc(8, 7)]);
/** An IPv6 extension header of 8 bytes. */
const extension = (next: number, fragment = 0): Buffer => join8(u8(next, 0), u16(fragment), u8(0, 0, 0, 1));

type Seeds = Record<string, Buffer>;

/** A run of packets in a datagram; the sender is peer 2 at its IPv4 endpoint unless told. */
const run = (packet: Buffer, count = 1, more = { outer: 0, gro: 0, fill: 0 }): Buffer =>
  join8(u8(more.outer, count - 1), u16(more.gro), u16(packet.length), packet, u16(more.fill));
const filled = (fill: number, outer = 0, gro = 0) => ({ outer, gro, fill });

const ACK = 0x10;
const PSH = 0x08;
const FIN = 0x01;
const CWR = 0x80;

const ingress: Seeds = {
  tcp4: join8(u8(3), run(ip4(6, tcp()), 40, filled(1400)), run(ip4(6, tcp(ACK | PSH)), 1, filled(100))),
  'tcp4-many': join8(u8(3), run(ip4(6, tcp()), 128, filled(200))),
  'tcp4-goes-on': join8(u8(2), run(ip4(6, tcp()), 128, filled(1)), ...Array(8).fill(u8(0, 255))),
  'udp4-goes-on': join8(u8(3), run(ip4(17, udp()), 128, filled(1)), ...Array(8).fill(u8(0, 255))),
  'tcp6-goes-on': join8(u8(2), run(ip6(6, tcp()), 60, filled(1000)), ...Array(8).fill(u8(0, 187))),
  corrupt: join8(
    ...[u8(2 + 1 + 8), run(ip4(6, tcp()), 7, filled(90)), run(ip6(6, tcp()), 7, filled(90))],
    ...[run(ip4(17, udp()), 7, filled(90)), run(ip6(17, udp()), 7, filled(90))],
  ),
  'corrupt-first': join8(
    ...[u8(2 + 1 + 16), run(ip4(6, tcp()), 7, filled(90)), run(ip6(6, tcp()), 7, filled(90))],
    ...[run(ip4(17, udp()), 7, filled(90)), run(ip6(17, udp()), 7, filled(90))],
  ),
  'tcp4-id-fixed': join8(u8(2), run(ip4(6, tcp()), 1, filled(50)), run(ip4(6, tcp()), 1, filled(50))),
  'tcp4-no-df': join8(u8(2), run(ip4(6, tcp(), { fragment: 0 }), 9, filled(500))),
  'tcp4-flags': join8(u8(2), ...[2, 4, 0x11, 0x18, 0x30, 0x50].map((f) => run(ip4(6, tcp(f)), 2, filled(9)))),
  'tcp4-stamps': join8(u8(2), run(ip4(6, tcp(ACK, stamps)), 20, filled(1380))),
  'tcp4-ip-options': join8(u8(2), run(ip4(6, tcp(), { options: u8(1, 1, 1, 0) }), 3, filled(90))),
  tcp6: join8(u8(2), run(ip6(6, tcp()), 30, filled(1380, 1))),
  'tcp6-tos': join8(
    u8(2),
    run(ip6(6, tcp(), { tos: 0x20 }), 3, filled(80)),
    run(ip6(6, tcp()), 3, filled(80)),
  ),
  'tcp6-hop-by-hop': join8(u8(2), run(ip6(0, join8(extension(6), tcp())), 3, filled(80))),
  udp4: join8(u8(3), run(ip4(17, udp()), 30, filled(1200)), run(ip4(17, udp()), 1, filled(30))),
  'udp4-no-uso': join8(u8(2), run(ip4(17, udp()), 30, filled(1200))),
  udp6: join8(u8(3), run(ip6(17, udp()), 30, filled(1200))),
  'udp4-no-checksum': join8(u8(1), run(ip4(17, join8(u8(1, 2, 3, 4), u16(8), u16(0))), 4, filled(0))),
  flows: join8(
    u8(3),
    ...Array.from({ length: 18 }, (_, i) => run(ip4(6, tcp(ACK, u8(), u8(0, i, 0, 80))), 2, filled(30))),
  ),
  'two-peers': join8(
    u8(3),
    run(ip4(6, tcp()), 3, filled(60)),
    run(ip4(6, tcp(), { source: v4(3) }), 3, filled(60, 2)),
  ),
  'longer-prefix': join8(u8(2), run(ip4(6, tcp(), { source: v4(2, 200) }), 1, filled(9, 8))),
  mapped: join8(u8(2), run(ip4(1, icmp(8)), 1, filled(0, 1))),
  'forged-inner': join8(u8(2), run(ip4(6, tcp(), { source: v4(3) }), 2, filled(9))),
  unknown: join8(u8(2), run(ip4(6, tcp()), 2, filled(9, 10))),
  'not-ours': join8(u8(2), run(ip4(6, tcp(), { destination: v4(3) }), 2, filled(9))),
  'ttl-1': join8(u8(2), run(ip4(17, udp(), { ttl: 1 }), 3, filled(9)), run(ip6(17, udp(), { ttl: 1 }))),
  'ttl-0': join8(u8(2), run(ip4(17, udp(), { ttl: 0 }), 3, filled(9))),
  oversized: join8(u8(2), run(ip4(17, udp()), 2, filled(1500)), run(ip6(17, udp()), 2, filled(1500))),
  'gro-wrong': join8(u8(2), run(ip4(6, tcp()), 5, filled(100, 0, 77))),
  'gro-tail': join8(u8(1), run(join8(ip4(6, join8(tcp(), u8(1, 2))), u8(0x45, 0)), 1, filled(0, 0, 42))),
  fragments: join8(
    u8(2),
    ...[0x2000, 0x2002, 0x0004, 0x6000, 0x8000, 0x2001].map((f) =>
      run(ip4(17, udp(), { fragment: f }), 1, filled(8)),
    ),
  ),
  'fragments-6': join8(
    u8(2),
    ...[1, 17, 16, 9].map((f) => run(ip6(44, join8(extension(17, f), udp())), 1, filled(8))),
  ),
  'between-flow': join8(
    ...[u8(2), run(ip4(6, tcp()), 3, filled(60)), run(ip4(6, tcp(), { fragment: 0x2000 }), 1, filled(4))],
    run(ip4(6, tcp()), 3, filled(60)),
  ),
  errors: join8(
    u8(7, 6, 0, 250, 129, 200, 130, 0),
    run(ip4(6, tcp(2)), 6, filled(60)),
    run(ip4(17, udp(), { ttl: 1 })),
  ),
  empty: join8(u8(0), run(u8())),
};

const V4 = 1;
const UDP_L4 = 5;
const V6 = 4;
const NEEDS_CSUM = 1;
/** The device's offload header. */
const offload = (flags: number, type = 0, gso = 0, start = 0, offset = 0, header = 0): Buffer =>
  join8(u8(flags, type), ...[header, gso, start, offset].map(u16));
const RAW = 0;
const MENDED = 1;
const SUPER = 2;
const PARTIAL = 3;
const offered = (how: number, count: number, header: Buffer, packet: Buffer, fill = 0): Buffer =>
  join8(u8(how + 4 * (count - 1)), header, u16(packet.length), packet, u16(fill));
const to = (net: number, more: Ip = {}): Ip => ({ source: v4(0), destination: v4(net), ...more });
const to6 = (net: number, more: Ip = {}): Ip => ({ source: v6(1), destination: v6(net), ...more });
const none = offload(0);
const cut = (gso: number, ecn = 0): Buffer => offload(NEEDS_CSUM, ecn, gso);

const egress: Seeds = {
  tso4: join8(u8(7), offered(SUPER, 4, cut(1400), ip4(6, tcp(ACK | PSH), to(2)), 60000)),
  'tso4-flags': join8(
    u8(7),
    offered(SUPER, 1, cut(1000, 0x80), ip4(6, tcp(ACK | PSH | FIN | CWR), to(3)), 4500),
  ),
  'tso4-stamps': join8(u8(7), offered(SUPER, 2, cut(1388), ip4(6, tcp(ACK, stamps), to(3)), 20000)),
  'tso4-ip-options': join8(
    u8(7),
    offered(SUPER, 1, cut(900), ip4(6, tcp(), to(2, { options: u8(1, 1, 1, 0) })), 4000),
  ),
  'tso4-largest': join8(u8(7), offered(SUPER, 1, cut(1432), ip4(6, tcp(), to(2)), 65495)),
  'tso4-single': join8(u8(7), offered(SUPER, 1, cut(1400), ip4(6, tcp(), to(2)), 1000)),
  'tso4-tiny': join8(u8(7), offered(SUPER, 1, cut(8), ip4(6, tcp(), to(2)), 40000)),
  'tso4-no-gso': join8(u8(6), offered(SUPER, 3, cut(500), ip4(6, tcp(), to(2)), 50000)),
  tso6: join8(u8(7), offered(SUPER, 3, cut(1380), ip6(6, tcp(), to6(2)), 60000)),
  'tso6-largest': join8(u8(5), offered(SUPER, 1, cut(1380), ip6(6, tcp(), to6(4)), 65515)),
  'tso6-extension': join8(
    u8(7),
    offered(SUPER, 1, cut(700), ip6(60, join8(extension(6), tcp()), to6(2)), 3000),
  ),
  uso4: join8(u8(7), offered(SUPER, 2, cut(1200), ip4(17, udp(), to(2)), 30000)),
  uso6: join8(u8(7), offered(SUPER, 2, cut(1200), ip6(17, udp(), to6(4)), 30000)),
  partial: join8(
    u8(7),
    offered(PARTIAL, 2, none, ip4(6, tcp(), to(2)), 100),
    offered(PARTIAL, 1, none, ip4(17, udp(), to(6)), 9),
  ),
  'partial-6': join8(u8(7), offered(PARTIAL, 2, none, ip6(17, udp(), to6(2)), 101)),
  'partial-in-tunnel': join8(
    u8(7),
    offered(RAW, 1, offload(NEEDS_CSUM, 0, 0, 48, 16), ip4(17, join8(udp(68), ip4(6, tcp())), to(2))),
  ),
  plain: join8(
    u8(7),
    offered(MENDED, 30, none, ip4(17, udp(), to(2)), 64),
    offered(MENDED, 30, none, ip4(17, udp(), to(3)), 32),
  ),
  icmp: join8(u8(7), offered(MENDED, 2, none, ip4(1, icmp(8), to(2)))),
  peers: join8(
    u8(7),
    ...[2, 3, 4, 5, 6, 7].map((n) => offered(SUPER, 2, cut(600), ip4(6, tcp(), to(n)), 2000)),
    ...[2, 3, 4, 5, 6, 7].map((n) => offered(SUPER, 2, cut(600), ip6(6, tcp(), to6(n)), 2000)),
  ),
  'sizes-alternate': join8(
    u8(7),
    ...Array.from({ length: 40 }, (_, i) =>
      offered(SUPER, 2, cut(20 + i), ip4(6, tcp(), to(2 + (i % 2))), 100 + i),
    ),
  ),
  // As many trains as there are, by few packets; then many packets in few trains.
  'trains-full': join8(
    u8(7),
    offered(SUPER, 64, cut(50), ip4(6, tcp(), to(2)), 80),
    offered(SUPER, 1, cut(50), ip4(6, tcp(), to(2)), 80),
    offered(SUPER, 5, cut(1400), ip4(6, tcp(), to(3)), 60000),
  ),
  'largest-then-small': join8(
    u8(7),
    ...[65507, 65508, 65535].map((n) =>
      offered(RAW, 1, none, join8(u8(0x45, 0, n >> 8, n & 255), ip4(6, tcp(), to(2)).subarray(4)), n - 40),
    ),
    offered(MENDED, 2, none, ip4(17, udp(), to(2)), 30),
  ),
  'v4-alone': join8(
    u8(3),
    offered(MENDED, 2, none, ip4(17, udp(), to(2)), 9),
    offered(MENDED, 2, none, ip4(17, udp(), to(4)), 9),
  ),
  'v6-alone': join8(
    u8(5),
    offered(MENDED, 2, none, ip4(17, udp(), to(2)), 9),
    offered(MENDED, 2, none, ip4(17, udp(), to(3)), 9),
  ),
  'ttl-1': join8(
    u8(7),
    offered(MENDED, 3, none, ip4(17, udp(), to(2, { ttl: 1 }))),
    offered(MENDED, 3, none, ip6(17, udp(), to6(2, { ttl: 1 }))),
  ),
  'no-route': join8(
    u8(7),
    offered(MENDED, 3, none, ip4(17, udp(), to(99))),
    offered(MENDED, 3, none, ip6(6, tcp(), to6(99))),
  ),
  fragments: join8(
    u8(7),
    ...[0x2000, 0x2003, 3].map((f) => offered(MENDED, 1, none, ip4(17, udp(), to(2, { fragment: f })), 8)),
  ),
  'bad-offload': join8(
    u8(7),
    ...[
      offload(0, V4, 100, 20, 16, 40),
      offload(NEEDS_CSUM, V6, 100, 20, 16, 40),
      offload(NEEDS_CSUM, UDP_L4, 100, 20, 6, 28),
    ].map((h) => offered(RAW, 1, h, join8(ip4(6, join8(tcp(), Buffer.alloc(400)), to(2))))),
    ...[
      offload(NEEDS_CSUM, 0, 0, 65535, 65535),
      offload(NEEDS_CSUM, V4, 0, 20, 16),
      offload(NEEDS_CSUM, V4, 9, 20, 16, 65535),
    ].map((h) => offered(RAW, 1, h, ip4(6, join8(tcp(), Buffer.alloc(40)), to(2)))),
  ),
  refused: join8(
    u8(15, 8, 132, 0, 129, 128, 140, 134, 131, 60),
    offered(SUPER, 3, cut(1400), ip4(6, tcp(), to(2)), 40000),
  ),
  'each-error': join8(
    ...[u8(15, 24, ...Array.from({ length: 24 }, (_, i) => 132 + (i >> 1)))],
    ...[
      offered(MENDED, 9, none, ip4(17, udp(), to(2)), 64),
      offered(SUPER, 2, cut(1400), ip4(6, tcp(), to(3)), 9000),
    ],
    ...[
      offered(MENDED, 9, none, ip4(17, udp(), to(6)), 32),
      offered(MENDED, 9, none, ip6(17, udp(), to6(4)), 64),
    ],
  ),
  'each-error-alone': join8(
    u8(14, 12, ...Array.from({ length: 12 }, (_, i) => 132 + i)),
    offered(MENDED, 30, none, ip4(17, udp(), to(2)), 64),
  ),
  'sockets-full': join8(
    u8(15, 80, ...Array.from({ length: 80 }, () => 133)),
    ...[1, 2, 3, 4, 5, 6].map((n) => offered(MENDED, 0, none, ip4(17, udp(), to(2)), 64 * n)),
    ...[1, 2, 3, 4, 5, 6].map((n) => offered(MENDED, 0, none, ip6(17, udp(), to6(4)), 64 * n)),
  ),
  'too-big': join8(
    u8(15, 6, 135, 135, 160, 0, 0, 0),
    ...[
      offered(SUPER, 2, cut(1400), ip4(6, tcp(), to(2)), 9000),
      offered(SUPER, 2, cut(1400), ip4(6, tcp(), to(2, { fragment: 0 })), 9000),
    ],
    offered(SUPER, 2, cut(1400), ip6(6, tcp(), to6(2)), 9000),
  ),
};

/** An offender for the ICMP builder; `flags` 4 makes its IP header right. */
const offender = (error: number, packet: Buffer, more = 0): Buffer =>
  join8(
    u8(error | 4 | more),
    u16(1400),
    packet[0]! >> 4 === 4 ? join8(v4(0, 1), Buffer.alloc(12)) : v6(1, 1),
    packet,
  );

const ICMP: Seeds = {
  ...Object.fromEntries(
    [0, 1, 2].flatMap((e) => [
      [`v4-${e}`, offender(e, ip4(6, join8(tcp(), Buffer.alloc(700))))],
      [`v6-${e}`, offender(e, ip6(6, join8(tcp(), Buffer.alloc(1400))))],
      [`short-v4-${e}`, offender(e, ip4(17, u8()))],
      [`short-v6-${e}`, offender(e, ip6(59, u8()))],
    ]),
  ),
  'no-df': offender(2, ip4(17, udp(), { fragment: 0 })),
  echo: offender(1, ip4(1, icmp(8))),
  'echo-6': offender(1, ip6(58, icmp(128))),
  'error-of-error': offender(1, ip4(1, icmp(3))),
  'error-of-error-6': offender(1, ip6(58, icmp(1))),
  'error-behind-extension': offender(1, ip6(60, join8(extension(58), icmp(2)))),
  redirect: offender(0, ip6(58, icmp(137))),
  'no-type': offender(0, ip6(58, u8())),
  'first-fragment': offender(1, ip4(17, join8(udp(), Buffer.alloc(8)), { fragment: 0x2000 })),
  'later-fragment': offender(1, ip4(17, udp(), { fragment: 0x00b9 })),
  'later-fragment-6': offender(1, ip6(44, join8(extension(17, 0x100), udp()))),
  'first-fragment-error-6': offender(1, ip6(44, join8(extension(58, 1), icmp(3), u8(1, 2, 3, 4)))),
  multicast: offender(0, ip4(17, udp(), { destination: u8(224, 0, 0, 1) })),
  broadcast: offender(0, ip4(17, udp(), { destination: u8(255, 255, 255, 255) })),
  loopback: offender(0, ip4(17, udp(), { source: u8(127, 0, 0, 1) })),
  unspecified: offender(0, ip6(17, udp(), { source: Buffer.alloc(16) })),
  'multicast-6': offender(0, ip6(17, udp(), { destination: join8(u8(0xff, 2), Buffer.alloc(14)) })),
  'other-family': offender(0, ip4(17, udp()), 8),
  'no-source': offender(0, ip4(17, udp()), 16),
  options: offender(1, ip4(17, udp(), { options: Buffer.alloc(40, 1) })),
};

const address = (bytes: Buffer): Buffer =>
  join8(u8(bytes.length === 4 ? 4 : bytes.length === 16 ? 6 : 0), bytes, Buffer.alloc(16 - bytes.length));
const NONE = u8();
const tableBytes = (
  peers: readonly (readonly [slot: number, endpoint4: Buffer, endpoint6: Buffer])[],
  prefixes: readonly (readonly [peer: number, address: Buffer, length: number])[],
): Buffer =>
  join8(
    ...[u8(1), Buffer.from('LodenFT1'), u16le(1472), u16le(0), u32le(peers.length), u32le(prefixes.length)],
    ...[address(v4(0, 0)), address(v6(1, 0)), address(v4(0, 0)), u8(24), address(v6(1, 0)), u8(64)],
    ...peers.map(([slot, a, b]) => join8(u32le(slot), address(a), address(b))),
    ...prefixes.map(([peer, a, length]) => join8(u32le(peer), address(a), u8(length))),
  );
/** Bytes of a fixed sequence that looks like chance. */
const scattered = (length: number, seed: number): Buffer => {
  let state = seed;
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state >>> 24;
    }),
  );
};

const good = tableBytes(
  [
    [2, u8(192, 0, 2, 2), v6(99, 2)],
    [3, u8(192, 0, 2, 3), NONE],
    [65535, NONE, v6(99, 3)],
  ],
  [
    [0, v4(2, 0), 24],
    [0, v6(2, 0), 64],
    [1, v4(2, 128), 25],
    [2, v4(3, 0), 24],
    [2, u8(0, 0, 0, 0), 0],
    [1, v4(3, 7), 32],
    [1, v6(3, 9), 128],
  ],
);
/** The good table with bytes changed. */
const spoiled = (at: number, ...values: number[]): Buffer => {
  const out = Buffer.from(good);
  out.set(values, at);
  return out;
};

const table: Seeds = {
  good,
  none: tableBytes([], []),
  'no-magic': spoiled(1, 0),
  'small-mtu': spoiled(9, 67, 0),
  reserved: spoiled(11, 1),
  'many-peers': spoiled(13, 255, 255, 255, 255),
  'many-prefixes': spoiled(17, 255, 255, 255, 255),
  'one-peer-more': spoiled(13, 4),
  family: spoiled(21, 5),
  'own-of-other-family': spoiled(55, 6),
  'slot-twice': tableBytes(
    [
      [1, NONE, NONE],
      [1, NONE, NONE],
    ],
    [],
  ),
  'slot-high': tableBytes([[65536, NONE, NONE]], []),
  'prefix-twice': tableBytes(
    [[1, NONE, NONE]],
    [
      [0, v4(2, 0), 24],
      [0, v4(2, 0), 24],
    ],
  ),
  'prefix-of-nobody': tableBytes([[1, NONE, NONE]], [[1, v4(2, 0), 24]]),
  'prefix-long': tableBytes([[1, NONE, NONE]], [[0, v4(2, 0), 33]]),
  'prefix-bits': tableBytes([[1, NONE, NONE]], [[0, v4(2, 1), 24]]),
  'default-routes': tableBytes(
    [[1, NONE, NONE]],
    [
      [0, u8(0, 0, 0, 0), 0],
      [0, Buffer.alloc(16), 0],
    ],
  ),
  truncated: good.subarray(0, 150),
  longer: join8(good, u8(0)),
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map((i) => [`made-${i}`, join8(u8(0, 31, 63, i), scattered(31 * 4 + 63 * 6 + 64, i))]),
  ),
};

/** By target, by name. */
export const SEEDS: Readonly<Record<string, Seeds>> = { ingress, egress, icmp: ICMP, table, cni: CNI };

/** Writes them all, and removes those that are none any more. */
function write(): void {
  for (const [target, seeds] of Object.entries(SEEDS)) {
    const dir = join(CORPUS, target);
    mkdirSync(dir, { recursive: true });
    for (const file of readdirSync(dir)) if (file.startsWith('seed-')) rmSync(join(dir, file));
    for (const [name, bytes] of Object.entries(seeds)) writeFileSync(join(dir, `seed-${name}`), bytes);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) write();
