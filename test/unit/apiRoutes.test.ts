import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { masked } from '../../src/config/mask.ts';
import { healthRoutes } from '../../src/daemon/http/health.ts';
import { pageRoutes } from '../../src/daemon/http/page.ts';
import { operatorRoutes } from '../../src/daemon/operators.ts';
import { countPaths } from '../../src/daemon/pathCounts.ts';
import { configJson } from '../../src/daemon/routes/config.ts';
import { pathsTo } from '../../src/daemon/routes/probes.ts';
import { sortedInSteps } from '../../src/daemon/sorted.ts';
import { desiredState } from '../../src/kernel/desired.ts';
import { objectRows } from '../../src/kernel/rows.ts';
import type { Trouble } from '../../src/kernel/troubles.ts';
import type { KernelObject } from '../../src/kernel/types.ts';
import { parseAddr } from '../../src/net/addr.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import type { PathReport } from '../../src/probe/types.ts';
import { OpenApi } from '../support/openapi.ts';

describe('docs/openapi.json', () => {
  const api = new OpenApi();
  /** The table's; nothing of what it is made from is asked before somebody asks. */
  const table = [
    ...healthRoutes(() => true),
    ...operatorRoutes({ options: {}, daemon: {}, watch: {} } as unknown as Parameters<
      typeof operatorRoutes
    >[0]).routes,
    ...pageRoutes(),
  ].map(({ method, path, audience }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')} ${audience}`);

  test('has every route of the table, and no other, with who may ask', () => {
    const documented = api.operations.map(
      ({ method, path, operation }) => `${method} ${path} ${operation['x-audience']}`,
    );
    expect([...table, 'POST /v1/cni owner'].sort()).toEqual(documented.sort());
    expect(new Set(table).size).toBe(table.length);
  });

  test('says of everything what it is, and refers to nothing that is not there', () => {
    const ids = api.operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of api.operations) {
      expect(operation.summary.length).toBeGreaterThan(5);
      for (const p of operation.parameters ?? []) expect(p.description.length).toBeGreaterThan(3);
      for (const name of path.match(/(?<=\{)\w+/g) ?? [])
        expect(operation.parameters?.filter((p) => p.in === 'path' && p.name === name)).toHaveLength(1);
    }
    const { document } = api;
    expect(document.openapi).toMatch(/^3\.1/);
    const refs = new Set(JSON.stringify(document).match(/#\/components\/\w+\/\w+/g));
    const there = Object.entries(document.components).flatMap(([kind, of]) =>
      Object.keys(of).map((name) => `#/components/${kind}/${name}`),
    );
    expect([...refs].sort()).toEqual(there.sort());
  });

  test('allows no field that it does not name', () => {
    const open: string[] = [];
    const look = (schema: unknown, at: string): void => {
      if (typeof schema !== 'object' || schema === null) return;
      if ('properties' in schema && !('additionalProperties' in schema)) open.push(at);
      for (const [key, value] of Object.entries(schema)) look(value, `${at}/${key}`);
    };
    look(api.document.components.schemas, '');
    // What the plugin and runtimes say to each other is another specification's.
    expect(open).toEqual(['/PluginCall', '/PluginError']);
  });
});

test('secrets are masked wherever they stand', () => {
  expect(
    masked({
      Network: '10.5.0.0/16',
      Backend: {
        Type: 'ipsec',
        PSK: 'a',
        psk: 'b',
        PrivateKey: ['c'],
        Key: 'd',
        nested: [{ Passphrase: { x: 'e' } }],
      },
      EtcdPassword: 'f',
      token: null,
    }),
  ).toEqual({
    Network: '10.5.0.0/16',
    Backend: {
      Type: 'ipsec',
      PSK: '[redacted]',
      psk: '[redacted]',
      PrivateKey: '[redacted]',
      Key: '[redacted]',
      nested: [{ Passphrase: '[redacted]' }],
    },
    EtcdPassword: '[redacted]',
    token: null,
  });
  let deep: unknown = { PSK: 'secret' };
  for (let i = 0; i < 10_000; i++) deep = [deep];
  expect(JSON.stringify(masked(deep))).not.toContain('secret');
});

test.each([
  [
    '{"Network":"10.5.0.0/16","Backend":{"PSK":"secret"}}',
    { Network: '10.5.0.0/16', Backend: { PSK: '[redacted]' } },
  ],
  ['{"PSK":"secret"', null],
  ['"secret"', null],
  ['5', null],
  [undefined, null],
])('the network config %s is shown as %j', (text, config) => {
  const parts = {
    options: { settings: new Map(), etcd: { prefix: '/p' } },
    daemon: { networkText: { text, problem: undefined }, network: {} },
  } as unknown as Parameters<typeof configJson>[0];
  const shown = configJson(parts);
  expect(shown.network).toEqual({ key: '/p/config', config, inForce: text !== undefined, problem: null });
  expect(JSON.stringify(shown)).not.toContain('secret');
});

test('sorting in steps is sorting', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ k: fc.nat(50), i: fc.nat() }), { maxLength: 3_000, size: 'max' }),
      (items) => {
        const compare = (a: { k: number }, b: { k: number }): number => a.k - b.k;
        const sorting = sortedInSteps(items, compare);
        let step = sorting.next();
        while (!step.done) step = sorting.next();
        expect(step.value).toEqual([...items].sort(compare));
      },
    ),
    { numRuns: 30 },
  );
});

const path = (key: string, family: 4 | 6, health: PathReport['health']): [string, PathReport] => [
  `${key} ${family}`,
  { target: { key, family }, health } as unknown as PathReport,
];

test('peers are counted by the worst of their paths', () => {
  const paths = new Map([
    path('a', 4, 'reachable'),
    path('a', 6, 'unreachable'),
    path('b', 4, 'lossy'),
    path('b', 6, 'unprobed'),
    path('c', 4, 'reachable'),
    path('c', 6, 'unprobed'),
    path('d', 4, 'reachable'),
  ]);
  const routeMtu = (p: string) => (p === 'a 4' || p === 'a 6' || p === 'd 4' ? 1400 : undefined);
  expect(countPaths({ paths }, { routeMtu })).toEqual({
    unreachable: 1,
    lossy: 1,
    unprobed: 1,
    reachable: 1,
    lowered: 2,
  });
});

test('whom a probe is for: a lease, or whose subnet an address is in', () => {
  const paths = new Map([
    path('10.5.1.0-24&fd00::-64', 4, 'reachable'),
    path('10.5.1.0-24&fd00::-64', 6, 'reachable'),
  ]);
  const lease = {
    key: '10.5.1.0-24&fd00::-64',
    subnets: [parsePrefix('10.5.1.0/24')!, parsePrefix('fd00::/64')!],
  };
  const parts = {
    probing: { paths },
    daemon: { asked: { served: { leases: new Map([[lease.key, lease]]) } } },
  } as unknown as Parameters<typeof pathsTo>[1];
  expect(pathsTo('10.5.1.0-24&fd00::-64', parts)).toHaveLength(2);
  expect(pathsTo('10.5.1.77', parts)).toEqual(['10.5.1.0-24&fd00::-64 4']);
  expect(pathsTo('fd00::77', parts)).toEqual(['10.5.1.0-24&fd00::-64 6']);
  for (const to of ['10.5.2.1', 'fd01::1', '10.5.1.0/24', '', '__proto__'])
    expect(pathsTo(to, parts)).toEqual([]);
});

test('how each object stands', () => {
  const route = (n: number): KernelObject => ({
    kind: 'route',
    type: 'unicast',
    dst: parsePrefix(`10.5.${n}.0/24`)!,
    via: parseAddr(`10.5.${n}.0`)!,
    dev: 'flannel.1',
    onlink: true,
    protocol: 76,
  });
  const key = (n: number): string => `route 10.5.${n}.0/24 metric 0`;
  const trouble = (more: Partial<Trouble>): Trouble => ({
    kind: 'route',
    object: 'route gone',
    error: 'EPERM: no',
    attempts: 2,
    retryAt: 0,
    surroundings: '',
    conflict: false,
    race: false,
    ...more,
  });
  const compared = desiredState([1, 2, 3, 4, 5, 6, 8].map(route));
  const rows = [
    ...objectRows({
      wanted: desiredState(
        [1, 2, 3, 4, 5, 6, 7].map(route).concat({ ...route(8), mtu: 1400 } as KernelObject),
      ),
      compared,
      missing: new Map([2, 3, 4, 6].map((n) => [key(n), 'route'])),
      troubles: new Map([
        [key(2), trouble({})],
        [key(3), trouble({ conflict: true })],
        [key(6), trouble({ race: true })],
        ['route 10.9.0.0/24 metric 0', trouble({ object: 'route 10.9.0.0/24' })],
      ]),
      conflicts: new Map([[key(5), 'eth1']]),
    }),
  ].map((r) => [r.object.replace(/ via.*/, ''), r.state, r.error]);
  expect(rows).toEqual([
    ['route 10.5.1.0/24 metric 0', 'inSync', null],
    ['route 10.5.2.0/24 metric 0', 'failing', 'EPERM: no'],
    ['route 10.5.3.0/24 metric 0', 'conflict', 'another route with this prefix and metric'],
    ['route 10.5.4.0/24 metric 0', 'missing', 'it waits for link flannel.1'],
    ['route 10.5.5.0/24 metric 0', 'conflict', 'eth1'],
    ['route 10.5.6.0/24 metric 0', 'missing', 'EPERM: no'],
    ['route 10.5.7.0/24 metric 0', 'missing', null],
    ['route 10.5.8.0/24 metric 0', 'missing', null],
    ['route 10.9.0.0/24', 'failing', 'to be removed: EPERM: no'],
  ]);
});
