import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  cleanupOptions,
  cniInstallOptions,
  cniUninstallOptions,
  commandValues,
  leasesOptions,
} from '../../src/config/commands.ts';
import { optionsPage } from '../../src/config/document.ts';
import { parseDuration } from '../../src/config/kinds.ts';
import type { Option } from '../../src/config/option.ts';
import { envName, isOptionName, OPTIONS, type OptionName, optionNames } from '../../src/config/options.ts';
import { type RunOptions, runOptions } from '../../src/config/run.ts';
import { type Env, type Flags, strangeVariables } from '../../src/config/sources.ts';
import { EXIT } from '../../src/contract.ts';
import { ConfigError } from '../../src/errors.ts';
import { formatAddr } from '../../src/net/addr.ts';

type Given = Readonly<Partial<Record<OptionName, string | readonly string[]>>>;

const flags = (given: Given): Flags =>
  new Map(Object.entries(given).map(([name, v]) => [name as OptionName, typeof v === 'string' ? [v] : v]));

const run = (given: Given = {}, env: Env = {}): RunOptions => runOptions(flags(given), env);

function problems(given: Given, env: Env = {}, read: (f: Flags, e: Env) => unknown = runOptions) {
  try {
    read(flags(given), env);
  } catch (e) {
    expect(e).toBeInstanceOf(ConfigError);
    expect((e as ConfigError).exitCode).toBe(EXIT.config);
    return (e as ConfigError).problems;
  }
  throw new Error('nothing was wrong');
}

describe('loden run', () => {
  test('has the defaults of flanneld', () => {
    const { settings, ...options } = run();
    expect(options).toEqual({
      etcd: { endpoints: ['http://127.0.0.1:4001', 'http://127.0.0.1:2379'], prefix: '/coreos.com/network' },
      leaseTtl: 86_400,
      uplink: { ifaces: [], regexes: [], canReach: undefined, publicAddrs: new Map() },
      ipMasq: false,
      fullyRandom: true,
      forwardRules: true,
      blackholeRoute: false,
      takeover: false,
      udpThreads: 0,
      subnetFile: '/run/flannel/subnet.env',
      runDir: '/run/loden',
      stateDir: '/var/lib/loden',
      healthz: undefined,
      metrics: undefined,
      probeInterval: 10_000,
      peerCounters: true,
      log: { level: 'info', format: 'json' },
      notes: [],
    });
    expect([...settings.values()].every((s) => s.origin === 'default')).toBe(true);
  });

  test('takes flags over the environment over defaults, and remembers which', () => {
    const env = { FLANNELD_RUN_DIR: '/env', FLANNELD_STATE_DIR: '/env', FLANNELD_SUBNET_FILE: '' };
    const options = run({ 'run-dir': '/flag' }, env);
    expect(options).toMatchObject({
      runDir: '/flag',
      stateDir: '/env',
      subnetFile: '/run/flannel/subnet.env',
    });
    expect(options.settings.get('run-dir')).toEqual({
      name: 'run-dir',
      origin: 'flag',
      from: '--run-dir',
      texts: ['/flag'],
    });
    expect(options.settings.get('state-dir')).toMatchObject({
      origin: 'environment',
      from: 'FLANNELD_STATE_DIR',
    });
    expect(options.settings.get('subnet-file')).toMatchObject({ origin: 'default' });
  });

  test('takes the last of a repeated option, all of a repeatable one', () => {
    expect(run({ 'run-dir': ['/a', '/b'], iface: ['eth0', '10.0.0.1'] })).toMatchObject({
      runDir: '/b',
      uplink: { ifaces: ['eth0', '10.0.0.1'] },
    });
  });

  test('takes an empty text for none where there may be none', () => {
    expect(run({ 'etcd-cafile': '', iface: [''], 'public-ip': '' })).toMatchObject({
      etcd: { caFile: undefined },
      uplink: { ifaces: [] },
    });
    expect(problems({ 'run-dir': '' }).map((p) => p.path)).toEqual(['--run-dir']);
  });

  test('reads every variable flanneld reads', () => {
    for (const name of optionNames) {
      expect(envName(name)).toBe(`FLANNELD_${name.toUpperCase().replace(/-/g, '_')}`);
    }
    const options = run(
      {},
      { FLANNELD_IFACE: 'eth1', FLANNELD_IP_MASQ: 'T', FLANNELD_LEASE_TTL: '5s', FLANNELD_V: '3' },
    );
    expect(options).toMatchObject({
      ipMasq: true,
      leaseTtl: 5,
      uplink: { ifaces: ['eth1'] },
      log: { level: 'debug' },
    });
  });

  test('tells all problems at once, each with where it comes from', () => {
    const found = problems(
      {
        'etcd-endpoints': 'ftp://x:1',
        'etcd-prefix': '/',
        'lease-ttl': '1s',
        iface: ['eth0', 'a/b', 'averyveryverylongname'],
        'iface-regex': ['(', '[[:digit:]]'],
        'iface-can-reach': 'example.com',
        'public-ip': '::1',
        'public-ipv6': 'fe80::1',
        'ip-masq': 'yes',
        'healthz-port': '65536',
        'log-level': 'loud',
        'kube-subnet-mgr': 'true',
        'subnet-lease-renew-margin': '1440',
      },
      { FLANNELD_IPTABLES_FORWARD_RULES: 'on', FLANNELD_ETCD_CERTFILE: '/c' },
    );
    expect(found.map((p) => p.path).sort()).toEqual(
      [
        ...[
          '--etcd-endpoints',
          '--etcd-prefix',
          '--lease-ttl',
          '--iface',
          '--iface',
          '--iface-regex',
          '--iface-regex',
        ],
        ...[
          '--iface-can-reach',
          '--public-ip',
          '--public-ipv6',
          '--ip-masq',
          'FLANNELD_IPTABLES_FORWARD_RULES',
        ],
        ...[
          '--healthz-port',
          '--log-level',
          '--kube-subnet-mgr',
          '--subnet-lease-renew-margin',
          '--etcd-keyfile',
        ],
      ].sort(),
    );
    for (const p of found) expect([p.expected, p.got].every((text) => text.length > 0)).toBe(true);
  });

  test.each([
    [{ 'etcd-keyfile': '/k' }, '--etcd-certfile'],
    [{ 'etcd-certfile': '/c' }, '--etcd-keyfile'],
    [{ 'etcd-username': 'u' }, '--etcd-password'],
    [{ 'etcd-password': 'p' }, '--etcd-username'],
  ] as const)('%j alone is half of something', (given, path) => {
    expect(problems(given).map((p) => p.path)).toEqual([path]);
  });

  test('a CA file alone turns TLS on', () => {
    const given = {
      'etcd-cafile': '/ca',
      'etcd-endpoints': 'http://etcd:2379,https://[::1]:2379,10.0.0.1:2379',
    };
    expect(run(given).etcd).toMatchObject({
      caFile: '/ca',
      endpoints: ['https://etcd:2379', 'https://[::1]:2379', 'https://10.0.0.1:2379'],
    });
  });

  test.each([
    ['http://a:1, http://b:2/', ['http://a:1', 'http://b:2']],
    ['127.0.0.1:2379', ['http://127.0.0.1:2379']],
    ['http://a:1,http://a:1', ['http://a:1']],
  ])('the endpoints %j are %j', (text, expected) => {
    expect(run({ 'etcd-endpoints': text }).etcd.endpoints).toEqual(expected);
  });

  test.each([
    '',
    'http://a',
    'http://a:0',
    'http://a:65536',
    'http://a:1/x',
    'http://a:1?x',
    'http://a:1,,',
    'http://1.2.3.400:1',
    'http://[1.2.3.4]:1',
    'http://[g::]:1',
    'unix:///x',
    'http://a b:1',
  ])('the endpoints %j are refused', (text) => expect(problems({ 'etcd-endpoints': text })).toHaveLength(1));

  test('a prefix is cleaned as flannel cleans it', () => {
    expect(run({ 'etcd-prefix': '//a///b//' }).etcd.prefix).toBe('/a/b');
    expect(run({ 'etcd-prefix': 'a' }).etcd.prefix).toBe('a');
    expect(problems({ 'etcd-prefix': '/a/../b' })).toHaveLength(1);
  });

  test('sockets must fit into the run directory', () => {
    expect(problems({ 'run-dir': `/${'x'.repeat(100)}` })).toEqual([
      {
        path: '--run-dir',
        expected: expect.stringContaining('107 bytes'),
        got: expect.stringContaining('with 115'),
      },
    ]);
  });

  test('the password is masked wherever it could show', () => {
    const secret = 'hunter2-correct-horse';
    const env = { FLANNELD_ETCD_PASSWORD: `${secret}\u0000` };
    const [problem] = problems({ 'etcd-username': 'u', 'etcd-endpoints': `http://u:${secret}@h:1` });
    expect(JSON.stringify([problem, problems({ 'etcd-username': 'u' }, env)])).not.toContain('hunter2');
    const options = run({ 'etcd-username': 'u', 'etcd-password': secret });
    expect(options.etcd.password).toBe(secret);
    expect(options.settings.get('etcd-password')?.texts).toEqual(['[redacted]']);
    const { etcd: _, ...rest } = options;
    expect(JSON.stringify({ ...rest, settings: [...rest.settings] })).not.toContain('hunter2');
  });

  test('the health server needs a port', () => {
    expect(run({ 'healthz-port': '8080', 'healthz-ip': '127.0.0.1' }).healthz).toEqual({
      ip: '127.0.0.1',
      port: 8080,
    });
    expect(run({ 'healthz-ip': '127.0.0.1' }).healthz).toBeUndefined();
  });

  test('public addresses are kept by family', () => {
    const { publicAddrs } = run({ 'public-ip': '203.0.113.7', 'public-ipv6': '2001:db8::7' }).uplink;
    expect([...publicAddrs].map(([f, a]) => [f, formatAddr(a)])).toEqual([
      [4, '203.0.113.7'],
      [6, '2001:db8::7'],
    ]);
  });

  test.each([
    ['0', undefined, 'info'],
    ['1', undefined, 'info'],
    ['2', undefined, 'debug'],
    ['4', undefined, 'debug'],
    ['10', undefined, 'trace'],
    ['10', 'warn', 'warn'],
  ])('-v=%s and --log-level=%s log at %s', (v, level, expected) => {
    expect(run({ v, ...(level === undefined ? {} : { 'log-level': level }) }).log.level).toBe(expected);
  });

  test('what has no effect is accepted and said, once for each', () => {
    const { notes } = run(
      { 'subnet-lease-renew-margin': '30', 'iptables-resync': '9', logtostderr: 'true' },
      { FLANNELD_KUBE_API_URL: 'https://k', FLANNELD_IFCAE: 'eth0', PATH: '/bin' },
    );
    expect(notes).toEqual([
      expect.stringMatching(/^FLANNELD_KUBE_API_URL has no effect: .*kube-subnet-mgr/),
      expect.stringMatching(/^--subnet-lease-renew-margin has no effect: /),
      expect.stringMatching(/^--iptables-resync has no effect: /),
      expect.stringMatching(/^--logtostderr has no effect: /),
      '"FLANNELD_IFCAE" in the environment is no option',
    ]);
  });
});

describe('a boolean', () => {
  test.each(['1', 't', 'T', 'true', 'TRUE', 'True'])('is on for %s', (t) =>
    expect(run({ 'ip-masq': t }).ipMasq).toBe(true),
  );
  test.each(['0', 'f', 'F', 'false', 'FALSE', 'False'])('is off for %s', (t) =>
    expect(run({ 'iptables-forward-rules': t }).forwardRules).toBe(false),
  );
  test.each(['', 'tRue', 'yes', 'on', '2', ' true'])('is nothing for %j', (t) =>
    expect(problems({ 'ip-masq': t })).toHaveLength(1),
  );
});

describe('a duration', () => {
  test.each([
    ['24h', 86_400_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['90', 90_000],
    ['1m0.5s', 60_500],
    ['.5s', 500],
    ['5m', 300_000],
    ['5ms', 5],
    ['1h1m1s1ms', 3_661_001],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms));
  test.each(['', '-5s', 's', '5 s', '5d', '1h-1m', '.s', '1e3s', '5S'])('%j is none', (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );

  test('of a lease is in whole seconds and not too short', () => {
    expect(run({ 'lease-ttl': '2' }).leaseTtl).toBe(2);
    for (const text of ['1s', '1999ms', '2.5s', '11y', '100000h'])
      expect(problems({ 'lease-ttl': text })).toHaveLength(1);
  });
});

describe('a pattern', () => {
  const regexes = (text: string) => run({ 'iface-regex': [text] }).uplink.regexes;
  test('means what it means in Go', () => {
    expect(regexes('^eth[0-9]$')[0]!.test('eth0')).toBe(true);
    expect(regexes('(?i)ETH')[0]!.test('eth0')).toBe(true);
    expect(regexes('10\\.0\\.')[0]!.test('10.0.5.1')).toBe(true);
  });
  test.each(['\\Aeth', 'eth\\z', '[[:alpha:]]', '(?P<n>x)', '(?s)x', 'a(?i:b)', '\\Qx\\E', '(', '*'])(
    '%j is refused',
    (text) => expect(problems({ 'iface-regex': [text] })).toHaveLength(1),
  );
});

describe('other commands', () => {
  test('read what they need and nothing else', () => {
    const env = {
      FLANNELD_RUN_DIR: '/r',
      FLANNELD_IFACE: 'not/a/name',
      FLANNELD_STATE_DIR: '/s',
      FLANNELD_IP_MASQ: '?',
    };
    expect(leasesOptions(new Map(), env)).toMatchObject({ runDir: '/r', source: 'auto' });
    expect(cleanupOptions(new Map(), env)).toEqual({
      runDir: '/r',
      stateDir: '/s',
      json: false,
    });
  });
  test('take nothing from the environment but what run takes too', () => {
    // Kubernetes sets the first for a Service called flanneld.
    const env = {
      FLANNELD_PORT: 'tcp://10.0.0.1:80',
      FLANNELD_JSON: 'true',
      FLANNELD_ROOT: '/x',
      FLANNELD_FORCE: '1',
    };
    expect(commandValues('why', new Map(), env)).toMatchObject({ port: undefined, json: false });
    expect(commandValues('doctor', new Map(), env)).toMatchObject({ root: '/', json: false });
    expect(commandValues('config set', new Map(), env)).toMatchObject({ force: false });
    const service = { ...env, FLANNELD_SERVICE_HOST: '10.0.0.1', FLANNELD_PORT_80_TCP_ADDR: '10.0.0.1' };
    expect(strangeVariables(service)).toEqual(['FLANNELD_JSON', 'FLANNELD_ROOT', 'FLANNELD_FORCE']);
  });
  test('tell all problems too', () => {
    expect(
      problems({ source: 'heaven', 'etcd-endpoints': 'x' }, {}, leasesOptions).map((p) => p.path),
    ).toEqual(['--etcd-endpoints', '--source']);
    expect(problems({ json: '2' }, {}, cleanupOptions).map((p) => p.path)).toEqual(['--json']);
    const wrong = { 'network-name': '../x', 'bin-dir': '', 'run-dir': `/${'x'.repeat(100)}` };
    expect(problems(wrong, {}, cniInstallOptions).map((p) => p.path)).toEqual([
      '--bin-dir',
      '--network-name',
      '--run-dir',
    ]);
    expect(problems({ force: 'x' }, {}, cniUninstallOptions).map((p) => p.path)).toEqual(['--force']);
  });
});

describe('the table of options', () => {
  test('has defaults that are right themselves', () => {
    for (const name of optionNames) {
      const { kind, fallback, optional }: Option = OPTIONS[name];
      expect(optional).toBe(fallback === undefined);
      if (fallback !== undefined) expect(kind.parse(fallback), name).toBeDefined();
    }
  });

  test('has all of flanneld', () => {
    const flanneld =
      `etcd-endpoints etcd-prefix etcd-keyfile etcd-certfile etcd-cafile etcd-username etcd-password
      iface iface-regex iface-can-reach public-ip public-ipv6 subnet-file subnet-lease-renew-margin ip-masq
      ip-masq-fully-random-disable kube-subnet-mgr kube-api-url kube-annotation-prefix kubeconfig-file net-config-path
      set-node-network-unavailable healthz-ip healthz-port iptables-resync iptables-forward-rules ip-blackhole-route v
      vmodule log_backtrace_at`.split(/\s+/);
    expect(flanneld.filter((name) => !isOptionName(name))).toEqual([]);
    expect(isOptionName('__proto__') || isOptionName('constructor')).toBe(false);
  });

  test('is the documentation', async () => {
    await expect(optionsPage()).toMatchFileSnapshot('../../docs/options.md');
  });

  test('whatever is given, there are options or problems', () => {
    const word = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('true', '1', '/x', '10.0.0.1', '::1', '5s'),
    );
    const given = fc.dictionary(
      fc.constantFrom(...optionNames),
      fc.array(word, { minLength: 1, maxLength: 3 }),
      {
        maxKeys: 8,
        noNullPrototype: true,
      },
    );
    fc.assert(
      fc.property(given, given, (byFlag, byEnv) => {
        const env = Object.fromEntries(
          Object.entries(byEnv).map(([n, v]) => [envName(n as OptionName), v[0]]),
        );
        try {
          const options = run(byFlag, env);
          expect(options.settings.size).toBeGreaterThan(30);
        } catch (e) {
          expect(e).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});
