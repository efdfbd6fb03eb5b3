import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Firewall,
  type Judgment,
  judge,
  type Packet,
  readFirewall,
} from '../../src/inspect/firewall/index.ts';
import { commandsIn } from '../../src/kernel/command.ts';
import { addr } from '../../src/net/addr.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { ping } from '../support/ping.ts';
import { cleanEnv } from '../support/proc.ts';

/*
 * Random rules in a router between two hosts, and packets really sent through it: where the evaluator is sure, the kernel does the same.
 *
 *   left (10.1.0.2–4, fd00:1::2) ── in0 router out0 ── right (10.2.0.2–3, fd00:2::2)
 */

const SENDER = fileURLToPath(new URL('../support/datagrams.ts', import.meta.url));
const owner = thisProcess();
let left: Netns;
let router: Netns;
let right: Netns;
let sender: ChildProcessWithoutNullStreams;
let answers: Interface;

/** A datagram; `id` tells it from the others of a round. */
interface Datagram {
  readonly from: string;
  readonly to: string;
  readonly dport: number;
  /** Bytes of payload. */
  readonly size: number;
}

const MOST = 8;
let port = 20_000;

beforeAll(async () => {
  [left, router, right] = (await Promise.all(
    ['left', 'router', 'right'].map((n) => Netns.create(owner, n)),
  )) as [Netns, Netns, Netns];
  await router.ipBatch([
    `link add in0 type veth peer name eth0 netns ${left.name}`,
    `link add out0 type veth peer name eth0 netns ${right.name}`,
    ...['addr add 10.1.0.1/24 dev in0', 'addr add fd00:1::1/64 dev in0', 'addr add 10.2.0.1/24 dev out0'],
    ...['addr add fd00:2::1/64 dev out0', 'link set in0 up', 'link set out0 up'],
  ]);
  await router.sysctl({ 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  for (const [netns, n, count] of [
    [left, 1, 3],
    [right, 2, 2],
  ] as const) {
    await netns.ipBatch([
      'link set eth0 up',
      ...Array.from({ length: count }, (_, i) => `addr add 10.${n}.0.${i + 2}/24 dev eth0`),
      `addr add fd00:${n}::2/64 dev eth0`,
      `route add default via 10.${n}.0.1`,
      `route add default via fd00:${n}::1`,
    ]);
  }
  // What comes and what leaves, told by the first four bytes of the payload.
  const each = Array.from({ length: MOST + 1 }, (_, i) => i);
  await router.nft(`table inet seen {
    ${each.map((i) => `counter came${i} {}\n counter left${i} {}`).join('\n')}
    chain came { type filter hook prerouting priority -450;
      ${each.map((i) => `udp dport 5000-5999 @th,64,32 ${i} counter name came${i}`).join('\n')}
    }
    chain left { type filter hook postrouting priority 450;
      ${each.map((i) => `udp dport 5000-5999 @th,64,32 ${i} counter name left${i}`).join('\n')}
    }
  }`);
  const argv = left.argv([process.execPath, SENDER]);
  sender = spawn(argv[0]!, argv.slice(1), { env: cleanEnv() });
  answers = createInterface({ input: sender.stdout });
  // Neighbours are found before packets are counted.
  for (const to of ['10.2.0.2', '10.2.0.3', 'fd00:2::2']) await ping(left, to);
});

afterAll(async () => {
  sender?.kill('SIGKILL');
  for (const netns of [left, router, right]) await netns?.[Symbol.asyncDispose]();
});

async function send(d: Datagram, id: number, sport: number): Promise<void> {
  const answered = once(answers, 'line');
  sender.stdin.write(`${JSON.stringify({ ...d, sport, id })}\n`);
  await answered;
}

/** Which of the datagrams left the router. */
async function passed(datagrams: readonly Datagram[], sports: readonly number[]): Promise<boolean[]> {
  await router.run(['nft', 'reset', 'counters', 'table', 'inet', 'seen']);
  for (const [i, d] of datagrams.entries()) await send(d, i + 1, sports[i]!);
  for (let tries = 0; tries < 200; tries++) {
    const text = await router.run(['nft', 'list', 'counters', 'table', 'inet', 'seen']);
    const counts = new Map(
      [...text.matchAll(/counter (\w+) \{\s+packets (\d+)/g)].map((m) => [m[1], Number(m[2])]),
    );
    // A packet that has come in is through, or not, when the next one comes.
    if (datagrams.every((_, i) => counts.get(`came${i + 1}`)! > 0)) {
      return datagrams.map((_, i) => counts.get(`left${i + 1}`)! > 0);
    }
  }
  throw new Error('datagrams have not come to the router');
}

function packetOf(d: Datagram, sport: number): Packet {
  const family = d.from.includes(':') ? 6 : 4;
  return {
    family,
    iif: 'in0',
    oif: '',
    saddr: addr(d.from),
    daddr: addr(d.to),
    proto: 17,
    sport,
    dport: d.dport,
    ctState: 'new',
    mark: 0,
    length: d.size + (family === 4 ? 28 : 48),
    saddrType: 'unicast',
    daddrType: 'unicast',
  };
}

/** The three hooks of a forwarded packet one after the other. */
function through(firewall: Firewall, packet: Packet): Judgment {
  const before = judge(firewall, 'prerouting', packet);
  if (before.verdict !== 'accept') return before;
  const during = judge(firewall, 'forward', { ...before.packet, oif: 'out0' });
  if (during.verdict !== 'accept') return during;
  return judge(firewall, 'postrouting', during.packet);
}

const datagram: fc.Arbitrary<Datagram> = fc.oneof(
  fc.record({
    from: fc.constantFrom('10.1.0.2', '10.1.0.3', '10.1.0.4'),
    to: fc.constantFrom('10.2.0.2', '10.2.0.3'),
    dport: fc.constantFrom(5001, 5002, 5003, 5007),
    size: fc.constantFrom(4, 20, 100),
  }),
  fc.record({
    from: fc.constant('fd00:1::2'),
    to: fc.constant('fd00:2::2'),
    dport: fc.constantFrom(5001, 5002, 5003, 5007),
    size: fc.constantFrom(4, 20, 100),
  }),
);
const datagrams = fc.array(datagram, { minLength: 4, maxLength: MOST });

/** Says of a judgment that is wrong all there is to know. */
async function expectSame(packets: readonly Datagram[]): Promise<{ sure: number; stopped: number }> {
  const firewall = await readFirewall(commandsIn(router.path));
  expect(firewall.gaps).toEqual([]);
  // Each from a port of its own: the first of its connection, whatever a round before has sent.
  const sports = packets.map(() => (port = port >= 60_000 ? 20_000 : port + 1));
  const judged = packets.map((d, i) => through(firewall, packetOf(d, sports[i]!)));
  const real = await passed(packets, sports);
  let stopped = 0;
  for (const [i, { verdict, by }] of judged.entries()) {
    if (verdict === 'unknown') continue;
    if (verdict !== 'accept') stopped++;
    expect({ passed: verdict === 'accept', by, ...packets[i] }).toEqual({
      passed: real[i],
      by,
      ...packets[i],
    });
  }
  return { sure: judged.filter((j) => j.verdict !== 'unknown').length, stopped };
}

const MATCHES = [
  ...[
    'iifname "in0"',
    'iifname "in*"',
    'iifname != { "in0", "x" }',
    'iif in0',
    'iifname "o*"',
    'iifname != "in0"',
    'oifname "out0"',
    'oifname != "out*"',
    'oif out0',
  ],
  ...[
    'ip saddr 10.1.0.2/31',
    'ip saddr != 10.1.0.3',
    'ip daddr 10.2.0.3-10.2.0.9',
    'ip saddr { 10.1.0.2, 10.1.0.4 }',
  ],
  ...['ip saddr & 0.0.0.1 == 0.0.0.1', 'ip saddr . udp dport @pairs', 'ip saddr . udp dport != @pairs'],
  ...[
    'udp dport 5001-5002',
    'udp dport { 5001, 5003-5006 }',
    'udp dport != 5003',
    'th dport 5002',
    'udp dport @ports',
  ],
  ...[
    'udp dport != @ports',
    'tcp dport 5001',
    'tcp dport != 5001',
    'meta l4proto udp',
    'meta l4proto != { 6, 17 }',
  ],
  ...[
    'meta length 20-60',
    'meta length > 50',
    'ip length < 60',
    'ip protocol udp',
    'ip6 nexthdr udp',
    'udp sport & 1 == 0',
  ],
  ...[
    'ip6 saddr fd00:1::/64',
    'ip6 daddr != fd00:2::2',
    'meta nfproto ipv6',
    'meta protocol ip',
    'icmp type echo-request',
  ],
  ...['meta mark 1', 'meta mark & 0x3 == 0x1', 'meta mark != 0', 'meta mark and 2 == 2', 'meta mark < 2'],
  ...['ct state new', 'ct state { established, related }', 'ct state != new', 'ct state established,related'],
  ...[
    'ct state & (new|invalid) == 0',
    'ct state != established,related',
    'ct state invalid',
    'ct direction original',
  ],
  ...[
    'fib daddr type local',
    'fib saddr type != local',
    'limit rate 1/hour',
    'ip dscp 3',
    'ip ttl > 3',
    'ct mark 5',
  ],
  ...[
    'meta pkttype host',
    'ip frag-off & 0x1fff != 0',
    'add @grown { ip saddr }',
    'ip saddr @grown',
    'ip6 saddr != @grown6',
  ],
];
const ENDS = [
  ...['accept', 'drop', 'return', 'continue', 'reject', 'counter', 'counter drop', 'counter accept'],
  ...['reject with icmpx admin-prohibited', 'meta l4proto tcp reject with tcp reset'],
  ...[
    'meta mark set 1',
    'meta mark set meta mark or 2',
    'meta mark set ct mark',
    'meta mark set udp dport map { 5001 : 1 }',
  ],
  ...['udp dport vmap { 5001 : drop, 5002-5003 : accept }', 'udp dport vmap @verdicts', 'ct mark set 5'],
  ...[
    'ct state vmap { established : accept, invalid : drop }',
    'ip saddr vmap { 10.1.0.2 : continue, 10.1.0.3 : drop } accept',
  ],
];
/** How many protocols of one layer a rule names, the larger of the two layers. */
const protocols = (text: string): number => {
  const named = (pattern: RegExp): number => new Set([...text.matchAll(pattern)].map((m) => m[1])).size;
  const l3 = /(?:\b(ip6?)\b|ipv(6)|protocol (ip)\b)/g;
  const families = new Set(
    [...text.matchAll(l3)].map((m) => ((m[1] ?? m[2] ?? m[3])!.includes('6') ? 6 : 4)),
  );
  return Math.max(
    named(/\b(udp|tcp|icmp)\b/g),
    families.size + (families.has(6) && /icmp/.test(text) ? 1 : 0),
  );
};
const rule = (ends: readonly string[]) =>
  fc
    .tuple(fc.array(fc.constantFrom(...MATCHES), { maxLength: 2 }), fc.constantFrom(...ends))
    // nft takes no rule about two protocols at once.
    .map(([matches, end]) => {
      const kept = [end];
      for (const m of matches) if (protocols([m, ...kept].join(' ')) <= 1) kept.unshift(m);
      return kept.join(' ');
    });
const rules = (ends: readonly string[], maxLength = 5) => fc.array(rule(ends), { maxLength });

const BASES = [
  'prerouting -300',
  'prerouting -150',
  'forward -1',
  'forward 0',
  'forward 10',
  'postrouting 0',
];
const base = fc.record({
  hook: fc.constantFrom(...BASES),
  policy: fc.constantFrom('accept', 'accept', 'accept', 'drop'),
  rules: rules([...ENDS, ...ENDS, 'jump chain1', 'goto chain1', 'jump chain2', 'goto chain2', 'notrack']),
});

const nftRules = fc
  .record({
    bases: fc.array(base, { minLength: 1, maxLength: 3 }),
    chain1: rules([...ENDS, 'jump chain2', 'goto chain2']),
    // The map jumps there.
    chain2: rules(ENDS.filter((end) => !end.includes('@verdicts'))),
    nat: fc.boolean(),
  })
  .map(({ bases, chain1, chain2, nat }) => {
    const chain = (name: string, head: string, list: readonly string[]) =>
      `chain ${name} {\n${head}\n${list.join('\n')}\n}`;
    return `table inet tried {
      set ports { type inet_service; flags interval; elements = { 5001, 5005-5010 } }
      set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.2 . 5000-5002, 10.1.0.3/32 . 5007 } }
      set grown { type ipv4_addr; flags dynamic; }
      set grown6 { type ipv6_addr; elements = { fd00:1::2 } }
      map verdicts { type inet_service : verdict; elements = { 5001 : jump chain2, 5002 : drop, 5003 : return } }
      ${chain('chain2', '', chain2)}
      ${chain('chain1', '', chain1)}
      ${bases
        .map(({ hook, policy, rules }, i) => {
          const [name, priority] = hook.split(' ');
          const kept = rules.filter((r) => (name === 'prerouting' ? !/oif/.test(r) : !/notrack/.test(r)));
          const head = `type filter hook ${name} priority ${priority}; policy ${policy};`;
          const reject = name === 'postrouting' || name === 'prerouting';
          return chain(
            `base${i}`,
            head,
            reject ? kept.filter((r) => !/reject|chain1|chain2|@verdicts/.test(r)) : kept,
          );
        })
        .join('\n')}
      ${nat ? chain('nat', 'type nat hook postrouting priority 100;', ['ip saddr 10.1.0.2 masquerade', 'udp dport 5001 drop']) : ''}
    }`;
  });

test('whatever nftables does, it does what is said where the evaluator is sure', async () => {
  const total = { sure: 0, stopped: 0, packets: 0 };
  await fc.assert(
    fc.asyncProperty(nftRules, datagrams, async (ruleset, packets) => {
      await router.nft(`table inet tried\ndelete table inet tried\n${ruleset}`);
      const { sure, stopped } = await expectSame(packets);
      total.sure += sure;
      total.stopped += stopped;
      total.packets += packets.length;
    }),
    { numRuns: Number(process.env.LODEN_RUNS ?? 40), endOnFailure: true },
  );
  await router.run(['nft', 'delete', 'table', 'inet', 'tried']);
  // Otherwise this shows nothing.
  expect(total.sure).toBeGreaterThan(total.packets / 2);
  expect(total.stopped).toBeGreaterThan(0);
});

const XT_MATCHES = [
  ...[
    '-s 10.1.0.2/31',
    '! -s 10.1.0.3',
    '-d 10.2.0.3',
    '-i in0',
    '-i in+',
    '! -i in0',
    '-p udp',
    '! -p udp',
    '-p tcp',
  ],
  ...[
    '-p udp --dport 5001',
    '-p udp --dport 5002:5004',
    '-p udp ! --dport 5003',
    '-p udp -m multiport --dports 5001,5005:5010',
  ],
  ...[
    '-m mark --mark 1',
    '-m mark --mark 0x1/0x3',
    '-m mark ! --mark 0',
    '-m conntrack --ctstate NEW',
    '-m limit --limit 1/hour',
  ],
  ...[
    '-m conntrack --ctstate RELATED,ESTABLISHED',
    '-m conntrack ! --ctstate NEW',
    '-m comment --comment "-j DROP x"',
  ],
  ...[
    '-m addrtype --dst-type LOCAL',
    '-m addrtype ! --src-type LOCAL',
    '-m iprange --src-range 10.1.0.3-10.1.0.9',
  ],
  ...[
    '-m length --length 30:60',
    '-m statistic --mode random --probability 0.5',
    '-p icmp --icmp-type echo-request',
  ],
];
const XT_ENDS = [
  ...['-j ACCEPT', '-j DROP', '-j RETURN', '-j USER', '-g USER', '', '-j MARK --set-xmark 0x1/0xffffffff'],
  ...['-j MARK --set-xmark 0x2/0x2', '-j MARK --or-mark 4', '-j CONNMARK --restore-mark'],
];
const xtRule = (ends: readonly string[]) =>
  fc
    .tuple(fc.array(fc.constantFrom(...XT_MATCHES), { maxLength: 2 }), fc.constantFrom(...ends))
    // Options of one kind can stand in a rule only once.
    .map(([matches, end]) => {
      const kinds = matches.map((m) => /(?:-m \w+|-[sdip]\b)/.exec(m)![0]);
      return [...matches.filter((_, i) => kinds.indexOf(kinds[i]!) === i), end].join(' ').trim();
    });
const xtRules = fc.record({
  tool: fc.constantFrom('iptables-nft', 'iptables-legacy'),
  policy: fc.constantFrom('ACCEPT', 'ACCEPT', 'DROP'),
  forward: fc.array(xtRule([...XT_ENDS, '-j REJECT']), { maxLength: 6 }),
  user: fc.array(xtRule(XT_ENDS.filter((e) => !e.includes('USER'))), { maxLength: 4 }),
  mangle: fc.array(xtRule(XT_ENDS), { maxLength: 4 }),
});

test('whatever iptables does, of either kind, it does what is said where the evaluator is sure', async () => {
  const total = { sure: 0, stopped: 0, packets: 0 };
  await fc.assert(
    fc.asyncProperty(xtRules, datagrams, async ({ tool, policy, forward, user, mangle }, all) => {
      const packets = all.filter((d) => !d.from.includes(':'));
      const append = (chain: string, list: readonly string[]) => list.map((r) => `-A ${chain} ${r}`);
      const table = (name: string, lines: readonly string[]) => [`*${name}`, ...lines, 'COMMIT'];
      const text = [
        ...table('mangle', [
          ':PREROUTING ACCEPT',
          ':USER -',
          ...append('PREROUTING', mangle),
          ...append('USER', user),
        ]),
        ...table('filter', [
          `:FORWARD ${policy}`,
          ':USER -',
          ...append('FORWARD', forward),
          ...append('USER', user),
        ]),
      ];
      for (const each of ['iptables-nft', 'iptables-legacy']) {
        const input = each === tool ? text : ['*mangle', 'COMMIT', '*filter', ':FORWARD ACCEPT', 'COMMIT'];
        await router.run([`${each}-restore`], { input: `${input.join('\n')}\n` });
      }
      const { sure, stopped } = await expectSame(packets);
      total.sure += sure;
      total.stopped += stopped;
      total.packets += packets.length;
    }),
    { numRuns: Number(process.env.LODEN_RUNS ?? 30), endOnFailure: true },
  );
  expect(total.sure).toBeGreaterThan(total.packets / 2);
  expect(total.stopped).toBeGreaterThan(0);
});
