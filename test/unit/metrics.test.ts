import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { StatusJson } from '../../src/api/shapes.ts';
import { BOUNDS, Counters } from '../../src/cni/counters.ts';
import type { CniStatus } from '../../src/cni/status.ts';
import { Behind } from '../../src/metrics/behind.ts';
import { CATALOGUE, type MetricSources, metrics } from '../../src/metrics/index.ts';
import { REQUEST_BOUNDS, RequestCounts } from '../../src/metrics/requests.ts';
import { RTT_BOUNDS } from '../../src/probe/types.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Runs promtool; resolves to its exit status and all it said. */
const promtool = (args: readonly string[], input = ''): Promise<{ status: number; said: string }> =>
  new Promise((resolve) => {
    const child = execFile('promtool', args, { timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ status: error ? Number(error.code ?? -1) : 0, said: `${stdout}${stderr}` }),
    );
    child.stdin?.end(input);
  });

const KINDS = ['link', 'sysctl', 'address', 'neigh', 'fdb', 'route'] as const;

function status(changes: Partial<StatusJson> = {}): StatusJson {
  const objects = { ...Object.fromEntries(KINDS.map((k) => [k, { desired: 0, inSync: 0, failing: 0 }])) };
  return {
    version: '9.8.7',
    node: 'n',
    instance: 'i',
    pid: 1,
    startedAt: '2026-01-02T03:04:05.000Z',
    ready: true,
    reason: null,
    lease: {
      state: 'held',
      lease: {
        key: '10.5.7.0-24',
        subnets: ['10.5.7.0/24'],
        publicIP: '192.0.2.7',
        publicIPv6: null,
        backend: 'udp',
        data: null,
        dataV6: null,
        node: 'n',
        instance: 'i',
        reservation: false,
        etcdLease: '7',
        createRevision: '12',
        modRevision: '12',
        self: true,
      },
      secondsLeft: 86_000,
      reason: null,
    },
    network: { IPv4: '10.5.0.0/16', IPv6: null, backend: 'udp' },
    uplink: null,
    mtu: 1450,
    subnetFile: '/run/flannel/subnet.env',
    peers: 12,
    paths: { unprobed: 1, reachable: 7, lossy: 2, unreachable: 2, lowered: 1 },
    setAside: 3,
    kernel: {
      revision: '120',
      objects: { ...objects, route: { desired: 12, inSync: 9, failing: 2 } },
      failing: [],
      conflicts: [{ object: 'route 10.5.9.0/24', with: 'one of eth0' }],
      repairs: { route: 4, masquerade: 1 },
      messages: 40,
    },
    forwarder: null,
    cni: { attachments: 3, queued: 1, stale: [], commands: {} },
    store: { connected: true, revision: '123', requests: 5, error: null },
    problems: ['a', 'b'],
    ...changes,
  };
}

function cni(): CniStatus {
  const counters = new Counters();
  counters.note('ADD', 1.5, undefined);
  counters.note('ADD', 30, undefined);
  counters.note('ADD', 9_000, 11);
  counters.note('DEL', 0.1, undefined);
  return { attachments: 3, queued: 1, stale: ['pod/eth0'], commands: counters.snapshot() };
}

/** A node with something in everything. */
function sources(changes: Partial<MetricSources> = {}): MetricSources {
  const requests = new RequestCounts();
  const endpoint = 'http://192.0.2.1:2379';
  requests.note({ method: 'KV.range', endpoint, milliseconds: 2, ok: true });
  requests.note({ method: 'KV.range', endpoint, milliseconds: 6_000, ok: false });
  requests.note({ method: 'Lease.leaseGrant', endpoint, milliseconds: 12.5, ok: true });
  const buckets = RTT_BOUNDS.map((_, i) => i);
  return {
    status: () => status(),
    startedAt: new Date('2026-01-02T03:04:05.000Z'),
    leaseTtl: () => 86_400,
    refused: () => 1,
    behind: () => 2.5,
    firewallInSync: () => true,
    requests,
    probes: () => ({
      sent: 100,
      received: 90,
      lost: 10,
      rtt: { buckets: [...buckets, 5], sum: 1_234, count: 83 },
    }),
    checksumOffload: () => 'off',
    forwarder: () => ({
      running: true,
      threads: 2,
      refused: [],
      counters: {
        ...{ out_packets: 10, out_bytes: 1_000, out_trains: 4, out_calls: 2 },
        ...{ in_packets: 20, in_bytes: 2_000, in_datagrams: 8, in_calls: 3 },
      },
      drops: { out: { no_route: 3 }, in: { unknown_peer: 5, own_address: 1 } },
      ratios: { packetsPerTrain: 1, packetsPerSendCall: 1, packetsPerDatagram: 1, packetsPerSuper: 1 },
    }),
    cni,
    events: () => [{ kind: 'peer', level: 'info', count: 24 }],
    ...changes,
  };
}

/** One before anything is known: no lease, no store, nothing probed or forwarded. */
const NOTHING: Partial<MetricSources> = {
  leaseTtl: () => undefined,
  status: () =>
    status({
      ready: false,
      lease: { state: 'waiting', lease: null, secondsLeft: null, reason: 'waiting' },
      network: null,
      store: { connected: false, revision: null, requests: 0, error: 'refused' },
      kernel: { ...status().kernel, revision: null },
    }),
  behind: () => undefined,
  firewallInSync: () => undefined,
  requests: new RequestCounts(),
  probes: () => undefined,
  checksumOffload: () => null,
  forwarder: () => null,
  cni: () => ({ attachments: 0, queued: 0, stale: [], commands: {} }),
  events: () => [],
};

const scrape = (changes: Partial<MetricSources> = {}): Promise<string> => metrics(sources(changes)).text();

/** Values by name and labels, as they stand in the text. */
const values = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]),
  );

/** Names of metrics with samples, those of a histogram as the histogram's. */
const namesIn = (text: string): ReadonlySet<string> => {
  const histograms = new Set(CATALOGUE.filter((m) => m.type === 'histogram').map((m) => m.name));
  return new Set(
    Array.from(values(text).keys(), (series) => {
      const name = series.split('{')[0]!;
      const base = name.replace(/_(?:bucket|sum|count)$/, '');
      return histograms.has(base) ? base : name;
    }),
  );
};

describe('a scrape', () => {
  test('tells what the daemon knows', async () => {
    const text = (await scrape()).replace(
      /^((?:process|loden_heap|loden_event_loop)_\w+) .*$/gm,
      '$1 <process>',
    );
    const stable = text.replace(/node_version="[^"]+"/, 'node_version="<node>"');
    await expect(stable).toMatchFileSnapshot('golden/metrics.txt');
  });

  test('has samples for every metric there is, and no other', async () => {
    expect([...namesIn(await scrape())].sort()).toEqual(CATALOGUE.map((m) => m.name).sort());
  });

  test('says nothing of what is not known', async () => {
    const names = namesIn(await scrape(NOTHING));
    for (const name of [
      ...[
        'loden_lease_remaining_seconds',
        'loden_lease_ttl_seconds',
        'loden_lease_reservation',
        'loden_store_revision',
      ],
      ...['loden_kernel_revision', 'loden_kernel_behind_seconds', 'loden_firewall_in_sync'],
      ...['loden_probes_sent_total', 'loden_probe_rtt_seconds', 'loden_checksum_offload'],
      ...['loden_forwarder_running', 'loden_forwarder_packets_total', 'loden_cni_duration_seconds'],
    ])
      expect(names, name).not.toContain(name);
    const all = values(await scrape(NOTHING));
    expect(all.get('loden_ready')).toBe('0');
    expect(all.get('loden_lease_state{state="waiting"}')).toBe('1');
    expect(all.get('loden_lease_state{state="held"}')).toBe('0');
    expect(all.get('loden_store_connected')).toBe('0');
  });

  test.each([
    ['of a node with everything', {}],
    ['of one that knows nothing', NOTHING],
  ])('%s pleases promtool', async (_, changes) => {
    expect(await promtool(['check', 'metrics'], await scrape(changes))).toEqual({ status: 0, said: '' });
  });

  test('has the labels that are declared, no more and no less', async () => {
    const declared = Object.fromEntries(CATALOGUE.map((m) => [m.name, [...m.labels].sort()]));
    const found: Record<string, string[]> = {};
    for (const series of values(await scrape()).keys()) {
      const [name, labels = ''] = series.split('{') as [string, string?];
      const base = declared[name] ? name : name.replace(/_(?:bucket|sum|count)$/, '');
      found[base] = Array.from(labels.matchAll(/(\w+)="/g), ([, label]) => label!)
        .filter((label) => label !== 'le')
        .sort();
    }
    expect(found).toEqual(declared);
  });

  test('is one for all who ask meanwhile, and made anew for the next', async () => {
    let asked = 0;
    const all = metrics(sources({ refused: () => ++asked }));
    const [a, b] = await Promise.all([all.text(), all.text()]);
    expect(a).toBe(b);
    expect(asked).toBe(1);
    expect(values(await all.text()).get('loden_peers_refused')).toBe('2');
  });

  test('that fails is told, and the next one works', async () => {
    let fails = true;
    const all = metrics(
      sources({
        refused: () => {
          if (fails) throw new Error('no peers');
          return 0;
        },
      }),
    );
    await expect(all.text()).rejects.toThrow('no peers');
    fails = false;
    expect(values(await all.text()).get('loden_peers_refused')).toBe('0');
  });

  test('keeps texts of others from being read as labels', async () => {
    const text = await scrape({
      events: () => [{ kind: 'peer"} 1\nevil{a="\\' as 'peer', level: 'info', count: 1 }],
    });
    expect(text).toContain('loden_events_total{kind="peer\\"} 1\\nevil{a=\\"\\\\",level="info"} 1');
    expect((await promtool(['check', 'metrics'], text)).status).toBe(0);
  });

  test('loads nothing of OpenTelemetry', async () => {
    await scrape();
    const loaded = Object.keys(createRequire(import.meta.url).cache);
    expect(loaded.some((file) => file.includes('/prom-client/lib/registry.js'))).toBe(true);
    expect(loaded.filter((file) => /opentelemetry|prom-client\/index/.test(file))).toEqual([]);
  });
});

describe('a histogram', () => {
  test.each([
    ['loden_store_request_duration_seconds', '{method="KV.range"', REQUEST_BOUNDS, 2, '6.002'],
    ['loden_cni_duration_seconds', '{command="ADD"', BOUNDS, 3, '9.0315'],
    ['loden_probe_rtt_seconds', '{', RTT_BOUNDS, 83, '1.234'],
  ] as const)('%s is cumulative, in seconds, up to +Inf', async (name, labels, bounds, count, sum) => {
    const all = values(await scrape());
    const comma = labels === '{' ? '' : ',';
    const le = [...bounds.map((ms) => String(ms / 1000)), '+Inf'];
    const within = le.map((bound) => Number(all.get(`${name}_bucket${labels}${comma}le="${bound}"}`)));
    expect(within.every((n, i) => n >= (within[i - 1] ?? 0))).toBe(true);
    expect(within.at(-1)).toBe(count);
    const end = labels === '{' ? '' : `${labels}}`;
    expect(all.get(`${name}_count${end}`)).toBe(String(count));
    expect(all.get(`${name}_sum${end}`)).toBe(sum);
  });

  test('of requests has each in the first bound that holds it', () => {
    const counts = new RequestCounts();
    const note = (milliseconds: number) =>
      counts.note({ method: 'm', endpoint: 'e', milliseconds, ok: true });
    for (const ms of [1, 1.01, 5_000, 5_001]) note(ms);
    const { buckets, sum } = counts.methods.get('m')!;
    expect(buckets).toEqual([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    expect(sum).toBeCloseTo(10_003.01);
  });
});

test('the kernel is behind from the first moment it was, until it has caught up', () => {
  const behind = new Behind();
  expect(behind.seconds(0)).toBeUndefined();
  behind.look('5', null, 1_000);
  behind.look('6', '5', 3_000);
  expect(behind.seconds(4_000)).toBe(3);
  behind.look('6', '6', 5_000);
  expect(behind.seconds(9_000)).toBe(0);
  behind.look(null, '6', 9_000);
  expect(behind.seconds(9_000)).toBeUndefined();
});

const DOCS = 'docs/metrics.md';
const RULES = 'deploy/prometheus/loden.rules.yml';
const RULE_TESTS = 'deploy/prometheus/loden.rules.test.yml';
const DASHBOARD = 'deploy/grafana/loden.json';

/** Metrics a PromQL expression names, histograms without the ends of their series' names. */
const named = (expr: string): string[] =>
  Array.from(expr.matchAll(/\b(?:loden|process)_\w+/g), ([name]) => {
    const base = name.replace(/_(?:bucket|sum|count)$/, '');
    return CATALOGUE.some((m) => m.name === base && m.type === 'histogram') ? base : name;
  });
const KNOWN = new Set(CATALOGUE.map((m) => m.name));

interface Alert {
  readonly name: string;
  readonly text: string;
  readonly expr: string;
}

/** The alerts of the rules, which are written one member a line. */
const alerts = (): Alert[] =>
  read(RULES)
    .split(/^ {6}- alert: /m)
    .slice(1)
    .map((text) => ({
      name: text.split('\n', 1)[0]!,
      text,
      expr: /^ {8}expr: '(.*)'$/m.exec(text)![1]!.replaceAll("''", "'"),
    }));

describe('docs/metrics.md', () => {
  const rows = read(DOCS)
    .split('\n')
    .map((line) => /^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$/.exec(line))
    .filter((match) => match !== null);

  test('has every metric with its type, labels and meaning, and no other', () => {
    const told = rows.map(([, name, type, labels, meaning]) => [
      name,
      type,
      Array.from(labels!.matchAll(/`(\w+)`/g), ([, label]) => label),
      meaning,
    ]);
    expect(told.sort()).toEqual(CATALOGUE.map((m) => [m.name, m.type, [...m.labels], m.help]).sort());
  });

  test('says of every alert what to do, and of no other', () => {
    const headings = Array.from(read(DOCS).matchAll(/^#### (\w+)\n\n\S/gm), ([, name]) => name!);
    expect(headings.sort()).toEqual(
      alerts()
        .map((a) => a.name)
        .sort(),
    );
  });
});

describe('the alerts', () => {
  test('are rules that promtool takes', async () => {
    const { status, said } = await promtool(['check', 'rules', join(ROOT, RULES)]);
    expect(status, said).toBe(0);
  });

  test('fire when they should and are quiet when not', async () => {
    const { status, said } = await promtool(['test', 'rules', join(ROOT, RULE_TESTS)]);
    expect(status, said).toBe(0);
  });

  test('each have a case that fires, beside one that is quiet', () => {
    for (const { name } of alerts()) {
      const at =
        read(RULE_TESTS)
          .split(`  - name: ${name}\n`)[1]
          ?.split(/^ {2}- name: /m)[0] ?? '';
      expect(at, name).toContain(`alertname: ${name}, exp_alerts: []`);
      expect(at, name).toMatch(/exp_labels:\n\s+\{ severity: \w+, instance: bad/);
      expect(at, name).toContain('instance="good"');
    }
  });

  test('each say how bad it is, since when, what it is and where to read on', () => {
    for (const { name, text } of alerts()) {
      expect(text, name).toMatch(/^ {8}for: \d+[smh]$/m);
      expect(text, name).toMatch(/^ {10}severity: (?:critical|warning)$/m);
      expect(text, name).toMatch(/^ {10}summary: '.+'$/m);
      expect(text, name).toMatch(/^ {10}description: '.+'$/m);
      expect(text, name).toContain(`          runbook: docs/metrics.md#${name.toLowerCase()}\n`);
    }
  });

  test('name metrics that exist', () => {
    for (const { name, expr } of alerts()) {
      const metrics = named(expr);
      expect(metrics.length > 0 || expr.startsWith('up{'), name).toBe(true);
      for (const metric of metrics) expect(KNOWN, name).toContain(metric);
    }
  });
});

describe('the dashboard', () => {
  interface Panel {
    readonly type: string;
    readonly title: string;
    readonly id: number;
    readonly datasource?: { readonly uid: string };
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly { readonly expr: string }[];
    readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  }
  const { panels, templating } = JSON.parse(read(DASHBOARD)) as {
    panels: readonly Panel[];
    templating: { list: readonly { name: string; type: string }[] };
  };
  const charts = panels.filter((p) => p.type !== 'row');
  const queries = charts.flatMap((p) => p.targets!.map(({ expr }) => ({ title: p.title, expr })));

  test('asks for metrics that exist, and for each of them', () => {
    for (const { title, expr } of queries)
      for (const name of named(expr)) expect(KNOWN, title).toContain(name);
    const shown = new Set(queries.flatMap(({ expr }) => named(expr)));
    expect([...KNOWN].filter((name) => !shown.has(name))).toEqual([]);
  });

  test('asks in PromQL', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'loden-dashboard-'));
    try {
      const rules = queries.map(
        ({ expr }, i) =>
          `  - record: query:${i}\n    expr: ${JSON.stringify(expr.replaceAll('$__rate_interval', '5m'))}\n`,
      );
      writeFileSync(join(dir, 'rules.yml'), `groups:\n- name: dashboard\n  rules:\n${rules.join('')}`);
      const { status, said } = await promtool(['check', 'rules', join(dir, 'rules.yml')]);
      expect(status, said).toBe(0);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('takes its data source and its nodes from variables', () => {
    expect(templating.list.map((v) => v.name)).toEqual(['datasource', 'job', 'instance']);
    for (const { title, datasource } of charts) expect(datasource?.uid, title).toMatch(/^\$\{datasource\}$/);
    for (const { title, expr } of queries)
      for (const [selector] of expr.matchAll(/\{[^}]*\}/g))
        expect(selector, title).toMatch(/^\{job="\$job",instance=~"\$instance"/);
  });

  test('has panels with titles and units, which do not lie on each other', () => {
    expect(new Set(panels.map((p) => p.id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { title, type, gridPos, fieldConfig } of panels) {
      expect(title).not.toBe('');
      if (type !== 'row') expect(fieldConfig?.defaults.unit, title).toBeTruthy();
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken, title).not.toContain(`${x} ${y}`);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});

test('the example of a scrape job is a configuration', async () => {
  const { status, said } = await promtool(['check', 'config', join(ROOT, 'deploy/prometheus/scrape.yml')]);
  expect(status, said).toBe(0);
});
