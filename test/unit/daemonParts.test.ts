import { describe, expect, test } from 'vitest';
import { restartNeeded } from '../../src/admin/restart.ts';
import { parseNetworkConfig } from '../../src/config/network.ts';
import { Convergence } from '../../src/daemon/convergence.ts';
import { endpointAddrs } from '../../src/daemon/endpoints.ts';
import { ChangeLog } from '../../src/daemon/log.ts';
import { NetworkSource } from '../../src/daemon/networkSource.ts';
import { problems, type Situation, waitingFor } from '../../src/daemon/readiness.ts';
import { ConfigError, type Problem } from '../../src/errors.ts';
import { formatAddr } from '../../src/net/addr.ts';

describe('the network config in force', () => {
  const config = (more: object = {}) =>
    JSON.stringify({ Network: '10.5.0.0/16', Backend: { Type: 'vxlan' }, ...more });

  test('must be right at first, later stays as it was', () => {
    const ignored: string[][] = [];
    let against: Problem[] = [];
    const source = new NetworkSource({
      key: '/x/config',
      keeps: () => true,
      against: () => against,
      ignored: (keys) => ignored.push([...keys]),
    });
    expect(() => source.take('{')).toThrow(ConfigError);
    source.take(undefined);
    expect(source.problem).toMatch('/x/config');
    source.take(config({ Backend: { Type: 'vxlan', Frob: 1 } }));
    expect([source.problem, ignored]).toEqual([undefined, [['Backend.Frob']]]);
    const first = source.inForce;
    source.take('{"Network":"10.5.0.0/33"}');
    expect([source.inForce, source.problem]).toEqual([first, expect.stringMatching('not in force')]);
    source.take(undefined);
    expect([source.inForce, source.problem]).toEqual([first, expect.stringMatching('gone')]);
    source.take(config({ Backend: { Type: 'vxlan', MTU: 1400 } }));
    const mtu = () => [source.inForce?.network.backend.options.MTU, source.problem];
    expect(mtu()).toEqual([1400, undefined]);
    against = [{ path: 'Backend.MTU', expected: 'more', got: '70' }];
    source.take(config({ Backend: { Type: 'vxlan', MTU: 70 } }));
    expect(mtu()).toEqual([
      1400,
      expect.stringMatching(/is not in force: .*\n {2}Backend.MTU: expected more, got 70/),
    ]);
    source.reconsider();
    expect(mtu()).toEqual([1400, expect.any(String)]);
    against = [];
    source.reconsider();
    expect(mtu()).toEqual([70, undefined]);
  });

  test('another backend, family or a network without our subnet wait for a restart', () => {
    const now = parseNetworkConfig(config());
    const next = (more: object) => parseNetworkConfig(config(more));
    expect(restartNeeded(now, next({ Backend: { Type: 'host-gw' } }), true)).toEqual([
      'Backend.Type (vxlan to host-gw)',
    ]);
    expect(restartNeeded(now, next({ EnableIPv6: true, IPv6Network: 'fd00::/48' }), false)).toEqual([
      'EnableIPv6 (false to true)',
    ]);
    expect(restartNeeded(now, next({ Network: '10.6.0.0/16' }), false)).toHaveLength(1);
    expect(
      restartNeeded(now, next({ Backend: { Type: 'vxlan', VNI: 9, DirectRouting: true } }), true),
    ).toEqual([]);
  });
});

describe('readiness', () => {
  const fine: Situation = {
    kernelSeen: true,
    store: { connected: true, error: null, revision: 1n, requests: 1, setAside: 0 },
    network: { inForce: true, problem: undefined },
    host: undefined,
    lease: { state: 'held', lease: {} as never },
    applied: true,
    failing: [],
    forwarder: undefined,
    firewall: { inSync: true, error: null, repairs: { masquerade: 0, forward: 0 }, problems: [] },
    subnetFile: { written: true, error: undefined },
  };

  test('waits for one thing after the other', () => {
    expect(waitingFor(fine)).toBeUndefined();
    const steps: [Partial<Situation>, RegExp][] = [
      [{ kernelSeen: false }, /kernel/],
      [
        { network: { inForce: false, problem: undefined }, store: { ...fine.store!, error: 'no etcd' } },
        /no etcd/,
      ],
      [{ network: { inForce: false, problem: 'none at /x' } }, /none at/],
      [{ host: 'no uplink' }, /no uplink/],
      [{ lease: { state: 'waiting', reason: 'all taken' } }, /all taken/],
      [{ lease: undefined }, /lease/],
      [{ failing: ['link flannel.1: EPERM'] }, /EPERM/],
      [{ applied: false }, /programming/],
      [{ forwarder: ['cannot listen on UDP'] }, /cannot listen/],
      [{ firewall: { ...fine.firewall!, inSync: false, error: 'no nft' } }, /no nft/],
      [{ subnetFile: { written: false, error: 'read-only' } }, /read-only/],
      [{ subnetFile: { written: false, error: undefined } }, /subnet file/],
    ];
    for (const [change, reason] of steps) expect(waitingFor({ ...fine, ...change })).toMatch(reason);
  });

  test('every problem is told once', () => {
    const found = problems(
      { ...fine, host: 'x', network: { inForce: true, problem: 'y' }, forwarder: ['f'] },
      ['x', 'peer'],
      ['c'],
    );
    expect(found).toEqual(['y', 'x', 'f', 'c', 'peer']);
  });
});

test('a convergence runs once more for what came while it ran, and goes on after a failure', async () => {
  const runs: number[] = [];
  const failures: unknown[] = [];
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const convergence = new Convergence(
    async () => {
      runs.push(runs.length);
      if (runs.length === 1) await gate;
      if (runs.length === 2) throw new Error('second');
    },
    (cause) => failures.push(cause),
  );
  for (let i = 0; i < 3; i++) convergence.kick();
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  expect(runs).toEqual([0]);
  for (let i = 0; i < 3; i++) convergence.kick();
  open();
  await new Promise(setImmediate);
  expect([runs, failures.length]).toEqual([[0, 1], 1]);
  convergence.kick();
  await convergence.stop();
  convergence.kick();
  await new Promise(setImmediate);
  expect(runs.length).toBeLessThanOrEqual(3);
});

test('a thing is said when it changes', () => {
  const news = new ChangeLog();
  expect([news.changed('a', 'x'), news.changed('a', 'x'), news.changed('b', 'x')]).toEqual([
    true,
    false,
    true,
  ]);
  expect([news.changed('a', undefined), news.changed('a', undefined), news.changed('a', 'x')]).toEqual([
    true,
    false,
    true,
  ]);
});

test('endpoints that are addresses', () => {
  expect(
    endpointAddrs(['http://192.0.2.1:2379', 'https://[2001:db8::1]:2379', 'http://etcd:2379']).map(
      formatAddr,
    ),
  ).toEqual(['192.0.2.1', '2001:db8::1']);
});
