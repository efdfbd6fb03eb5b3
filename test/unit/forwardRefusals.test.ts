import { describe, expect, test } from 'vitest';
import {
  forwardHooks,
  jumpProblem,
  letsPass,
  nftProblem,
  refusedBeforeOurs,
  refuses,
} from '../../src/kernel/forwardRefusals.ts';
import { parseSave } from '../../src/kernel/iptablesSave.ts';
import type { NftChain, NftRule } from '../../src/kernel/nftListing.ts';
import { prefix } from '../../src/net/prefix.ts';

const NET = prefix('10.5.0.0/16');

/** Chains by name, each a list of rules. */
const filter = (chains: Readonly<Record<string, readonly string[]>>) =>
  parseSave(
    `*filter\n${Object.keys(chains)
      .map((c) => `:${c} ${c === 'FORWARD' ? 'DROP' : '-'} [0:0]\n`)
      .join('')}${Object.entries(chains)
      .flatMap(([c, rules]) => rules.map((r) => `-A ${c} ${r}\n`))
      .join('')}COMMIT\n`,
    'filter',
  )!;

describe('a chain that refuses before our rules are reached', () => {
  test.each<[string, Record<string, string[]>, string | undefined]>([
    [
      'Docker',
      {
        FORWARD: ['-j DOCKER-USER', '-o docker0 -j DOCKER'],
        'DOCKER-USER': ['-j RETURN'],
        DOCKER: ['-j DROP'],
      },
      undefined,
    ],
    [
      'a whitelist in DOCKER-USER',
      { FORWARD: ['-j DOCKER-USER'], 'DOCKER-USER': ['-i eth0 -j RETURN', '-j DROP'] },
      'DOCKER-USER',
    ],
    [
      'ufw that rejects',
      {
        FORWARD: ['-j ufw-before-forward', '-j ufw-reject-forward'],
        'ufw-before-forward': ['-j ufw-user-forward'],
        'ufw-user-forward': [],
        'ufw-reject-forward': ['-j REJECT'],
      },
      'ufw-reject-forward',
    ],
    [
      'ufw told to let the overlay pass',
      {
        FORWARD: ['-j ufw-before-forward', '-j ufw-reject-forward'],
        'ufw-before-forward': ['-j ufw-user-forward'],
        'ufw-user-forward': ['-s 10.5.0.0/16 -j ACCEPT'],
        'ufw-reject-forward': ['-j REJECT'],
      },
      undefined,
    ],
    [
      'an accept for a part of the overlay',
      { FORWARD: ['-s 10.5.0.0/17 -j ACCEPT', '-j A'], A: ['-j DROP'] },
      'A',
    ],
    [
      'an accept for more than the overlay',
      { FORWARD: ['-s 10.0.0.0/8 -j ACCEPT', '-j A'], A: ['-j DROP'] },
      undefined,
    ],
    [
      'an accept with a further condition',
      { FORWARD: ['-s 10.5.0.0/16 -p tcp -j ACCEPT', '-j A'], A: ['-j DROP'] },
      'A',
    ],
    [
      'our rules before it',
      { FORWARD: ['-s 10.5.0.0/16 -m comment --comment "loden forward" -j ACCEPT', '-j A'], A: ['-j DROP'] },
      undefined,
    ],
    ['a REJECT in FORWARD itself', { FORWARD: ['-j REJECT'] }, undefined],
    ['a jump two deep', { FORWARD: ['-j A'], A: ['-j B'], B: ['-j REJECT --reject-with tcp-reset'] }, 'B'],
    ['a goto', { FORWARD: ['-g A'], A: ['-j DROP'] }, 'A'],
    ['a chain that returns first', { FORWARD: ['-j A'], A: ['-j RETURN', '-j DROP'] }, undefined],
    ['chains in a circle', { FORWARD: ['-j A'], A: ['-j B'], B: ['-j A'] }, undefined],
  ])('%s', (_, chains, expected) => {
    expect(refusedBeforeOurs(filter(chains), NET)).toBe(expected);
  });

  test('is told with what to do', () => {
    expect(jumpProblem('iptables-nft', 'SITE', NET)).toContain(
      'iptables-nft -I SITE -s 10.5.0.0/16 -j ACCEPT',
    );
  });
});

const FORWARD: NftChain = {
  family: 'inet',
  table: 'filter',
  name: 'forward',
  type: 'filter',
  hook: 'forward',
  prio: 0,
  policy: 'accept',
};
const rule = (...expr: unknown[]): NftRule => ({ family: 'inet', table: 'filter', chain: 'forward', expr });
const source = (right: unknown, op = '==') => ({
  match: { op, left: { payload: { protocol: 'ip', field: 'saddr' } }, right },
});
const ESTABLISHED = {
  match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established', 'related'] },
};

describe('an nft chain on the forward hook', () => {
  test('refuses by its policy or by a rule for all', () => {
    expect(refuses(FORWARD, [])).toBe(false);
    expect(refuses({ ...FORWARD, policy: 'drop' }, [])).toBe(true);
    expect(
      refuses(FORWARD, [rule({ counter: { packets: 0, bytes: 0 } }, { log: null }, { drop: null })]),
    ).toBe(true);
    expect(refuses(FORWARD, [rule({ reject: { type: 'icmpx', expr: 'admin-prohibited' } })])).toBe(true);
    expect(refuses(FORWARD, [rule(ESTABLISHED, { drop: null }), rule({ counter: null }), rule()])).toBe(
      false,
    );
  });

  test('lets the overlay pass by a rule for its prefix or its devices', () => {
    const net = { prefix: { addr: '10.5.0.0', len: 16 } };
    const wide = { prefix: { addr: '10.0.0.0', len: 8 } };
    const part = { prefix: { addr: '10.5.0.0', len: 17 } };
    const device = (name: unknown) => ({
      match: { op: '==', left: { meta: { key: 'iifname' } }, right: name },
    });
    const accept = { accept: null };
    expect(letsPass([rule(ESTABLISHED, accept)], NET)).toBe(false);
    expect(letsPass([rule(source(net), accept)], NET)).toBe(true);
    expect(letsPass([rule(source(wide), { goto: { target: 'x' } })], NET)).toBe(true);
    expect(letsPass([rule(source({ set: ['1.2.3.4', net] }), accept)], NET)).toBe(true);
    expect(letsPass([rule(source(part), accept)], NET)).toBe(false);
    expect(letsPass([rule(source(net, '!='), accept)], NET)).toBe(false);
    expect(letsPass([rule(source(net), { drop: null })], NET)).toBe(false);
    expect(letsPass([rule(source(net), accept)], prefix('fc00::/48'))).toBe(false);
    expect(letsPass([rule(device('cni0'), accept)], NET)).toBe(true);
    expect(letsPass([rule(device({ set: ['eth0', 'flannel.1'] }), accept)], NET)).toBe(true);
    expect(letsPass([rule(device('eth0'), accept)], NET)).toBe(false);
    expect(letsPass([rule(source('@trusted'), accept), rule(source(null), accept)], NET)).toBe(false);
  });

  test('is told with table, chain and the rule to add', () => {
    const text = nftProblem({ ...FORWARD, policy: 'drop' }, NET);
    expect(text).toContain('nft chain inet filter forward refuses forwarded packets (policy drop)');
    expect(text).toContain('nft insert rule inet filter forward ip saddr 10.5.0.0/16 accept');
    expect(nftProblem({ ...FORWARD, table: 'firewalld' }, NET)).toContain(
      '--zone=trusted --add-source=10.5.0.0/16',
    );
  });

  test('concerns the families of its own', () => {
    const chains = (['inet', 'ip', 'ip6', 'bridge', 'arp'] as const).map((family) => ({
      ...FORWARD,
      family,
    }));
    const all = [...chains, { ...FORWARD, hook: 'input' }];
    expect(forwardHooks(all, 4).map((c) => c.family)).toEqual(['inet', 'ip']);
    expect(forwardHooks(all, 6).map((c) => c.family)).toEqual(['inet', 'ip6']);
  });
});
