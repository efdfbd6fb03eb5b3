import { describe, expect, test } from 'vitest';
import type { PathJson, PeerJson } from '../../src/api/shapes.ts';
import { paint } from '../../src/cli/paint.ts';
import { renderWhy } from '../../src/cli/render/why.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { nftTables } from '../../src/inspect/firewall/nft.ts';
import { answer } from '../../src/inspect/why/conclude.ts';
import { expectedFor } from '../../src/inspect/why/expect.ts';
import type { IpRule } from '../../src/inspect/why/ipRules.ts';
import { placeOf } from '../../src/inspect/why/place.ts';
import type { PodEnd, Seen } from '../../src/inspect/why/seen.ts';
import type { HopName, Why } from '../../src/inspect/why/types.ts';
import type { World } from '../../src/inspect/world.ts';
import type { ObservedLink } from '../../src/kernel/observed.ts';
import { addr } from '../../src/net/addr.ts';
import type { Mac } from '../../src/net/mac.ts';
import { ADDRESSES, LINKS, leaseJson, OWN_MAC, routeTo, seen, world } from '../fake/whySeen.ts';

/** What follows from what was seen; test/e2e/why.test.ts sees it on real hosts. */

const broken = (w: Why): HopName[] => w.hops.filter((h) => h.state === 'broken').map((h) => h.hop);
const stateOf = (w: Why, hop: HopName) => w.hops.find((h) => h.hop === hop)?.state;
const silent = { what: 'silent' } as const;
const answered = { what: 'answered', rtt: 0.2 } as const;
const OTHER = '02:00:00:00:00:99' as Mac;

/** Changes of one device. */
const withLink = (name: string, more: Partial<ObservedLink>): Pick<Seen, 'links'> => ({
  links: LINKS.map((l) => (l.name === name ? { ...l, ...more } : l)),
});
const vxlan = LINKS.find((l) => l.name === 'flannel.1')!.vxlan!;
const way = (text: string, more: Parameters<typeof routeTo>[1] = {}) =>
  routeTo(/^[\d.]+\/\d+/.exec(text)?.[0] ?? '0.0.0.0/0', { text, ...more });

const ipRule = (
  priority: number,
  action: IpRule['action'],
  text: string,
  table = 0,
  more: Partial<IpRule> = {},
): IpRule => ({ priority, action, table, text, inverted: false, byMark: false, ...more });

test('a healthy path', () => {
  const w = answer(seen());
  expect(w.hops.filter((h) => h.state !== 'ok')).toEqual([]);
  expect(w).toMatchObject({ whole: true, conclusion: 'The path to 10.42.2.2 is whole: it answers.' });
});

describe('one fault, one broken hop', () => {
  const foreign = way('10.42.2.0/25', { protocol: 12, via: addr('192.0.2.254'), dev: 'eth0' });
  const cases: readonly (readonly [string, HopName, Partial<Seen>, RegExp])[] = [
    [
      'a rule that leads past the main table',
      'rules',
      {
        way: { route: way('default', { table: 77 }) },
        rules: [ipRule(5, 'table', '5: from all lookup 77', 77)],
      },
      /5: from all lookup 77.*priority 4/,
    ],
    [
      'no tunnel device',
      'tunnel',
      {
        links: LINKS.filter((l) => l.name !== 'flannel.1'),
        way: { refused: 'Network is unreachable', code: 'ENETUNREACH' },
        routes: [],
        neighbour: undefined,
        fdb: undefined,
      },
      /flannel\.1 is missing/,
    ],
    [
      'it has another MAC than we advertise',
      'tunnel',
      withLink('flannel.1', { mac: OTHER }),
      /another MAC.*tells peers \(02:00:00:00:00:01\)/,
    ],
    [
      'it has another VNI',
      'tunnel',
      withLink('flannel.1', { vxlan: { ...vxlan, vni: 9 } }),
      /other settings/,
    ],
    [
      'it has another port',
      'tunnel',
      withLink('flannel.1', { vxlan: { ...vxlan, port: 4789 } }),
      /other settings/,
    ],
    [
      'it has lost its address',
      'tunnel',
      { addresses: ADDRESSES.filter((a) => a.dev !== 'flannel.1') },
      /lost its address 10\.42\.1\.0\/32/,
    ],
    [
      'a route of a routing daemon',
      'route',
      { way: { route: foreign }, routes: [foreign, routeTo('10.42.2.0/24')] },
      /was put there by bird/,
    ],
    [
      'no route',
      'route',
      { way: { refused: 'Network is unreachable', code: 'ENETUNREACH' }, routes: [] },
      /was removed by somebody/,
    ],
    [
      'a route of our own that leads elsewhere',
      'route',
      {
        way: { route: routeTo('10.42.2.0/24', { via: addr('10.42.7.0') }) },
        routes: [routeTo('10.42.2.0/24', { via: addr('10.42.7.0') })],
      },
      /leads elsewhere/,
    ],
    ['no neighbour', 'neighbour', { neighbour: undefined }, /was removed by somebody/],
    [
      'a neighbour that is looked for',
      'neighbour',
      { neighbour: { mac: undefined, state: 'FAILED' } },
      /neighbour entry of 10\.42\.2\.0/,
    ],
    [
      'another MAC',
      'neighbour',
      { neighbour: { mac: OTHER, state: 'PERMANENT' } },
      /its lease says 02:00:00:00:00:02/,
    ],
    ['no FDB entry', 'fdb', { fdb: undefined }, /was removed by somebody/],
    [
      'an FDB entry elsewhere',
      'fdb',
      { fdb: { dst: addr('192.0.2.9'), port: undefined, permanent: true } },
      /sends to 192\.0\.2\.9/,
    ],
    ['the uplink gone', 'underlay', { links: LINKS.filter((l) => l.name !== 'eth0') }, /uplink eth0 is gone/],
    ['the uplink down', 'underlay', withLink('eth0', { up: false }), /uplink eth0 is down/],
    [
      'a way that leads into the overlay',
      'underlay',
      {
        underlay: {
          way: { route: way('192.0.2.0/24') },
          link: LINKS[2],
          hop: undefined,
          neighbour: undefined,
          mark: 0,
          rules: [],
        },
      },
      /leads into the overlay itself/,
    ],
    [
      'large packets that are lost',
      'path',
      { echoes: { tunnel: answered, full: silent, host: answered, target: answered }, pathMtu: 1350 },
      /path MTU to its node is 1350 bytes.*large packets are lost/,
    ],
    [
      'only the address does not answer',
      'remote',
      { echoes: { tunnel: answered, full: answered, host: answered, target: silent } },
      /there is no such pod/,
    ],
    [
      'only the public address answers',
      'remote',
      { echoes: { tunnel: silent, full: silent, host: answered, target: silent } },
      /UDP port 8472 is blocked/,
    ],
    [
      'nothing answers',
      'remote',
      { echoes: { tunnel: silent, full: silent, host: silent, target: silent } },
      /its node lives|has just answered ARP, and drops echoes/,
    ],
    [
      'a port that nobody listens on',
      'service',
      {
        connected: 'refused',
        question: { to: addr('10.42.2.2'), from: undefined, port: { proto: 'tcp', port: 81 } },
      },
      /TCP port 81 is refused/,
    ],
  ];
  test.each(cases)('%s: %s', (_, hop, change, says) => {
    const base = seen();
    // Nothing comes back where something is broken before.
    const mute =
      hop === 'path' || hop === 'remote' || hop === 'service'
        ? {}
        : { echoes: { tunnel: silent, full: silent, host: answered, target: silent } };
    const changed = { ...base, ...mute, ...change };
    const w = answer(
      'links' in change
        ? {
            ...changed,
            expected: expectedFor(base.place as never, base.question.to, base.world, {
              links: changed.links,
              addresses: changed.addresses,
              own: leaseJson(1),
              uplink: 'eth0',
            }),
          }
        : changed,
    );
    expect(broken(w)).toEqual([hop]);
    expect(w.whole).toBe(false);
    expect(w.conclusion).toMatch(says);
    expect(w.conclusion).toMatch(/^10\.42\.2\.2 (does not answer because|is reached, but) .*; .*\.$/);
  });
});

describe('rules', () => {
  const from = addr('10.42.1.2');
  /** One chain with one rule, as `nft -j` prints it. */
  const rules = (hook: string, expr: readonly unknown[], type = 'filter'): Pick<Seen, 'firewall'> => {
    const at = { family: 'ip', table: 't' };
    const objects = [
      { table: { family: 'ip', name: 't' } },
      { chain: { ...at, name: 'c', type, hook, prio: 0, policy: 'accept' } },
      { rule: { ...at, chain: 'c', handle: 1, expr } },
    ];
    return { firewall: { bases: nftTables(objects, new Map()).flatMap((t) => t.bases), gaps: [] } };
  };
  const is = (left: unknown, right: unknown) => ({ match: { op: '==', left, right } });
  const iif = (name: string) => is({ meta: { key: 'iifname' } }, name);
  const oif = (name: string) => is({ meta: { key: 'oifname' } }, name);
  const mark = (value: number) => is({ meta: { key: 'mark' } }, value);
  const port = is({ payload: { protocol: 'udp', field: 'dport' } }, 8472);
  const drop = { drop: null };

  test.each([
    ['the packet, forwarded', 'firewall', 'forward', [iif('cni0'), oif('flannel.1'), drop]],
    ['where it leaves', 'firewall', 'postrouting', [iif('cni0'), oif('flannel.1'), drop]],
    ['its answer', 'firewall', 'forward', [iif('flannel.1'), oif('cni0'), drop]],
    ['its answer, where it comes in', 'firewall', 'prerouting', [iif('flannel.1'), drop]],
    ['outer packets out', 'tunnel port', 'output', [port, oif('eth0'), drop]],
    ['outer packets in', 'tunnel port', 'input', [port, iif('eth0'), drop]],
  ] as const)('%s: %s at %s', (_, hop, hook, expr) => {
    expect(broken(answer({ ...seen({ from }), ...rules(hook, expr) }))).toEqual([hop]);
  });

  test('an outer packet has the mark of the inner one', () => {
    const base = seen({ from });
    const marked = { ...base, packet: { ...base.packet, mark: 7 } };
    expect(broken(answer({ ...marked, ...rules('output', [port, mark(7), drop]) }))).toEqual(['tunnel port']);
    expect(broken(answer({ ...base, ...rules('output', [port, mark(7), drop]) }))).toEqual([]);
  });

  test('translation of a pod is wrong, of the host itself a note, and what may apply is not known', () => {
    const masquerade = [oif('flannel.1'), { masquerade: null }];
    const limited = [oif('flannel.1'), { limit: {} }, { masquerade: null }];
    expect(broken(answer({ ...seen({ from }), ...rules('postrouting', masquerade, 'nat') }))).toEqual([
      'translation',
    ]);
    expect(stateOf(answer({ ...seen(), ...rules('postrouting', masquerade, 'nat') }), 'translation')).toBe(
      'warning',
    );
    expect(
      stateOf(answer({ ...seen({ from }), ...rules('postrouting', limited, 'nat') }), 'translation'),
    ).toBe('unknown');
  });

  test('what cannot be judged is not known, and shown', () => {
    const w = answer({ ...seen({ from }), ...rules('forward', [{ limit: {} }, drop]) });
    expect(w.hops.find((h) => h.hop === 'firewall')).toMatchObject({
      state: 'unknown',
      found: expect.stringContaining('nft table ip t, chain c'),
    });
    expect(w.whole).toBe(true);
  });
});

describe('what is not broken', () => {
  test('a route that was lowered is a note', () => {
    const lowered = routeTo('10.42.2.0/24', { mtu: 1350 });
    const w = answer({
      ...seen(),
      way: { route: lowered },
      routes: [lowered],
      echoes: { tunnel: answered, full: silent, host: answered, target: answered },
      pathMtu: 1350,
    });
    expect(w).toMatchObject({ whole: true });
    expect(stateOf(w, 'path')).toBe('warning');
    expect(w.conclusion).toMatch(
      /it answers\. But the path MTU to its node is 1350 bytes.*route was lowered to 1350 bytes/,
    );
  });

  test('a route that was not lowered enough does not help', () => {
    const lowered = routeTo('10.42.2.0/24', { mtu: 1400 });
    const w = answer({
      ...seen(),
      way: { route: lowered },
      routes: [lowered],
      echoes: { tunnel: answered, full: silent, host: answered, target: answered },
      pathMtu: 1350,
    });
    expect(broken(w)).toEqual(['path']);
  });

  test('rules and echoes that cannot be had', () => {
    const w = answer({
      ...seen(),
      firewall: { bases: [], gaps: ['nft: Operation not permitted'] },
      echoes: 'Operation not permitted',
    });
    expect(w.whole).toBe(true);
    expect(['firewall', 'tunnel port', 'path', 'remote'].map((h) => stateOf(w, h as HopName))).toEqual(
      Array(4).fill('unknown'),
    );
    expect(w.conclusion).toBe(
      'Nothing that is wrong was found on the way to 10.42.2.2; not known: firewall, tunnel port, path, remote.',
    );
  });

  test('a rule that stops the packet leaves the route as it is', () => {
    const way = { refused: 'Permission denied', code: 'EACCES' };
    const rules = [ipRule(9, 'prohibit', '9: from all prohibit')];
    const w = answer({ ...seen(), way, rules });
    expect(broken(w)).toEqual(['rules']);
    expect(broken(answer({ ...seen(), way }))).toEqual(['route']);
  });

  test('a tunnel device that takes less than it could, or more', () => {
    for (const mtu of [1300, 1500]) {
      const w = answer({ ...seen(), ...withLink('flannel.1', { mtu }) });
      expect(stateOf(w, 'tunnel')).toBe('warning');
      expect(w.conclusion).toContain(`takes packets of ${mtu} bytes`);
    }
  });

  test('a lease of our own that has run out is a note', () => {
    const base = seen();
    const status = 'value' in base.world.status ? base.world.status.value : undefined;
    const lease = { ...status!.lease, state: 'fenced' as const, reason: 'etcd is away' };
    const w = answer({
      ...base,
      world: { ...base.world, status: { value: { ...status!, lease }, from: 'daemon' } },
    });
    expect(w).toMatchObject({ whole: true });
    expect(w.conclusion).toContain('is fenced (etcd is away)');
  });

  test('what the daemon’s probes have found lately', () => {
    const base = seen();
    const path = {
      key: '10.42.2.0-24',
      family: 4,
      sent: 20,
      lost: 6,
      health: 'lossy',
      checksum: 'good',
    } as PathJson;
    const probed = (p: PathJson, state: 'on' | 'off' = 'on') =>
      answer({
        ...base,
        world: {
          ...base.world,
          probes: {
            from: 'daemon',
            value: {
              ...{ enabled: true, interval: 1, sample: 1, sent: 1, received: 1, paths: [p] },
              checksumOffload: { device: 'flannel.1', state, reason: null },
            },
          },
        },
      });
    expect(probed(path)).toMatchObject({ whole: true });
    expect(probed(path).conclusion).toContain('6 of the last 20 probes to its node were lost');
    expect(stateOf(probed({ ...path, family: 6 }), 'path')).toBe('ok');
    const corrupted = { ...path, health: 'reachable', checksum: 'corrupted' } as const;
    expect(broken(probed(corrupted))).toEqual(['path']);
    expect(broken(probed(corrupted, 'off'))).toEqual([]);
  });

  test('a neighbour that is not permanent', () => {
    const w = answer({ ...seen(), neighbour: { mac: '02:00:00:00:00:02' as Mac, state: 'STALE' } });
    expect(stateOf(w, 'neighbour')).toBe('warning');
  });
});

describe('whose an address is', () => {
  const ask = (to: string, parts: Parameters<typeof seen>[1] = {}) => answer(seen({ to: addr(to) }, parts));
  test.each([
    ['10.43.0.1', {}, /is not an address of the overlay: .*network is 10\.42\.0\.0\/16/],
    ['10.42.9.1', {}, /no node has a lease/],
    [
      '10.42.9.1',
      { setAside: [{ key: '10.42.9.0-24', reason: 'not JSON' }] },
      /10\.42\.9\.0-24, cannot be read \(not JSON\)/,
    ],
    [
      '10.42.9.1',
      {
        leases: [
          leaseJson(1),
          leaseJson(9, {
            publicIP: null,
            reservation: true,
            etcdLease: null,
            instance: null,
            backend: null,
            data: null,
          }),
        ],
      },
      /is reserved.*no node has taken it up/,
    ],
  ] as const)('%s: lease', (to, parts, says) => {
    const w = ask(to, parts);
    expect(broken(w)).toEqual(['lease']);
    expect(w.conclusion).toMatch(says);
  });

  test('nobody can be asked', () => {
    const nobody = {
      ...world(),
      leases: { missing: 'etcd does not answer' },
      network: { missing: 'etcd does not answer' },
    };
    expect(placeOf(addr('10.42.2.2'), nobody, undefined)).toEqual({
      kind: 'unknown',
      reason: 'etcd does not answer',
    });
    const w = answer({
      ...seen(),
      world: nobody,
      place: placeOf(addr('10.42.2.2'), nobody, undefined),
      expected: undefined,
    });
    expect(stateOf(w, 'lease')).toBe('unknown');
    expect(broken(w)).toEqual([]);
  });

  test.each([
    [
      { leases: [leaseJson(1), leaseJson(2, { data: { VNI: 1, VtepMAC: 'x' } })] },
      /cannot be served: .*VtepMAC/,
    ],
    [
      { leases: [leaseJson(1), leaseJson(2, { backend: 'host-gw' })] },
      /cannot be served: it uses the backend "host-gw"/,
    ],
    [{ leases: [leaseJson(1), leaseJson(2, { publicIP: '192.0.2.1' })] }, /this host's own/],
    [
      { backend: { Type: 'alloc' }, leases: [leaseJson(1), leaseJson(2, { backend: null })] },
      /backend is alloc/,
    ],
  ] as const)('a peer that cannot be served, %#', (parts, says) => {
    const w = ask('10.42.2.2', parts);
    expect(broken(w)).toEqual(['peer']);
    expect(w.conclusion).toMatch(says);
  });
});

test('two nodes with one public address: one of them is reached', () => {
  const base = seen({}, { leases: [leaseJson(1), leaseJson(2), leaseJson(3, { publicIP: '192.0.2.2' })] });
  const says = 'two nodes claim one public address: 10.42.2.0-24 and 10.42.3.0-24';
  const reached = answer(base);
  expect(reached).toMatchObject({ whole: true, conclusion: expect.stringContaining(says) });
  expect(stateOf(reached, 'peer')).toBe('warning');
  const other = answer({ ...base, echoes: { tunnel: silent, full: silent, host: answered, target: silent } });
  expect(broken(other)).toEqual(['peer']);
  expect(other.conclusion).toContain(says);
});

describe('what should be there', () => {
  const devices = { links: LINKS, addresses: ADDRESSES, own: leaseJson(1), uplink: 'eth0' };
  const of = (parts: Parameters<typeof world>[0], on = devices) => {
    const around = world(parts);
    const place = placeOf(addr('10.42.2.2'), around, leaseJson(1));
    if (place.kind !== 'peer') throw new Error(place.kind);
    return expectedFor(place, addr('10.42.2.2'), around, on);
  };

  test('the same without a daemon: the uplink is known by the address that our lease names', () => {
    expect(of({ daemon: false })).toEqual(of({}));
    expect(of({})).toMatchObject({
      link: { mac: OWN_MAC },
      outer: { port: 8472 },
      uplink: 'eth0',
      mtu: 1450,
    });
  });

  test('peers on the link are routed to with DirectRouting, and asked at their public address', () => {
    expect(of({ backend: { Type: 'vxlan', DirectRouting: true } })).toMatchObject({
      route: { dev: 'eth0' },
      link: undefined,
      outer: undefined,
      probe: addr('192.0.2.2'),
      mtu: 1500,
    });
  });

  test('a peer that is refused in one family is served in the other', () => {
    const both = leaseJson(2, { subnets: ['10.42.2.0/24', 'fd00::/64'], publicIPv6: null });
    const around = world({ leases: [leaseJson(1), both] });
    const network = parseNetworkConfig(
      '{"Network":"10.42.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}',
    );
    const dual = { ...around, network: { value: network, from: 'daemon' as const } };
    const problem = (to: string, from: World = dual) => {
      const place = placeOf(addr(to), from, leaseJson(1));
      const found = place.kind === 'peer' ? expectedFor(place, addr(to), from, devices) : undefined;
      return found && 'route' in found ? found.problem : 'nobody';
    };
    expect([problem('10.42.2.2'), problem('fd00::2')]).toEqual([
      undefined,
      expect.stringContaining('no PublicIPv6'),
    ]);
    // The daemon's word counts where there is one.
    const peer = { key: both.key, problem: 'refused', paths: [{ family: 6 }] } as unknown as PeerJson;
    const told: World = {
      ...dual,
      peers: { value: { revision: '1', at: '', peers: [peer] }, from: 'daemon' },
    };
    expect([problem('10.42.2.2', told), problem('fd00::2', told)]).toEqual(['refused', undefined]);
  });

  test('hostile leases are passed over', () => {
    const odd = leaseJson(3, { subnets: ['x'], createRevision: 'y' });
    expect(of({ leases: [leaseJson(1), leaseJson(2), odd] })).toMatchObject({ problem: undefined });
  });
});

describe('pods of this host', () => {
  const to = addr('10.42.1.2');
  const bridge = LINKS.find((l) => l.name === 'cni0')!;
  const port = LINKS.find((l) => l.name === 'veth1')!;
  const whole: PodEnd = {
    addr: to,
    way: { route: way('10.42.1.0/24', { dev: 'cni0', via: undefined, protocol: 2 }) },
    device: bridge,
    neighbour: { mac: OTHER, state: 'REACHABLE' },
    port,
    attachment: {
      containerId: 'c'.repeat(20),
      ifname: 'eth0',
      hostIf: 'veth1',
      bridge: 'cni0',
      netns: '/run/netns/x',
    },
    echo: answered,
  };
  const ask = (pod: Partial<PodEnd>) => {
    const end = { ...whole, ...pod };
    return answer({ ...seen({ to }), way: end.way, pod: end, echoes: { target: end.echo ?? silent } });
  };
  test('in order', () => {
    expect(ask({})).toMatchObject({ whole: true, conclusion: 'The path to 10.42.1.2 is whole: it answers.' });
  });
  test.each([
    [
      { attachment: undefined, neighbour: undefined, port: undefined, echo: silent },
      /no pod on this host has the address/,
    ],
    [{ port: undefined, echo: silent }, /cable veth1 is gone/],
    [{ port: { ...port, up: false }, echo: silent }, /cable veth1 is down/],
    [{ port: { ...port, carrier: false }, echo: silent }, /has no carrier/],
    [{ port: { ...port, master: undefined } as unknown as ObservedLink, echo: silent }, /no port of cni0/],
    [{ device: { ...bridge, up: false }, echo: silent }, /the device cni0 is down/],
    [{ neighbour: { mac: undefined, state: 'FAILED' }, echo: silent }, /does not answer ARP/],
    [
      { way: { refused: 'No route to host', code: 'EHOSTUNREACH' }, device: undefined, echo: silent },
      /no route to its own pod/,
    ],
    [
      {
        way: { route: way('10.42.0.0/16', { dev: 'flannel0' }) },
        device: { ...bridge, name: 'flannel0' },
        echo: silent,
      },
      /sends packets for its own pod 10\.42\.1\.2 elsewhere/,
    ],
  ] as const)('%#', (pod, says) => {
    const w = ask(pod as Partial<PodEnd>);
    expect(broken(w)).toEqual(['pod']);
    expect(w.conclusion).toMatch(says);
  });
  test('a pod that answers no echo may be well', () => {
    expect(ask({ echo: silent })).toMatchObject({ whole: true });
  });
});

test('as text', async () => {
  const missing = {
    way: { route: way('default via 192.0.2.254 dev eth0', { dev: 'eth0', protocol: 3 }) },
    routes: [],
    echoes: { tunnel: silent, full: silent, host: answered, target: silent },
  } as const;
  const w = answer({ ...seen(), ...missing });
  await expect(renderWhy(w, paint(false), undefined)).toMatchFileSnapshot('golden/why.txt');
  await expect(renderWhy(w, paint(false), 80)).toMatchFileSnapshot('golden/why-80.txt');
  const lines = renderWhy(w, paint(false), 80).split('\n');
  expect(lines.filter((l) => l.length > 80)).toEqual([]);
});

test('what comes from etcd cannot write to a terminal', () => {
  const evil = seen(
    { to: addr('10.42.9.1') },
    { setAside: [{ key: '10.42.9.0-24', reason: '\u001b[2J\u202e' }] },
  );
  const text = renderWhy(answer(evil), paint(false), undefined);
  expect(text).not.toMatch(/\p{Cc}(?<!\n)|\p{Cf}/u);
});
