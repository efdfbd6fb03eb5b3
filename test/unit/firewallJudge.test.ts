import { describe, expect, test } from 'vitest';
import {
  type BaseChain,
  type Firewall,
  judge,
  type Packet,
  readFirewall,
} from '../../src/inspect/firewall/index.ts';
import { iptablesBases } from '../../src/inspect/firewall/iptables.ts';
import { nftTables, parseTexts } from '../../src/inspect/firewall/nft.ts';
import type { Commands } from '../../src/kernel/command.ts';
import { parseSave } from '../../src/kernel/iptablesSave.ts';
import { addr } from '../../src/net/addr.ts';

/** What single rules and chains do to a packet; test/netns/firewall-judge.test.ts holds the whole to the kernel. */

const PACKET: Packet = {
  family: 4,
  iif: 'cni0',
  oif: 'flannel.1',
  saddr: addr('10.42.1.2'),
  daddr: addr('10.42.2.2'),
  proto: 6,
  sport: 40_000,
  dport: 80,
  ctState: 'new',
  mark: 0,
  length: 60,
};

type Expr = Readonly<Record<string, unknown>>;
const wall = (bases: readonly BaseChain[], gaps: readonly string[] = []): Firewall => ({ bases, gaps });

/** A ruleset as `nft -j` prints it: `chains` by name, base chains as `name hook priority policy`. */
function nft(
  chains: Readonly<Record<string, readonly (readonly Expr[])[]>>,
  more: readonly Expr[] = [],
): Firewall {
  const at = { family: 'inet', table: 't' };
  const objects: Expr[] = [{ table: { family: 'inet', name: 't' } }, ...more];
  for (const [head, rules] of Object.entries(chains)) {
    const [name, hook, prio, policy, type = 'filter'] = head.split(' ');
    objects.push({ chain: { ...at, name, ...(hook ? { type, hook, prio: Number(prio), policy } : {}) } });
    rules.forEach((expr, handle) => {
      objects.push({ rule: { ...at, chain: name, handle, expr } });
    });
  }
  return wall(nftTables(objects, new Map()).flatMap((t) => t.bases));
}
const drop: Expr = { drop: null };
const accept: Expr = { accept: null };
const limit: Expr = { limit: { rate: 5, per: 'second' } };
const match = (left: Expr, right: unknown, op = '=='): Expr => ({ match: { op, left, right } });
const meta = (key: string): Expr => ({ meta: { key } });
const payload = (protocol: string, field: string): Expr => ({ payload: { protocol, field } });
const forward = (firewall: Firewall, packet: Packet = PACKET) => judge(firewall, 'forward', packet);

describe('the course of a packet', () => {
  test('without rules it passes', () => {
    expect(forward(wall([]))).toMatchObject({ verdict: 'accept', doubts: [] });
  });

  test('accepting ends a chain, and a later one may still drop', () => {
    const judged = forward(nft({ 'b forward 5 drop': [], 'a forward 0 drop': [[accept]] }));
    expect(judged).toMatchObject({
      verdict: 'drop',
      by: { where: 'nft table inet t, chain b', text: 'policy drop' },
    });
  });

  test('chains go by priority, whatever their order', () => {
    const first = { mangle: { key: meta('mark'), value: 7 } };
    const judged = forward(
      nft({ 'b forward 5 drop': [[match(meta('mark'), 7), accept]], 'a forward -5 accept': [[first]] }),
    );
    expect(judged).toMatchObject({ verdict: 'accept', packet: { mark: 7 } });
  });

  test('a jump comes back, a goto does not', () => {
    const sub = { c: [[match(meta('iifname'), 'eth0'), drop]] };
    expect(
      forward(nft({ 'a forward 0 accept': [[{ jump: { target: 'c' } }], [drop]], ...sub })).verdict,
    ).toBe('drop');
    expect(
      forward(nft({ 'a forward 0 accept': [[{ goto: { target: 'c' } }], [drop]], ...sub })).verdict,
    ).toBe('accept');
  });

  test('chains that lead to each other, or nowhere, are not followed for ever', () => {
    const loop = nft({
      'a forward 0 accept': [[{ jump: { target: 'c' } }]],
      c: [[{ jump: { target: 'c' } }]],
    });
    expect(forward(loop).verdict).toBe('unknown');
    expect(forward(nft({ 'a forward 0 accept': [[{ jump: { target: 'gone' } }]] })).verdict).toBe('unknown');
  });

  test('what may drop is a doubt; what all ways end in is sure', () => {
    const doubt = forward(nft({ 'a forward 0 accept': [[limit, drop]] }));
    expect(doubt).toMatchObject({ verdict: 'unknown', doubts: [{ where: 'nft table inet t, chain a' }] });
    expect(forward(nft({ 'a forward 0 drop': [[limit, drop]] })).verdict).toBe('drop');
    expect(forward(nft({ 'a forward 0 accept': [[limit, accept]] })).verdict).toBe('accept');
    expect(forward(nft({ 'a forward 0 accept': [[limit, drop]], 'b forward 1 drop': [] })).verdict).toBe(
      'drop',
    );
  });

  test('a mark that is set perhaps is not known after', () => {
    const set = { mangle: { key: meta('mark'), value: 1 } };
    const walls = (mark: number) =>
      nft({
        'a forward 0 accept': [
          [limit, set],
          [match(meta('mark'), mark), drop],
        ],
      });
    expect(forward(walls(1)).verdict).toBe('unknown');
    expect(forward(walls(2)).verdict).toBe('unknown');
  });

  test('a gap makes acceptance unsure, not a drop', () => {
    expect(forward(wall([], ['nft is not installed'])).verdict).toBe('unknown');
    const { bases } = nft({ 'a forward 0 drop': [] });
    expect(forward(wall(bases, ['x'])).verdict).toBe('drop');
  });

  test('translation is asked of the first packet of a connection alone, and once', () => {
    const nat = nft({ 'n postrouting 100 accept nat': [[{ masquerade: null }]] });
    expect(judge(nat, 'postrouting', PACKET).nat).toMatchObject({ kind: 'masquerade', sure: true });
    expect(judge(nat, 'postrouting', PACKET).packet.saddr).toBeUndefined();
    expect(judge(nat, 'postrouting', { ...PACKET, ctState: 'established' }).nat).toBeUndefined();
    expect(judge(nat, 'postrouting', { ...PACKET, ctState: undefined }).nat).toMatchObject({ sure: false });
    const perhaps = nft({ 'n postrouting 100 accept nat': [[limit, { masquerade: null }]] });
    expect(judge(perhaps, 'postrouting', PACKET).nat).toMatchObject({ sure: false });
  });
});

describe('matches of nft', () => {
  const matches = (m: Expr, packet: Packet = PACKET): boolean | undefined => {
    const { verdict } = forward(nft({ 'a forward 0 accept': [[m, drop]] }), packet);
    return verdict === 'unknown' ? undefined : verdict === 'drop';
  };
  const state = { ct: { key: 'state' } };

  test.each([
    [match(meta('iifname'), 'cni*'), true],
    [match(meta('iifname'), 'cni\\*'), false],
    [match(meta('oifname'), { set: ['eth0', 'flannel.1'] }, '!='), false],
    [match(payload('ip', 'saddr'), { prefix: { addr: '10.42.0.0', len: 16 } }), true],
    [match(payload('ip', 'daddr'), { range: ['10.42.2.3', '10.42.2.9'] }), false],
    [match({ '&': [payload('ip', 'daddr'), '0.0.0.255'] }, '0.0.0.2'), true],
    // Of another family: the rule ends there, also for !=.
    [match(payload('ip6', 'saddr'), 'fd00::1', '!='), false],
    [match(payload('udp', 'dport'), 53, '!='), false],
    [match(payload('tcp', 'dport'), { set: [22, { range: [80, 90] }] }), true],
    [
      match(
        { concat: [payload('ip', 'saddr'), payload('tcp', 'dport')] },
        { set: [{ concat: ['10.42.1.2', 80] }] },
      ),
      true,
    ],
    [
      match(
        { concat: [payload('ip', 'saddr'), payload('tcp', 'dport')] },
        { set: [{ concat: ['10.42.1.2', 81] }] },
      ),
      false,
    ],
    [match(meta('l4proto'), { set: ['udp', 6] }), true],
    [match(meta('l4proto'), 'no-such-protocol'), undefined],
    [match(meta('length'), 100, '<'), true],
    [match(state, ['established', 'related'], 'in'), false],
    [match(state, ['new', 'related'], '!'), false],
    [match(state, { '|': ['new', 'established'] }, '!='), true],
    [match(meta('skuid'), 0), undefined],
    [match(payload('tcp', 'flags'), 'syn'), undefined],
    [match({ fib: { result: 'type', flags: ['daddr'] } }, 'local'), undefined],
    [{ xt: { type: 'match', name: 'comment' } }, true],
    [{ xt: { type: 'match', name: 'recent' } }, undefined],
    [{ something: 'new' }, undefined],
  ])('%j: %s', (m, expected) => {
    expect(matches(m)).toBe(expected);
  });

  test('named sets, and those that grow as packets pass', () => {
    const set = {
      set: { family: 'inet', table: 't', name: 's', elem: ['10.42.1.2', { elem: { val: '10.9.9.9' } }] },
    };
    const rule = [match(payload('ip', 'saddr'), '@s'), drop];
    expect(forward(nft({ 'a forward 0 accept': [rule] }, [set])).verdict).toBe('drop');
    const grows = { set: { op: 'add', elem: payload('ip', 'saddr'), set: '@s' } };
    expect(forward(nft({ 'a forward 0 accept': [rule, [grows]] }, [set])).verdict).toBe('unknown');
    expect(
      forward(nft({ 'a forward 0 accept': [[match(payload('ip', 'saddr'), '@gone'), drop]] })).verdict,
    ).toBe('unknown');
  });

  test('verdict maps', () => {
    const vmap = (set: readonly unknown[]) =>
      nft({ 'a forward 0 accept': [[{ vmap: { key: payload('tcp', 'dport'), data: { set } } }, drop]] });
    expect(forward(vmap([[80, { drop: null }]])).verdict).toBe('drop');
    expect(forward(vmap([[81, { drop: null }]])).verdict).toBe('accept');
    expect(forward(vmap([[80, { continue: null }]])).verdict).toBe('drop');
  });

  test('the answer of a reject says which packets it is for', () => {
    const reject = (type: string) => forward(nft({ 'a forward 0 accept': [[{ reject: { type } }]] })).verdict;
    expect([reject('icmp'), reject('icmpv6'), reject('icmpx'), reject('tcp reset')]).toEqual([
      'reject',
      'accept',
      'reject',
      'reject',
    ]);
  });

  test('rules in their own words', () => {
    const texts = parseTexts(
      'table inet t {\n\tchain a { # handle 1\n\t\ttcp dport 80  drop # handle 7\n\t}\n}\n',
    );
    expect([...texts]).toEqual([['inet t a 7', 'tcp dport 80 drop']]);
  });
});

describe('matches of iptables', () => {
  const judged = (rules: string, packet: Packet = PACKET, policy = 'ACCEPT') => {
    const text = `*filter\n:FORWARD ${policy} [0:0]\n:USER - [0:0]\n${rules}\nCOMMIT\n`;
    return forward(wall(iptablesBases('iptables-legacy', 4, 'filter', parseSave(text, 'filter')!)), packet)
      .verdict;
  };
  test.each([
    ['-s 10.42.0.0/16 -d 10.42.2.2/32', 'drop'],
    ['! -s 10.42.0.0/16', 'accept'],
    ['-i cni+ ! -o eth0', 'drop'],
    ['-p tcp -m tcp --dport 79:80', 'drop'],
    ['-p tcp -m tcp ! --dport 80', 'accept'],
    ['-p udp -m udp --dport 80', 'accept'],
    ['-p tcp -m multiport --dports 22,80:90', 'drop'],
    ['-m conntrack --ctstate RELATED,ESTABLISHED', 'accept'],
    ['-m conntrack ! --ctstate NEW', 'accept'],
    ['-m conntrack --ctstate DNAT', 'unknown'],
    ['-m mark --mark 0x0/0xff', 'drop'],
    ['-m comment --comment "-j ACCEPT"', 'drop'],
    ['-m set --match-set blocked src', 'unknown'],
    ['-m physdev --physdev-is-bridged', 'unknown'],
    ['-m iprange --dst-range 10.42.2.0-10.42.2.1', 'accept'],
    ['-m somebody --does "this and" that', 'unknown'],
  ])('%s: %s', (rule, verdict) => {
    expect(judged(`-A FORWARD ${rule} -j DROP`)).toBe(verdict);
  });

  test('chains of users, and targets that are not known', () => {
    expect(judged('-A FORWARD -j USER\n-A FORWARD -j DROP\n-A USER -j RETURN')).toBe('drop');
    expect(judged('-A FORWARD -g USER\n-A FORWARD -j DROP\n-A USER -j RETURN')).toBe('accept');
    expect(judged('-A FORWARD -j NFQUEUE --queue-num 1')).toBe('unknown');
    expect(
      judged(
        '-A FORWARD -j LOG --log-prefix x\n-A FORWARD -j MARK --set-xmark 0x4/0x4\n-A FORWARD -m mark --mark 0x4/0x4 -j REJECT --reject-with icmp-port-unreachable',
      ),
    ).toBe('reject');
  });
});

describe('reading', () => {
  const commands = (answers: Readonly<Record<string, string | Promise<never>>>): Commands => ({
    run: async (argv) => {
      const found = answers[argv.join(' ')];
      return found === undefined
        ? { status: 1, stdout: '', stderr: 'no' }
        : { status: 0, stdout: await found, stderr: '' };
    },
    read: async () => undefined,
  });

  test('what is no JSON, of another shape, or never comes, is a gap and not an error', async () => {
    const list = { 'nft list tables': 'table ip a\ntable ip6 b\n', 'nft -a -t list ruleset': '' };
    const odd = {
      ...list,
      'nft -j list table ip a': 'Segmentation fault',
      'nft -j list table ip6 b': '{"nftables": 5}',
    };
    const { bases, gaps } = await readFirewall(commands(odd));
    expect(bases).toEqual([]);
    expect(gaps).toHaveLength(2);
    const never = await readFirewall(
      commands({ 'nft list tables': new Promise<never>(() => {}), 'nft -a -t list ruleset': '' }),
      20,
    );
    expect(never.gaps.join()).toContain('no answer within');
    const nothing = await readFirewall(commands({}));
    expect(nothing.gaps.length).toBeGreaterThan(0);
  });

  test('hostile objects are unknown at most', async () => {
    const evil: readonly unknown[] = [
      null,
      5,
      [],
      { match: null },
      { vmap: [] },
      { mangle: 1 },
      { jump: 'x' },
      { constructor: {} },
      { match: { op: '==', left: { concat: [1] }, right: null } },
    ];
    for (const e of evil) {
      const found = forward(nft({ 'a forward 0 accept': [[e as Expr, drop]] }));
      expect(found.verdict).not.toBe('drop');
    }
    expect(nftTables([null, 'x', { table: 1 }, { rule: { expr: 7 } }, { chain: {} }], new Map())).toEqual([]);
  });

  test('chains on devices are a gap when they decide something', async () => {
    const table = (rule: string) =>
      `table netdev x {\n\tchain i { # handle 1\n\t\ttype filter hook ingress device "lo" priority filter; policy accept;\n\t\t${rule} # handle 2\n\t}\n}\n`;
    const gapsOf = async (rule: string) =>
      (
        await readFirewall(
          commands({ 'nft list tables': 'table netdev x\n', 'nft -a -t list ruleset': table(rule) }),
        )
      ).gaps;
    expect(await gapsOf('ip daddr & 255.255.255.0 @out4_24')).toEqual([]);
    expect(await gapsOf('udp dport 5 drop')).toHaveLength(1);
    expect(await gapsOf('udp dport vmap @m')).toHaveLength(1);
  });

  test('a dormant table does nothing', async () => {
    const text = 'table ip a {\n\tflags dormant\n}\n';
    const { gaps } = await readFirewall(
      commands({ 'nft list tables': 'table ip a\n', 'nft -a -t list ruleset': text }),
    );
    expect(gaps).toEqual([]);
  });
});
