import { describe, expect, test } from 'vitest';
import { why } from '../../src/cli/commands/why.ts';
import { judge } from '../../src/inspect/firewall/index.ts';
import { nftTables } from '../../src/inspect/firewall/nft.ts';
import { answer } from '../../src/inspect/why/conclude.ts';
import type { IpRule } from '../../src/inspect/why/ipRules.ts';
import type { Seen, Underlay } from '../../src/inspect/why/seen.ts';
import type { HopName, Why } from '../../src/inspect/why/types.ts';
import { addr } from '../../src/net/addr.ts';
import type { Mac } from '../../src/net/mac.ts';
import { leaseJson, routeTo, seen, world } from '../fake/whySeen.ts';

/** What `why` must not be sure of, and what it must not overlook. */

const broken = (w: Why): HopName[] => w.hops.filter((h) => h.state === 'broken').map((h) => h.hop);
const hop = (w: Why, name: HopName) => w.hops.find((h) => h.hop === name);
const silent = { what: 'silent' } as const;
const answered = { what: 'answered', rtt: 0.2 } as const;
const MUTE = { tunnel: silent, full: silent, target: silent } as const;
const onlyHost = { echoes: { ...MUTE, host: answered } } as const;
const nobody = { echoes: { ...MUTE, host: silent } } as const;
const under = (more: Partial<Underlay>): Pick<Seen, 'underlay'> => ({
  underlay: { ...seen().underlay!, ...more },
});
const neighbour = (state: string) => under({ neighbour: { mac: '02:00:00:00:00:f2' as Mac, state } });
const ipRule = (priority: number, text: string, more: Partial<IpRule> = {}): IpRule => ({
  ...{ priority, text, action: 'table', table: 77, inverted: false, byMark: false },
  ...more,
});

/** One chain with one rule, as `nft -j` prints it. */
const rules = (hook: string, expr: readonly unknown[], type: string, prio = 0): Pick<Seen, 'firewall'> => {
  const at = { family: 'ip', table: 't' };
  const objects = [
    { table: { family: 'ip', name: 't' } },
    { chain: { ...at, name: 'c', type, hook, prio, policy: 'accept' } },
    { rule: { ...at, chain: 'c', handle: 1, expr } },
  ];
  return { firewall: { bases: nftTables(objects, new Map()).flatMap((t) => t.bases), gaps: [] } };
};
const is = (left: unknown, right: unknown) => ({ match: { op: '==', left, right } });
const port = is({ payload: { protocol: 'udp', field: 'dport' } }, 8472);
const setMark = { mangle: { key: { meta: { key: 'mark' } }, value: 5 } };

describe('silence', () => {
  test('with all in order here points away, as far as was looked', () => {
    const w = answer({ ...seen(), ...onlyHost });
    expect(broken(w)).toEqual(['remote']);
    expect(w.conclusion).toContain(
      'nothing wrong was found on this host (not looked at: tc, XDP, XFRM): perhaps UDP port 8472 is blocked',
    );
    expect(w.conclusion).toContain(
      'another host has taken its address (the MAC seen here is 02:00:00:00:00:f2)',
    );
  });

  test('names what of this host is not known', () => {
    const w = answer({ ...seen(), ...onlyHost, firewall: { bases: [], gaps: ['x'] } });
    expect(w.conclusion).toContain(
      '(not known: firewall, tunnel port; not looked at: tc, XDP, XFRM): it is one of those, or perhaps',
    );
  });

  test('a host that answers nothing may just drop echoes; one with a sign of life lives', () => {
    const says = (more: Partial<Seen>) => answer({ ...seen(), ...nobody, ...more }).conclusion;
    for (const state of ['STALE', 'DELAY', 'PROBE'])
      expect(says(neighbour(state))).toMatch(/down, unplugged or cut off, or it drops echoes/);
    expect(says({})).toMatch(/a host with its public address 192\.0\.2\.2 has just answered ARP/);
    expect(says({ ...neighbour('STALE'), echoes: { ...nobody.echoes, knock: answered } })).toMatch(
      /its node lives \(192\.0\.2\.2 does not answer echoes, but says that a port is closed\)/,
    );
    // The gateway's answer is not the peer's.
    expect(says(under({ hop: addr('192.0.2.254') }))).toMatch(/down, unplugged or cut off/);
    for (const more of [{}, neighbour('STALE')]) expect(says(more)).not.toContain('release');
  });

  test('a neighbour that somebody has set for ever is doubted, unless it answers', () => {
    const w = answer({ ...seen(), ...nobody, ...neighbour('PERMANENT') });
    expect(hop(w, 'underlay')?.state).toBe('warning');
    expect(w.conclusion).toMatch(
      /doubtful: underlay.*Look at this first: the MAC 02:00:00:00:00:f2 of 192\.0\.2\.2/,
    );
    expect(hop(answer({ ...seen(), ...neighbour('PERMANENT') }), 'underlay')?.state).toBe('ok');
  });
});

describe('translation of the tunnel’s packets', () => {
  test.each([
    ['dnat', 'prerouting', { dnat: { addr: '127.0.0.9' } }, 'broken', /incoming packets elsewhere \(dnat\)/],
    [
      'redirect',
      'prerouting',
      { redirect: { port: 53 } },
      'broken',
      /incoming packets elsewhere \(redirect\)/,
    ],
    ['dnat', 'output', { dnat: { addr: '192.0.2.9' } }, 'broken', /outgoing packets elsewhere/],
    ['masquerade', 'postrouting', { masquerade: null }, 'warning', /outgoing packets another source/],
  ] as const)('%s at %s', (_, hook, statement, state, says) => {
    const w = answer({ ...seen(), ...onlyHost, ...rules(hook, [port, statement], 'nat') });
    expect(hop(w, 'tunnel port')).toMatchObject({ state, cause: expect.stringMatching(says) });
  });

  test('what may be translated is not known', () => {
    const w = answer({
      ...seen(),
      ...rules('prerouting', [port, { limit: {} }, { redirect: { port: 53 } }], 'nat'),
    });
    expect(hop(w, 'tunnel port')).toMatchObject({
      state: 'unknown',
      found: expect.stringContaining('perhaps'),
    });
  });

  test('what is sure counts more than what may be', () => {
    const elsewhere = { dnat: { addr: '192.0.2.9' } };
    const maybe = rules('output', [port, { limit: {} }, elsewhere], 'nat').firewall;
    const sure = rules('prerouting', [port, elsewhere], 'nat').firewall;
    const firewall = { bases: [...maybe.bases, ...sure.bases], gaps: [] };
    expect(broken(answer({ ...seen(), ...onlyHost, firewall }))).toEqual(['tunnel port']);
  });

  test('what answers all the same is not said to be silent', () => {
    const w = answer({ ...seen(), ...rules('prerouting', [port, { redirect: { port: 53 } }], 'nat') });
    expect(w.conclusion).toMatch(/^10\.42\.2\.2 is reached, but a rule on this host sends/);
  });
});

describe('marks', () => {
  const packet = { ...seen().packet, mark: 0 };
  test.each([
    ['a chain of type route', 'output', 'route', 5],
    ['another chain: it is routed already', 'output', 'filter', 0],
    ['any chain before routing', 'prerouting', 'filter', 5],
  ] as const)('%s', (_, hook, type, mark) => {
    const { firewall } = rules(hook, [setMark], type);
    expect(judge(firewall, hook, packet).routeMark).toBe(mark);
  });

  test('a way that is not there for the mark is named with it and with the rules', () => {
    const w = answer({
      ...seen(),
      ...onlyHost,
      ...under({
        mark: 5,
        way: { refused: 'Invalid argument', code: 'EINVAL' },
        rules: [
          ipRule(0, '0: from all lookup local', { table: 255 }),
          ipRule(100, '100: fwmark 0x5', { byMark: true }),
        ],
      }),
    });
    expect(broken(w)).toEqual(['underlay']);
    expect(w.conclusion).toMatch(/for packets with mark 0x5,.*\(policy routing rules: 100: fwmark 0x5\)/);
  });

  test('that cannot be told make rules that go by them unknown, and no others', () => {
    const byMark = ipRule(100, '100: from all fwmark 0x5 lookup 77', { byMark: true });
    const state = (rule: IpRule, mark: number | undefined) => {
      const w = answer({ ...seen(), mark, rules: [rule], ...under({ mark, rules: [rule] }) });
      return [hop(w, 'rules')?.state, hop(w, 'underlay')?.state];
    };
    expect(state(byMark, undefined)).toEqual(['unknown', 'unknown']);
    expect(state(byMark, 0)).toEqual(['ok', 'ok']);
    expect(state(ipRule(100, 'x'), undefined)).toEqual(['ok', 'ok']);
  });
});

describe('a packet for which the kernel has no way', () => {
  const refused = { way: { refused: 'Invalid argument', code: 'EINVAL' } } as const;
  const ours = routeTo('10.42.2.0/24');
  const black = routeTo('0.0.0.0/0', { type: 'blackhole', table: 77, text: 'blackhole default table 77' });
  const rule = ipRule(100, '100: from all lookup 77');
  const on = (more: Partial<Seen>) =>
    answer({ ...seen(), ...nobody, ...refused, routes: [ours, black], ...more });

  test('was stopped by the table that a rule leads to', () => {
    const w = on({ rules: [rule] });
    expect(broken(w)).toEqual(['rules']);
    expect(w.conclusion).toMatch(/stops it: 100: from all lookup 77; there: blackhole default table 77/);
  });

  test('by one of several', () => {
    const w = on({ rules: [rule, ipRule(200, '200: from all unreachable', { action: 'unreachable' })] });
    expect(w.conclusion).toMatch(/one of these policy routing rules stops it: 100: .* \| 200: /);
  });

  test('not by a rule for other addresses, nor for sure where the main table has none either', () => {
    const other = ipRule(100, '100', { dst: { addr: addr('10.99.0.0'), len: 16 } });
    expect(broken(on({ rules: [other] }))).toEqual(['route']);
    expect(hop(on({ rules: [other] }), 'rules')?.state).toBe('unknown');
    expect(broken(on({ rules: [rule], routes: [black] }))).toEqual(['route']);
    const inverted = { ...other, inverted: true };
    expect(broken(on({ rules: [inverted] }))).toEqual(['rules']);
  });

  test('rp_filter is for what comes in', () => {
    const says = (from: string | undefined) =>
      answer({ ...seen({ from: from ? addr(from) : undefined }), ...nobody, ...refused }).conclusion;
    expect(says(undefined)).not.toContain('rp_filter');
    expect(says('10.42.1.2')).toContain('rp_filter');
  });
});

describe('who this host is', () => {
  const refusing = (own: Seen['own']): Seen => ({
    ...seen(),
    own,
    world: {
      ...world(),
      status: { missing: 'x' },
      daemon: { state: 'refusing', reason: 'permission denied' },
    },
  });

  test('nobody is told that he holds no lease whose daemon only does not answer him', () => {
    const w = answer(refusing(undefined));
    expect(hop(w, 'peer')).toMatchObject({
      state: 'unknown',
      found: expect.stringContaining('cannot be told: permission denied'),
    });
    expect(hop(answer(refusing(leaseJson(1))), 'peer')?.state).toBe('ok');
  });

  test('a lease that is ours by its address alone is said to be that', () => {
    const w = answer({ ...seen({ to: addr('10.42.1.9') }), surelyOwn: false });
    expect(hop(w, 'lease')?.found).toContain('by its address (which node this is cannot be told)');
  });
});

test('a reservation that is not taken up is one also with an address in it; one in use is a peer', () => {
  const reserved = { reservation: true, etcdLease: null, instance: null, backend: null, data: null };
  const ask = (more: object) =>
    answer(
      seen({ to: addr('10.42.9.1') }, { leases: [leaseJson(1), leaseJson(9, { ...reserved, ...more })] }),
    );
  expect(ask({}).conclusion).toMatch(/reserved for node 99999999, and no node has taken it up/);
  for (const more of [{ instance: '1'.repeat(16) }, { backend: 'vxlan' }, { data: { VNI: 1 } }])
    expect(hop(ask(more), 'lease')?.state).toBe('ok');
});

test('the service is another matter than the path', () => {
  const tcp = {
    question: { to: addr('10.42.2.2'), from: undefined, port: { proto: 'tcp', port: 81 } },
  } as const;
  const on = (connected: Seen['connected'], more: Partial<Seen> = {}) =>
    answer({ ...seen(), ...tcp, connected, ...more });
  expect(on('open')).toMatchObject({ whole: true });
  expect(on('silent').conclusion).toMatch(/is reached, but nothing comes back from its TCP port 81/);
  expect(broken(on('refused'))).toEqual(['service']);
  expect(on('refused').conclusion).not.toContain('whole');
  // A refusal is an answer, too, of who drops echoes.
  expect(broken(on('refused', nobody))).toEqual(['service']);
  expect(broken(on('silent', nobody))).toEqual(['remote']);
});

test('an IPv4 address in the clothes of an IPv6 one is that address', () => {
  const { options } = why.bind({ flags: new Map(), env: {}, args: { ip: '::ffff:10.42.2.2' }, rest: [] });
  expect(options).toMatchObject({ question: { to: addr('10.42.2.2') } });
});
