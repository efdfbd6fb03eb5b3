import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { ConfigJson } from '../../src/api/shapes.ts';
import { paint } from '../../src/cli/paint.ts';
import { renderChecks, renderReport } from '../../src/cli/render/doctor.ts';
import { settle } from '../../src/inspect/doctor/applied.ts';
import { CHECKS } from '../../src/inspect/doctor/checks/index.ts';
import { alarmsIn, certificateWords, median, socketWords } from '../../src/inspect/doctor/etcdWords.ts';
import { examine } from '../../src/inspect/doctor/examine.ts';
import { lettingPass, lettingPortPass, placeOf } from '../../src/inspect/doctor/firewallWords.ts';
import { featureStates } from '../../src/inspect/doctor/kernelFeatures.ts';
import { fact, type Report } from '../../src/inspect/doctor/types.ts';
import { parseUdpTable } from '../../src/inspect/doctor/udpTable.ts';
import { globs, matches, parseUnitFile, setting, truth } from '../../src/inspect/doctor/unitFile.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { healthy, known, status } from '../fake/doctorFacts.ts';

const ROOT = new URL('../../', import.meta.url);
const AT = new Date('2026-01-02T03:04:05Z');

/** A host with some troubles. */
function troubled(): Report {
  const facts = healthy();
  const options = { ...facts.options, forwardRules: false };
  return examine(
    {
      ...facts,
      options,
      world: {
        ...facts.world,
        status: known(status({ ready: false, reason: 'waiting for \u001b[31metcd' })),
        probes: { missing: 'the daemon refuses /v1/probes: not found' },
      },
      firewall: fact({ bases: [], gaps: [] }),
      clock: fact({ now: AT.getTime(), synchronised: false }),
      sysctls: fact(new Map([['net/ipv4/ip_forward', '1']])),
      subnetEnv: fact({ networks: [], subnets: [], mtu: 1400 }),
    },
    CHECKS,
    AT,
  );
}

describe('a report as text', () => {
  test('what is wrong comes first, with what to do; then the rest by group', async () => {
    await expect(renderReport(troubled(), CHECKS, paint(false), undefined)).toMatchFileSnapshot(
      'golden/doctor.txt',
    );
  });

  test('on a terminal of 100 columns, in colours', async () => {
    const text = renderReport(troubled(), CHECKS, paint(true), 100);
    await expect(text).toMatchFileSnapshot('golden/doctor-terminal.txt');
    const plain = stripVTControlCharacters(text);
    expect(plain.split('\n').filter((line) => line.length > 100)).toEqual([]);
  });

  test('of a healthy host, and not as root without a daemon', () => {
    const well = examine(healthy(), CHECKS, AT);
    expect(renderReport(well, CHECKS, paint(false), undefined)).toMatch(/\n\nAll is well\.\n$/);
    const less = { ...well, privileged: false, daemon: 'none' as const };
    expect(renderReport(less, CHECKS, paint(false), undefined)).toMatch(
      /Not run as root: less can be seen\.\nWithout a daemon only half can be seen\.\n$/,
    );
  });

  test('--list', async () => {
    await expect(renderChecks(CHECKS)).toMatchFileSnapshot('golden/doctor-list.txt');
  });
});

test('docs/doctor.md has every check, in order, and no other', () => {
  const text = readFileSync(fileURLToPath(new URL('docs/doctor.md', ROOT)), 'utf8');
  const entries = Array.from(text.matchAll(/^### `([a-z-]+)`: (.+)$/gm), ([, id, title]) => [id, title]);
  expect(entries).toEqual(CHECKS.map((c) => [c.id, c.title]));
  for (const [id] of entries) {
    const body = text.slice(text.indexOf(`### \`${id}\``) + 4);
    const own = body.slice(0, body.search(/\n##/) < 0 ? undefined : body.search(/\n##/));
    expect([id, /\*\*Looks at\*\*/.test(own), /\*\*Fix\*\*/.test(own)]).toEqual([id, true, true]);
  }
});

describe('options that apply', () => {
  const config = (...options: readonly (readonly [string, string])[]): ConfigJson => ({
    options: options.map(([name, text]) => ({
      name,
      origin: 'flag',
      from: `--${name}`,
      values: [text],
    })),
    network: { key: '', config: {}, inForce: true, problem: null },
  });

  test('those given here, else the daemon’s, else the defaults', () => {
    const told = config(['etcd-endpoints', 'http://a:1'], ['etcd-prefix', '/theirs'], ['run-dir', '/other']);
    const { etcd, applied } = settle(new Map([['etcd-prefix', ['/mine']]]), {}, told);
    expect(etcd).toMatchObject({ endpoints: ['http://a:1'], prefix: '/mine' });
    expect(applied).toMatchObject({ endpointsByDefault: false, passwordHidden: false, runDir: '/run/loden' });
    expect(settle(new Map(), {}, undefined).applied).toMatchObject({ endpointsByDefault: true, ifaces: [] });
    const env = { FLANNELD_ETCD_ENDPOINTS: 'http://env:1' };
    expect(settle(new Map(), env, told).etcd.endpoints).toEqual(['http://env:1']);
  });

  test('a masked password is none', () => {
    const told = config(['etcd-username', 'u'], ['etcd-password', '[redacted]']);
    const { etcd, applied } = settle(new Map(), {}, told);
    expect(etcd).toMatchObject({ username: undefined, password: undefined });
    expect(applied.passwordHidden).toBe(true);
    const given = settle(
      new Map([
        ['etcd-username', ['me']],
        ['etcd-password', ['x']],
      ]),
      {},
      told,
    );
    expect(given.etcd).toMatchObject({ username: 'me', password: 'x' });
    expect(given.applied.passwordHidden).toBe(false);
  });
});

describe('/proc/net/udp', () => {
  const HEAD =
    '   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
  test('addresses of both families, ports, inodes', () => {
    const text = `${HEAD}
  123: 0100007F:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 0
  124: B80D0120000000000000000001000000:1F90 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 99 2 0 0
  nonsense`;
    expect(parseUdpTable(text).map((r) => [formatAddr(r.address), r.port, r.inode])).toEqual([
      ['127.0.0.1', 8472, '4242'],
      ['2001:db8::1', 8080, '99'],
    ]);
  });
});

describe('files of systemd and NetworkManager', () => {
  const file = (text: string) => parseUnitFile('x', [text]);
  test('sections, comments, continued lines, assignments that are taken back', () => {
    const f = file('# c\n[Match]\nName=a \\\n b\n; c\n[Link]\nX=1\nX=2\nY=1\nY=\n');
    expect(f.settings.get('match.name')).toEqual(['a   b']);
    expect([setting(f, 'link.x'), setting(f, 'link.y')]).toEqual(['2', undefined]);
  });

  test.each([
    ['[Match]\nName=flannel*', true],
    ['[Match]\nOriginalName=eth* flannel.?', true],
    ['[Match]\nName=!flannel* cni0', false],
    ['[Match]\nName=!eth*', true],
    ['[Match]\nKind=vxlan', true],
    ['[Match]\nType=ether', false],
    ['[Match]\nName=*\nMACAddress=00:11:22:33:44:55', false],
    ['[Match]\nName=flannel[!0-9]1', true],
    ['[Network]\nDHCP=yes', false],
  ])('%j', (text, fits) => expect(matches(file(text), { name: 'flannel.1', kind: 'vxlan' })).toBe(fits));

  test('globs and truths', () => {
    expect(globs('a.b', 'axb')).toBe(false);
    expect(globs('[', 'x')).toBe(false);
    expect(['yes', 'On', '0', 'maybe', undefined].map(truth)).toEqual([
      true,
      true,
      false,
      undefined,
      undefined,
    ]);
  });
});

describe('features of a kernel', () => {
  const NOTHING = {
    config: undefined,
    builtin: undefined,
    dep: undefined,
    loaded: '',
    inSys: new Set<string>(),
  };
  const vxlan = (from: Partial<typeof NOTHING> & object) =>
    featureStates({ ...NOTHING, ...from }).get('vxlan');
  test('from whatever tells', () => {
    expect(vxlan({})).toBe('unknown');
    expect(vxlan({ loaded: 'vxlan 90112 0 - Live 0x0\n' })).toBe('loaded');
    expect(vxlan({ config: 'CONFIG_VXLAN=y\n' } as never)).toBe('builtin');
    expect(vxlan({ config: 'CONFIG_VXLAN=m\n' } as never)).toBe('module');
    expect(vxlan({ config: '# CONFIG_VXLAN is not set\n' } as never)).toBe('absent');
    // It was built as a module, but that is in a package that is not installed.
    expect(vxlan({ config: 'CONFIG_VXLAN=m\n', dep: 'kernel/net/x.ko:\n' } as never)).toBe('absent');
    expect(
      vxlan({ dep: 'kernel/drivers/net/vxlan/vxlan.ko.zst: kernel/net/ipv4/udp_tunnel.ko.zst\n' } as never),
    ).toBe('module');
    expect(vxlan({ builtin: 'kernel/drivers/net/vxlan/vxlan.ko\n' } as never)).toBe('builtin');
    expect(
      vxlan({ dep: 'kernel/a.ko: kernel/drivers/net/vxlan.ko\n', inSys: new Set(['vxlan']) } as never),
    ).toBe('builtin');
  });
});

describe('words', () => {
  test('of firewalls: where a rule stands decides what is to be run', () => {
    expect(placeOf('iptables-legacy, table filter, chain FORWARD', 4)).toEqual({
      tool: 'iptables-legacy',
      table: 'filter',
      chain: 'FORWARD',
    });
    expect(placeOf('nft table ip filter, chain FORWARD', 4)?.tool).toBe('iptables');
    expect(placeOf('nft table inet firewalld, chain filter_FORWARD', 4)?.tool).toBe('nft');
    expect(placeOf('somewhere', 4)).toBeUndefined();
    expect(lettingPass('nft table inet f, chain c', prefix('fd00::/48'))).toContain(
      'ip6 saddr fd00::/48 accept',
    );
    expect(lettingPass('somewhere', prefix('10.0.0.0/8'))).toContain('10.0.0.0/8');
    expect(lettingPortPass('ip6tables, table raw, chain PREROUTING', 6, 8472)).toBe(
      'ip6tables -t raw -I PREROUTING -p udp --dport 8472 -j ACCEPT',
    );
  });

  test('of sockets, certificates and alarms', () => {
    expect(socketWords({ code: 'EHOSTUNREACH', message: 'x' })).toMatch(/no route to the host/);
    expect(socketWords({ message: 'x' })).toBe('x');
    expect(certificateWords('CERT_HAS_EXPIRED')).toMatch(/has expired/);
    const names = Object.assign(new Error('not in the list'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    expect(certificateWords(names)).toBe('its certificate is for other names: not in the list');
    expect(certificateWords(new Error('odd'))).toBe('TLS: odd');
    expect(alarmsIn('{"alarms":[{"alarm":"NOSPACE"}]}')).toEqual(['NOSPACE']);
    expect(median([9, 1, 5])).toBe(5);
  });
});
