import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { AT_START, type Standing, standingHappenings } from '../../src/daemon/events/daemon.ts';
import { Damper } from '../../src/daemon/events/damper.ts';
import { firewallHappenings, passHappenings } from '../../src/daemon/events/kernel.ts';
import { EventLog, type Followed, type Happening } from '../../src/daemon/events/log.ts';
import { pathHappenings } from '../../src/daemon/events/paths.ts';
import { peerHappenings, refusalHappenings } from '../../src/daemon/events/peers.ts';
import { podHappenings } from '../../src/daemon/events/pods.ts';
import { leaseHappenings, storeHappening } from '../../src/daemon/events/store.ts';
import { beginning } from '../../src/daemon/routes/events.ts';
import type { FirewallStatus } from '../../src/kernel/firewall.ts';
import { countByKind, type PassReport } from '../../src/kernel/status.ts';
import { parseAddr } from '../../src/net/addr.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import type { PathReport } from '../../src/probe/types.ts';
import type { Lease, LeaseState, SubnetKey } from '../../src/subnet/types.ts';

const say = (message: string, more: Partial<Happening> = {}): Happening => ({
  level: 'info',
  kind: 'daemon',
  message,
  ...more,
});

const messages = (happenings: readonly Happening[]): string[] =>
  happenings.map((h) => `${h.level} ${h.kind} ${h.subject ?? '-'}: ${h.message}`);

describe('EventLog', () => {
  test('keeps the newest, with ids that go up by one', () => {
    const log = new EventLog('a1', { kept: 3, now: () => 0 });
    expect([log.first, log.last]).toEqual([0, 0]);
    log.note(say('1'), say('2'));
    expect([log.first, log.last]).toEqual([1, 2]);
    log.note(say('3'), say('4'), say('5'));
    expect([log.first, log.last]).toEqual([3, 5]);
    expect(log.read()).toEqual({
      instance: 'a1',
      first: 3,
      last: 5,
      events: [3, 4, 5].map((id) => ({
        id,
        at: '1970-01-01T00:00:00.000Z',
        level: 'info',
        kind: 'daemon',
        subject: null,
        message: `${id}`,
        fields: {},
      })),
    });
    log.note();
    expect(log.last).toBe(5);
  });

  test('reads since, of kinds, and so many of the newest', () => {
    const log = new EventLog('a1');
    for (let i = 1; i <= 10; i++) log.note(say(`${i}`, { kind: i % 2 ? 'path' : 'mtu' }));
    const ids = (query: Parameters<typeof log.read>[0]) => log.read(query).events.map((e) => e.id);
    expect(ids({ since: 7 })).toEqual([8, 9, 10]);
    expect(ids({ since: 99 })).toEqual([]);
    expect(ids({ kinds: new Set(['path']), since: 4 })).toEqual([5, 7, 9]);
    expect(ids({ kinds: new Set(['path']), limit: 2 })).toEqual([7, 9]);
    expect(ids({ limit: 0 })).toEqual([]);
  });

  test('counts also those that are kept no more', () => {
    const log = new EventLog('a1', { kept: 1 });
    log.note(say('1'), say('2', { level: 'warn' }), say('3'));
    expect([...log.counts()]).toEqual([
      { kind: 'daemon', level: 'info', count: 2 },
      { kind: 'daemon', level: 'warn', count: 1 },
    ]);
  });

  test('of whatever is put in, no event is large', () => {
    const log = new EventLog('a1');
    log.note(say('x'.repeat(601), { subject: 'y'.repeat(200) }));
    expect(log.read().events[0]).toMatchObject({ message: `${'x'.repeat(599)}…`, subject: 'y'.repeat(200) });
    fc.assert(
      fc.property(
        fc.string({ maxLength: 5_000, size: 'max' }),
        fc.dictionary(
          fc.string({ maxLength: 200 }),
          fc.oneof(fc.string({ maxLength: 3_000, size: 'max' }), fc.double()),
          {
            maxKeys: 50,
          },
        ),
        (text, fields) => {
          log.note(say(text, { subject: text, fields }));
          const event = log.read({ limit: 1 }).events[0]!;
          expect(event.message.length).toBeLessThanOrEqual(600);
          expect(event.subject!.length).toBeLessThanOrEqual(200);
          expect(JSON.stringify(event.fields).length).toBeLessThanOrEqual(12 * 6 * (40 + 200 + 8));
        },
      ),
    );
  });

  /** What a follower has got, as ids, `-n` for n that it missed. */
  const follower = (log: EventLog, since: number, signal: AbortSignal) => {
    const got: number[] = [];
    const source = log.follow(since, signal);
    return {
      got,
      async take(count: number) {
        for (let i = 0; i < count; i++) {
          const { value, done } = await source.next();
          if (done) return;
          got.push(
            'event' in (value as Followed)
              ? (value as { event: { id: number } }).event.id
              : -(value as { missed: number }).missed,
          );
        }
      },
    };
  };

  test('is followed from where one was, and one that was too slow is told how much it has missed', async () => {
    const log = new EventLog('a1', { kept: 3 });
    const end = new AbortController();
    log.note(say('1'), say('2'));
    const f = follower(log, 1, end.signal);
    await f.take(1);
    const waiting = f.take(2);
    log.note(say('3'));
    log.note(say('4'));
    await waiting;
    expect(f.got).toEqual([2, 3, 4]);
    for (let i = 5; i <= 10; i++) log.note(say(`${i}`));
    await f.take(4);
    expect(f.got).toEqual([2, 3, 4, -3, 8, 9, 10]);
    // All of a new reader that begins at the oldest; the gap before it is no gap.
    const g = follower(log, 0, end.signal);
    await g.take(4);
    expect(g.got).toEqual([-7, 8, 9, 10]);
    const last = f.take(1);
    end.abort();
    await last;
    expect(f.got).toHaveLength(7);
  });

  test('a flood of one kind washes nothing else away, and its gaps are told once', async () => {
    const log = new EventLog('a1', { kept: 10 });
    log.note(say('1'), say('2', { kind: 'pods' }), say('3', { kind: 'peer' }));
    for (let i = 4; i <= 500; i++) log.note(say(`${i}`, { kind: 'path' }));
    log.note(say('501', { kind: 'pods' }));
    for (let i = 502; i <= 600; i++) log.note(say(`${i}`, { kind: i % 2 ? 'path' : 'mtu' }));
    const ids = log.read().events.map((e) => e.id);
    expect(ids).toHaveLength(10);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect(ids).toEqual(expect.arrayContaining([1, 2, 3, 501]));
    expect([log.first, log.last]).toEqual([1, 600]);
    const end = new AbortController();
    const f = follower(log, 0, end.signal);
    await f.take(11);
    expect(f.got).toEqual([-590, ...ids]);
    // Whoever keeps up misses nothing, whatever goes of what it has read.
    for (let i = 601; i <= 620; i++) {
      const next = f.take(1);
      log.note(say(`${i}`, { kind: 'repair' }));
      await next;
    }
    expect(f.got.slice(11)).toEqual(Array.from({ length: 20 }, (_, i) => 601 + i));
    // What goes while somebody reads is told, once for each time.
    const g = follower(log, 0, end.signal);
    await g.take(3);
    for (let i = 621; i <= 650; i++) log.note(say(`${i}`, { kind: 'offload' }));
    while (g.got.at(-1) !== 650) await g.take(1);
    end.abort();
    const missed = g.got.filter((id) => id < 0).reduce((sum, id) => sum - id, 0);
    const read = g.got.filter((id) => id > 0);
    expect([read.length + missed, read.at(-1)]).toEqual([650, 650]);
    expect(g.got.filter((id) => id < 0)).toHaveLength(2);
  });

  test.each([
    [undefined, undefined, 9],
    [undefined, '0', 0],
    [undefined, '5', 5],
    [undefined, '9', 9],
    [undefined, '10', 0],
    ['a1-5', undefined, 5],
    ['a1-5', '7', 5],
    ['a1-99', undefined, 9],
    ['b2-5', undefined, 0],
    ['garbage', undefined, 0],
    ['', undefined, 9],
  ])('a stream after Last-Event-ID %s with since=%s begins behind %i', (seen, since, expected) => {
    const headers = seen === undefined ? {} : { 'last-event-id': seen };
    const query = new URLSearchParams(since === undefined ? {} : { since });
    expect(beginning({ instance: 'a1', last: 9 }, { headers, query })).toBe(expected);
  });
});

describe('a flood', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  test('of one kind is told in part, the rest as a number; other kinds are not held back', () => {
    vi.useFakeTimers();
    const told: string[] = [];
    let now = 0;
    const damper = new Damper((...h) => told.push(...h.map((x) => x.message)), {
      now: () => now,
      words: (kind, count) => `${count} more of ${kind}`,
    });
    const path = (i: number) => damper.note(say(`p${i}`, { kind: 'path' }));
    for (let i = 0; i < 70; i++) path(i);
    damper.note(say('other'));
    expect(told).toHaveLength(51);
    expect(told.at(-1)).toBe('other');
    now += 10_000;
    vi.advanceTimersByTime(10_000);
    expect(told.at(-1)).toBe('20 more of path');
    path(70);
    expect(told.at(-1)).toBe('p70');
    // Never so many in one window, however they are spread.
    now += 20_000;
    for (let i = 0; i < 50; i++) path(100 + i);
    now += 9_999;
    path(200);
    expect(told.at(-1)).toBe('p149');
    vi.advanceTimersByTime(10_000);
    expect(told.at(-1)).toBe('1 more of path');
  });
});

const lease = (n: number, more: Partial<Lease> = {}): Lease => {
  const key = `10.5.${n}.0-24` as SubnetKey;
  return {
    key,
    subnets: [parsePrefix(`10.5.${n}.0/24`)!],
    endpoints: new Map([[4, parseAddr(`192.0.2.${n}`)!]]),
    data: new Map([[4, { VNI: 1 }]]),
    createRevision: 1n,
    modRevision: 1n,
    etcdLease: 7n,
    ...more,
  };
};
const view = (...leases: Lease[]): ReadonlyMap<SubnetKey, Lease> => new Map(leases.map((l) => [l.key, l]));
const nobodys = (): boolean => false;

describe('peers', () => {
  test('that come, go and change are told one by one', () => {
    const before = view(lease(1), lease(2), lease(3), lease(4), lease(5, { instance: 'x' }));
    const now = view(
      before.get('10.5.1.0-24' as SubnetKey)!,
      lease(2, { endpoints: new Map([[4, parseAddr('192.0.2.99')!]]) }),
      lease(3, { modRevision: 9n }),
      lease(5, { instance: 'y', etcdLease: 'reservation' }),
      lease(6, { backend: 'host-gw' }),
    );
    expect(messages(peerHappenings(before, now, nobodys))).toEqual([
      'info peer 10.5.2.0-24: 10.5.2.0-24 has changed: its address is 192.0.2.99, was 192.0.2.2',
      'info peer 10.5.5.0-24: 10.5.5.0-24 has changed: it is a reservation now',
      'info peer 10.5.6.0-24: 10.5.6.0-24 is leased to 192.0.2.6',
      'info peer 10.5.4.0-24: 10.5.4.0-24, leased to 192.0.2.4, is free again',
    ]);
    expect(peerHappenings(now, now, nobodys)).toEqual([]);
  });

  test('do not count our own', () => {
    const mine = (l: Lease): boolean => l.key === '10.5.1.0-24';
    expect(peerHappenings(view(), view(lease(1)), mine)).toEqual([]);
    expect(peerHappenings(view(lease(1)), view(), mine)).toEqual([]);
  });

  test('of the first view, and more than fifty at once, are one event', () => {
    const many = (from: number, count: number): Lease[] =>
      Array.from({ length: count }, (_, i) => lease(from + i));
    expect(messages(peerHappenings(undefined, view(...many(0, 3)), nobodys))).toEqual([
      'info peer -: 3 other leases seen',
    ]);
    expect(peerHappenings(undefined, view(), nobodys)).toEqual([]);
    expect(peerHappenings(view(), view(...many(0, 50)), nobodys)).toHaveLength(50);
    const [event, ...others] = peerHappenings(view(...many(0, 30)), view(...many(30, 40)), nobodys);
    expect(others).toEqual([]);
    expect(event).toMatchObject({
      message: 'many leases changed at once: 40 came, 30 went, 0 changed',
      fields: { come: 40, gone: 30, changed: 0 },
    });
  });

  test('that are refused, and are not any more', () => {
    const key = '10.5.1.0-24' as SubnetKey;
    const before = new Map([[key, 'bad']]);
    expect(messages(refusalHappenings(new Map(), before))).toEqual([
      'warn peer 10.5.1.0-24: 10.5.1.0-24 is not served: bad',
    ]);
    expect(refusalHappenings(before, before)).toEqual([]);
    expect(refusalHappenings(before, new Map(before))).toEqual([]);
    expect(messages(refusalHappenings(before, new Map()))).toEqual([
      'info peer 10.5.1.0-24: 10.5.1.0-24 is no longer refused',
    ]);
    const many = new Map(Array.from({ length: 60 }, (_, i) => [`10.5.${i}.0-24` as SubnetKey, 'bad']));
    expect(refusalHappenings(new Map(), many)).toHaveLength(1);
  });
});

describe('the store', () => {
  test.each([
    ['disconnected', 'store'],
    ['acquired', 'lease'],
    ['moved', 'lease'],
    ['set-aside', 'peer'],
  ] as const)('reports %s as an event of kind %s', (event, kind) => {
    expect(
      storeHappening({ level: 'warn', event, message: 'x', fields: { key: '10.5.1.0-24', n: 1 } }),
    ).toEqual({
      level: 'warn',
      kind,
      subject: '10.5.1.0-24',
      message: 'x',
      fields: { event, key: '10.5.1.0-24', n: 1 },
    });
  });

  test('a lease that was fenced and is held again', () => {
    const held: LeaseState = { state: 'held', lease: lease(1) };
    const fenced: LeaseState = { state: 'fenced', lease: lease(1), reason: 'x' };
    expect(messages(leaseHappenings(fenced, held))).toEqual([
      'info lease 10.5.1.0-24: this node holds 10.5.1.0-24 again',
    ]);
    expect(leaseHappenings(undefined, held)).toEqual([]);
    expect(leaseHappenings(held, fenced)).toEqual([]);
    expect(leaseHappenings(fenced, { state: 'held', lease: lease(2) })).toEqual([]);
  });
});

describe('the kernel', () => {
  const report = (more: Partial<PassReport>): PassReport => ({
    put: countByKind(),
    deleted: countByKind(),
    repaired: countByKind(),
    repairedExamples: [],
    failed: [],
    recovered: 0,
    conflicts: [],
    ...more,
  });

  test('is news when it was changed by others, refuses, accepts again, or somebody is in the way', () => {
    expect(passHappenings(report({ put: { ...countByKind(), route: 9 } }))).toEqual([]);
    expect(
      messages(
        passHappenings(
          report({
            repaired: { ...countByKind(), route: 2 },
            repairedExamples: ['route a', 'route b'],
            failed: [{ object: 'route c', error: 'EPERM: no' }],
            conflicts: [{ object: 'route d', with: 'eth0' }],
            recovered: 1,
          }),
        ),
      ),
    ).toEqual([
      'warn repair route a: the kernel had been changed by somebody else, put right: route a; route b',
      'error kernel route c: the kernel refuses route c: EPERM: no',
      'warn kernel route d: route d is in conflict with eth0',
      'info kernel -: 1 object is accepted again',
    ]);
  });

  test('refusing thousands is one event', () => {
    const failed = Array.from({ length: 5_000 }, (_, i) => ({ object: `route ${i}`, error: 'ENOMEM' }));
    expect(messages(passHappenings(report({ failed })))).toEqual([
      'error kernel -: the kernel refuses 5000 objects, e.g. the kernel refuses route 0: ENOMEM',
    ]);
  });

  test('of the firewall: repairs, what cannot be put, problems that come and go', () => {
    const status = (more: Partial<FirewallStatus>): FirewallStatus => ({
      inSync: true,
      error: null,
      repairs: { masquerade: 1, forward: 0 },
      problems: [],
      ...more,
    });
    const from = (a: Partial<FirewallStatus>, b: Partial<FirewallStatus>) =>
      messages(firewallHappenings(status(a), status(b)));
    expect(from({}, {})).toEqual([]);
    expect(from({}, { repairs: { masquerade: 1, forward: 2 } })).toEqual([
      'warn repair firewall: firewall rules had been changed by somebody else: put right',
    ]);
    expect(from({}, { error: 'no nft' })).toEqual([
      'error kernel firewall: firewall rules cannot be put: no nft',
    ]);
    expect(from({ error: 'no nft' }, { error: 'no nft' })).toEqual([]);
    expect(from({ error: 'no nft' }, {})).toEqual([
      'info kernel firewall: firewall rules are in place again',
    ]);
    expect(from({ problems: ['a'] }, { problems: ['b'] })).toEqual([
      'warn kernel firewall: b',
      'info kernel firewall: solved: a',
    ]);
  });
});

test('how the daemon stands: ready once, impaired, in order again; config; forwarder; pods', () => {
  let standing: Standing = { ...AT_START, reason: 'waiting for etcd' };
  const next = (change: Partial<Standing>): string[] => {
    const now = { ...standing, ...change };
    const found = messages(standingHappenings(standing, now));
    standing = now;
    return found;
  };
  const [config, other] = [{}, {}];
  expect(next({ reason: 'waiting for a lease', problem: 'waiting for the network config' })).toEqual([]);
  expect(next({ network: config, backend: 'vxlan', problem: undefined })).toEqual([
    'info config -: the network config is in force',
  ]);
  expect(next({ ready: true, reason: undefined, key: 'k', peers: 3 })).toEqual(['info daemon k: ready']);
  expect(next({ reason: 'no uplink' })).toEqual(['warn daemon k: impaired: no uplink']);
  expect(next({})).toEqual([]);
  expect(next({ reason: undefined })).toEqual(['info daemon k: in order again']);
  expect(next({ problem: 'needs a restart' })).toEqual(['warn config -: needs a restart']);
  expect(next({ network: other, problem: undefined })).toEqual([
    'info config -: a new network config is in force',
    'info config -: nothing stands against the network config any more',
  ]);
  expect(next({ warnings: ['slow'] })).toEqual(['warn forwarder -: slow']);
  expect(next({ warnings: ['slow'], stale: ['a/eth0', 'b/eth0'] })).toEqual([
    'warn pods -: 2 pods have addresses of a subnet that this node no longer has, e.g. a/eth0',
  ]);
  expect(next({ stale: ['b/eth0'] })).toEqual([]);
});

test('a path is news when it fails, loses packets, or is right again', () => {
  const report = (health: PathReport['health'], more: Partial<PathReport> = {}): PathReport => ({
    target: {
      key: '10.5.1.0-24' as SubnetKey,
      family: 4,
      addr: parseAddr('10.5.1.0')!,
      mtu: 1450,
      dev: 'flannel.1',
      offloads: true,
      via: parseAddr('192.0.2.1')!,
    },
    health,
    at: 1,
    rtt: 1,
    leastRtt: 1,
    sent: 20,
    lost: 3,
    fullSize: 'passes',
    pathMtu: 1450,
    sizeAt: 1,
    checksum: 'good',
    error: undefined,
    ...more,
  });
  const from = (
    a: PathReport['health'] | undefined,
    b: PathReport['health'],
    more: Partial<PathReport> = {},
  ) => messages(pathHappenings(a && report(a), report(b, more)));
  expect(from(undefined, 'reachable')).toEqual([]);
  expect(from('unprobed', 'reachable')).toEqual([]);
  expect(from('reachable', 'reachable')).toEqual([]);
  expect(from('lossy', 'unprobed')).toEqual([]);
  expect(from(undefined, 'unreachable', { error: 'ENETUNREACH' })).toEqual([
    'warn path 10.5.1.0-24: 10.5.1.0-24: 10.5.1.0 does not answer (ENETUNREACH)',
  ]);
  expect(from('reachable', 'lossy')).toEqual([
    'warn path 10.5.1.0-24: 10.5.1.0-24: 10.5.1.0 loses packets: 3 of the last 20',
  ]);
  expect(from('unreachable', 'reachable')).toEqual([
    'info path 10.5.1.0-24: 10.5.1.0-24: 10.5.1.0 is reachable again',
  ]);
});

test('a pod that cannot be attached is news, other failures of the plugin are not', () => {
  const call = (command: string) => ({
    env: { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0' },
    stdin: '{}',
  });
  const error = { kind: 'error', error: { cniVersion: '1.0.0', code: 11, msg: 'no lease' } } as const;
  expect(messages(podHappenings(call('ADD'), error))).toEqual([
    'warn pods c1/eth0: ADD of c1/eth0 failed: no lease',
  ]);
  expect(podHappenings(call('CHECK'), error)).toEqual([]);
  expect(podHappenings(call('ADD'), { kind: 'done' })).toEqual([]);
});
