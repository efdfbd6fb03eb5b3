import { extension, fragment6, type Ip4, type Ip6, ip4, ip6, udp } from './udpPackets.ts';

/** What a peer whose subnets are the second may send to a host whose subnets are the first, and what it may not. */

export const PEER = { 4: '10.42.2.9', 6: 'fd00:42:0:2::9' } as const;
export const OURS = { 4: '10.42.1.5', 6: 'fd00:42:0:1::5' } as const;
export const data = (bytes: number): Buffer => Buffer.alloc(bytes, 'x');
/** A packet from the peer to our subnet but for what is named; `bytes` of UDP payload. */
export const four = (changes: Partial<Ip4> = {}, bytes = 32): Buffer => {
  const ends = { from: changes.from ?? PEER[4], to: changes.to ?? OURS[4] };
  return ip4(udp(data(bytes), ends), { ...changes, ...ends });
};
export const six = (changes: Partial<Ip6> = {}, bytes = 32): Buffer => {
  const ends = { from: changes.from ?? PEER[6], to: changes.to ?? OURS[6] };
  return ip6(udp(data(bytes), ends), { ...changes, ...ends });
};
/** The same with these headers before UDP; `next`: what the first of them is. */
export const chained = (next: number, headers: readonly Buffer[], bytes = 32): Buffer => {
  const ends = { from: PEER[6], to: OURS[6] };
  return ip6(Buffer.concat([...headers, udp(data(bytes), ends)]), { ...ends, next });
};
/** Only these headers. */
const bare = (next: number, ...headers: readonly Buffer[]): Buffer =>
  ip6(Buffer.concat(headers), { from: PEER[6], to: OURS[6], next });

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Of the 16 versions there are two; the packet of the other kind is too short. */
const VERSIONS = range(0, 15).filter((version) => version !== 4 && version !== 6);
export const MORE = 0x2000;
export const DF = 0x4000;
export const at = (offset: number): number => offset / 8;

const FOREIGN = {
  4: [
    '10.42.3.9',
    '10.42.99.9',
    '10.42.1.2',
    '10.42.1.0',
    '8.8.8.8',
    '192.0.2.2',
    '127.0.0.1',
    '0.0.0.0',
    '10.42.1.255',
    '255.255.255.255',
    '224.0.0.1',
  ],
  6: [
    'fd00:42:0:3::9',
    'fd00:42:0:99::9',
    'fd00:42:0:1::2',
    '2001:db8::2',
    '::1',
    '::',
    'fe80::1',
    'ff02::1',
    '::ffff:10.42.2.9',
  ],
} as const;
const ELSEWHERE = {
  4: [
    '10.42.3.9',
    '10.42.2.9',
    '10.42.99.9',
    '8.8.8.8',
    '192.0.2.2',
    '127.0.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '224.0.0.1',
  ],
  6: [
    'fd00:42:0:3::9',
    'fd00:42:0:2::9',
    'fd00:42:0:99::9',
    '2001:db8::2',
    '::1',
    '::',
    'fe80::1',
    'ff02::1',
    '::ffff:10.42.1.5',
  ],
} as const;

/** What it is, the reason it is to be dropped for, the packets, how many of them are answered. */
export type Forgery = [what: string, reason: string, packets: () => Buffer[], answers?: number];

export const FORGED_IPV4: readonly Forgery[] = [
  ['cut off anywhere', 'truncated', () => range(0, 59).map((length) => four().subarray(0, length))],
  ['said to be longer than it is', 'truncated', () => [61, 62, 1472, 65_535].map((total) => four({ total }))],
  [
    'followed by more bytes',
    'oversized',
    () => [1, 8, 40, 1440].map((n) => Buffer.concat([four(), data(n)])),
  ],
  ['said to be shorter than it is', 'oversized', () => [20, 28, 59].map((total) => four({ total }))],
  ['larger than the MTU', 'oversized', () => [1445, 1473, 9000, 65_479].map((n) => four({}, n))],
  ['of a version that is none', 'bad_version', () => VERSIONS.map((version) => four({ version }))],
  ['with a header shorter than a header', 'bad_header', () => range(0, 4).map((ihl) => four({ ihl }))],
  ['with a header longer than the packet', 'bad_header', () => [four({ ihl: 15 }, 8), four({ total: 19 })]],
  [
    'a fragment beyond 65,535 bytes',
    'bad_fragment',
    () => [four({ fragment: 8191 }), four({ fragment: at(65_512) })],
  ],
  [
    'a fragment in the midst of a header',
    'bad_fragment',
    () => [four({ fragment: 1 }), four({ fragment: MORE + 1 })],
  ],
  [
    'a fragment not to be fragmented',
    'bad_fragment',
    () => [DF + MORE, DF + 100, DF + MORE + 100].map((fragment) => four({ fragment })),
  ],
  [
    'with the evil bit',
    'bad_fragment',
    () => [0x8000, 0x8000 + DF, 0x8000 + MORE].map((fragment) => four({ fragment })),
  ],
  [
    'a first fragment of odd length',
    'bad_fragment',
    () => range(33, 39).map((n) => four({ fragment: MORE }, n)),
  ],
  [
    'a fragment of nothing',
    'bad_fragment',
    () => [MORE, 100].map((fragment) => ip4(data(0), { from: PEER[4], to: OURS[4], fragment })),
  ],
  ['with a TTL of 0', 'ttl_exceeded', () => [four({ ttl: 0 }), four({ ttl: 0 }, 1400)]],
  ['from nobody, or another', 'forged_source', () => FOREIGN[4].map((from) => four({ from }))],
  ['to others', 'not_ours', () => ELSEWHERE[4].map((to) => four({ to }))],
];

export const FORGED_IPV6: readonly Forgery[] = [
  ['cut off anywhere', 'truncated', () => range(0, 79).map((length) => six().subarray(0, length))],
  [
    'said to be longer than it is',
    'truncated',
    () => [41, 42, 1432, 65_535].map((length) => six({ length })),
  ],
  ['followed by more bytes', 'oversized', () => [1, 8, 40, 1440].map((n) => Buffer.concat([six(), data(n)]))],
  ['said to be shorter than it is', 'oversized', () => [0, 8, 39].map((length) => six({ length }))],
  ['larger than the MTU', 'oversized', () => [1425, 9000, 65_459].map((n) => six({}, n)), 3],
  [
    'with a chain of headers beyond its end',
    'bad_header',
    () => [
      bare(0),
      bare(43),
      bare(60),
      bare(44),
      bare(0, extension(60)),
      bare(0, extension(17, 1, 8)),
      bare(60, extension(17, 255, 100)),
      bare(0, extension(17, 0, 7)),
      bare(44, fragment6(17, 0, true).subarray(0, 7)),
      bare(0, extension(44)),
      bare(44, fragment6(60, 0, false)),
    ],
  ],
  [
    'with more headers than anybody needs',
    'bad_header',
    () => [chained(60, [...Array(8).fill(extension(60)), extension(17)])],
  ],
  [
    'with two fragment headers',
    'bad_fragment',
    () => [
      chained(44, [fragment6(44, 0, false), fragment6(17, 0, false)]),
      chained(44, [fragment6(60, 0, true), extension(44), fragment6(17, 0, true)]),
    ],
  ],
  ['a fragment beyond 65,535 bytes', 'bad_fragment', () => [chained(44, [fragment6(17, 65_528, false)])]],
  [
    'a fragment in the midst of a header',
    'bad_fragment',
    () => [chained(44, [fragment6(17, 8, false)]), chained(44, [fragment6(17, 8, true)])],
  ],
  [
    'a first fragment of odd length',
    'bad_fragment',
    () => range(33, 39).map((n) => chained(44, [fragment6(17, 0, true)], n)),
  ],
  [
    'a fragment of nothing',
    'bad_fragment',
    () => [bare(44, fragment6(17, 0, true)), bare(44, fragment6(17, 800, false))],
  ],
  ['with a hop limit of 0', 'ttl_exceeded', () => [six({ hops: 0 }), six({ hops: 0 }, 1400)]],
  ['from nobody, or another', 'forged_source', () => FOREIGN[6].map((from) => six({ from }))],
  ['to others', 'not_ours', () => ELSEWHERE[6].map((to) => six({ to }))],
];
