import { describe, expect, test } from 'vitest';
import { CniError } from '../../src/cni/errors.ts';
import { type Asked, parseArgs, readAsked } from '../../src/cni/protocol/args.ts';
import { readConfig } from '../../src/cni/protocol/config.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { formatPrefix } from '../../src/net/prefix.ts';

/** The configuration of type loden and of type flannel, and what a caller can ask for beside it. */

const read = (conf: object) => readConfig({ name: 'pods', type: 'loden', ...conf });
const paths = (conf: object) => read(conf).problems.map((p) => p.path);
const loden = (conf: object) => {
  const { config, problems } = read(conf);
  expect(problems).toEqual([]);
  if (config.type !== 'loden') throw new Error('of another type');
  return { ...config, routes: config.routes.map(formatPrefix) };
};

const DEFAULTS = {
  type: 'loden',
  mode: 'bridge',
  bridge: 'cni0',
  hairpin: true,
  dataDir: '/var/lib/cni/networks',
  routes: [],
  dns: {},
};

describe('type loden', () => {
  test('needs nothing', () => expect(loden({})).toEqual(DEFAULTS));

  test.each([
    [{ mode: 'ptp' }, { mode: 'ptp' }],
    [{ mode: 'bridge', bridge: 'br-pods' }, { bridge: 'br-pods' }],
    [{ mtu: 1400 }, { mtu: 1400 }],
    [{ mtu: 68 }, { mtu: 68 }],
    [{ mtu: 65535 }, { mtu: 65535 }],
    [{ mtu: 0 }, {}],
    [{ hairpinMode: false }, { hairpin: false }],
    [{ hairpin: false }, { hairpin: false }],
    [{ hairpin: false, hairpinMode: true }, { hairpin: true }],
    [{ ipam: {} }, {}],
    [{ ipam: null, dns: null, mtu: null, bridge: null, mode: null }, {}],
    [{ ipam: { type: 'host-local', dataDir: '/var/x' } }, { dataDir: '/var/x' }],
    [{ ipam: { type: '', ranges: [[{ subnet: '10.0.0.0/8' }]], resolvConf: '/etc/x', unknown: 1 } }, {}],
    [
      {
        ipam: {
          routes: [{ dst: '10.96.0.0/12' }, { dst: 'fd00:96::1/48', gw: '' }, { dst: '10.96.7.7/12' }],
        },
      },
      { routes: ['10.96.0.0/12', 'fd00:96::/48'] },
    ],
    [{ ipam: { routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } }, {}],
    [
      { dns: { nameservers: ['10.0.0.10'], domain: 'd', search: ['a', 'b'], options: ['ndots:5'], more: 1 } },
      { dns: { nameservers: ['10.0.0.10'], domain: 'd', search: ['a', 'b'], options: ['ndots:5'] } },
    ],
    [{ dns: { nameservers: [], domain: '', search: null } }, {}],
    [{ socket: '/run/x.sock', delQueue: '/var/q' }, {}],
    [{ capabilities: { ips: true }, isGateway: true, plugins: 7, args: { labels: [] }, 'io.x/y': {} }, {}],
    [
      { Bridge: 'b', MTU: 1300, IPAM: { DATADIR: '/d', Routes: [{ DST: '10.0.0.0/8' }] } },
      { bridge: 'b', mtu: 1300, dataDir: '/d', routes: ['10.0.0.0/8'] },
    ],
  ])('%j', (conf, expected) => expect(loden(conf)).toEqual({ ...DEFAULTS, ...expected }));

  const WRONG: readonly (readonly [conf: object, paths: readonly string[]])[] = [
    [{ type: 'bridge' }, ['type']],
    [{ type: 5 }, ['type']],
    [{ mode: 'vlan' }, ['mode']],
    [{ mode: 5 }, ['mode']],
    ...['a/b', '', '.', 'a b', 'aaaaaaaaaaaaaaaa', 'br%d', 5].map(
      (bridge) => [{ bridge }, ['bridge']] as const,
    ),
    ...[67, 1, -1, 65536, 1.5, '1400', true, {}].map((mtu) => [{ mtu }, ['mtu']] as const),
    [{ hairpin: 'yes' }, ['hairpin']],
    [{ hairpinMode: 1 }, ['hairpinMode']],
    [{ ipam: 'host-local' }, ['ipam']],
    [{ ipam: { type: 'dhcp' } }, ['ipam.type']],
    [{ ipam: { dataDir: 'relative' } }, ['ipam.dataDir']],
    [{ ipam: { dataDir: '/a\0b' } }, ['ipam.dataDir']],
    [{ ipam: { routes: {} } }, ['ipam.routes']],
    [
      { ipam: { routes: [5, { dst: 'x' }, { dst: 5 }, {}] } },
      ['ipam.routes[0]', 'ipam.routes[1].dst', 'ipam.routes[2].dst', 'ipam.routes[3].dst'],
    ],
    [{ ipam: { routes: [{ dst: '10.0.0.0/8', gw: '10.1.2.3' }] } }, ['ipam.routes[0].gw']],
    [{ dns: [] }, ['dns']],
    [
      { dns: { nameservers: 'x', search: [1, 'a'], domain: 5 } },
      ['dns.domain', 'dns.nameservers', 'dns.search[0]'],
    ],
    [{ socket: 'x' }, ['socket']],
    [{ delQueue: 5 }, ['delQueue']],
    [{ mtu: 1400, MTU: 1300 }, ['MTU']],
    [
      { mtu: 'x', mode: 'y', ipam: { dataDir: 5, routes: 5 } },
      ['mode', 'mtu', 'ipam.dataDir', 'ipam.routes'],
    ],
  ];
  test.each(WRONG)('%j is wrong', (conf, where) => {
    expect(paths(conf).toSorted()).toEqual([...where].toSorted());
    // What is wrong is replaced by its default, for a DEL.
    expect(read(conf).config).toMatchObject({ ...DEFAULTS, dns: expect.anything() });
  });
});

describe('type flannel', () => {
  const flannel = (conf: object) => readConfig({ name: 'pods', type: 'flannel', ...conf });
  test("has flannel's defaults", () => {
    expect(flannel({})).toEqual({
      config: { type: 'flannel', subnetFile: '/run/flannel/subnet.env', dataDir: '/var/lib/cni/flannel' },
      problems: [],
    });
  });
  test('keeps its parts as they are', () => {
    const parts = { delegate: { type: 'macvlan', a: [1] }, ipam: { type: 'x' }, runtimeConfig: { mac: 'y' } };
    expect(flannel({ ...parts, subnetFile: '/a', dataDir: '/b', mtu: 'none of its business' })).toEqual({
      config: { type: 'flannel', ...parts, subnetFile: '/a', dataDir: '/b' },
      problems: [],
    });
  });
  test.each([
    [{ subnetFile: 'a' }, 'subnetFile'],
    [{ dataDir: 5 }, 'dataDir'],
    [{ delegate: 'bridge' }, 'delegate'],
    [{ ipam: [] }, 'ipam'],
    [{ runtimeConfig: 1 }, 'runtimeConfig'],
  ])('%j is wrong', (conf, path) => expect(flannel(conf).problems.map((p) => p.path)).toEqual([path]));
});

const said = (a: Asked) => ({ ips: a.ips.map(formatAddr), ...(a.mac ? { mac: a.mac } : {}) });

describe('CNI_ARGS', () => {
  test.each([
    ['', { ips: [] }],
    ['IP=10.1.2.3', { ips: ['10.1.2.3'] }],
    ['IP=10.1.2.3/24', { ips: ['10.1.2.3'] }],
    ['IP=fd00::5', { ips: ['fd00::5'] }],
    [
      'IP=10.1.2.3,fd00::5/64;MAC=0A:58:0a:01:02:03',
      { ips: ['10.1.2.3', 'fd00::5'], mac: '0a:58:0a:01:02:03' },
    ],
    ['MAC=0a-58-0a-01-02-03', { ips: [], mac: '0a:58:0a:01:02:03' }],
    ['IP=;MAC=', { ips: [] }],
    ['IP=10.1.2.3;IP=10.1.2.4', { ips: ['10.1.2.4'] }],
    [
      'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=abc',
      { ips: [] },
    ],
    ['K8S_POD_NAME=web;IgnoreUnknown=TRUE', { ips: [] }],
    ['IgnoreUnknown=0', { ips: [] }],
    ['IgnoreUnknown=true;=x', { ips: [] }],
  ])('%s', (text, expected) => expect(said(parseArgs(text))).toEqual(expected));

  test.each([
    ['IP', 'ARGS: invalid pair "IP"'],
    ['IP=10.1.2.3;', 'ARGS: invalid pair ""'],
    ['A=B=C;IgnoreUnknown=1', 'ARGS: invalid pair "A=B=C"'],
    ['A=1;IP=10.1.2.3;B=2', 'ARGS: unknown args ["A=1" "B=2"]'],
    ['A=1;IgnoreUnknown=false', 'ARGS: unknown args ["A=1"]'],
    ['ip=10.1.2.3', 'ARGS: unknown args ["ip=10.1.2.3"]'],
    ['IgnoreUnknown=yes', 'ARGS: error parsing value of pair "IgnoreUnknown=yes"'],
    ['IP=10.1.2', 'ARGS: error parsing value of pair "IP=10.1.2"'],
    ['IP=10.1.2.3,', 'ARGS: error parsing value of pair "IP=10.1.2.3,"'],
    ['MAC=xx', 'ARGS: error parsing value of pair "MAC=xx"'],
    ['MAC=01:58:0a:01:02:03', 'ARGS: error parsing value'],
    ['MAC=00:00:00:00:00:00', 'ARGS: error parsing value'],
  ])('%s: code 4', (text, msg) => {
    expect(() => parseArgs(text)).toThrow(
      expect.objectContaining({ code: 4, message: expect.stringContaining(msg) }),
    );
  });
});

describe('what is asked for', () => {
  const A = '0a:00:00:00:00:0a';
  const B = '0a:00:00:00:00:0b';
  const C = '0a:00:00:00:00:0c';
  test.each([
    ['', {}, { ips: [] }],
    ['IP=10.1.2.3', { runtimeConfig: { ips: ['fd00::5/64'] } }, { ips: ['10.1.2.3', 'fd00::5'] }],
    // The same address from several sources is one wish.
    [
      'IP=10.1.2.3',
      { args: { cni: { ips: ['10.1.2.3'] } }, runtimeConfig: { ips: ['10.1.2.3/24'] } },
      { ips: ['10.1.2.3'] },
    ],
    [`MAC=${A}`, {}, { ips: [], mac: A }],
    [`MAC=${A}`, { args: { cni: { mac: B } } }, { ips: [], mac: B }],
    [`MAC=${A}`, { args: { cni: { mac: B } }, runtimeConfig: { mac: C } }, { ips: [], mac: C }],
    ['', { args: { cni: { mac: B, ips: [] } }, runtimeConfig: { mac: '' } }, { ips: [], mac: B }],
    // Meant for plugins behind us, and for nobody.
    [
      '',
      {
        runtimeConfig: { portMappings: [{ hostPort: 1 }], bandwidth: {} },
        args: { labels: [], cni: { x: 1 } },
      },
      { ips: [] },
    ],
    ['', { args: 'anything', runtimeConfig: null }, { ips: [] }],
  ])('%s %j', (args, conf, expected) => expect(said(readAsked(args, conf))).toEqual(expected));

  test.each([
    ['', { runtimeConfig: 5 }, 7, 'runtimeConfig: expected a JSON object, got 5'],
    ['', { runtimeConfig: { ips: '10.1.2.3' } }, 7, 'runtimeConfig.ips: expected a list'],
    [
      '',
      { runtimeConfig: { ips: ['x', 5], mac: 'y' }, args: { cni: { mac: 5 } } },
      7,
      `args.cni.mac: expected a MAC address of one interface (not zero, not multicast), got 5; runtimeConfig.ips[0]: expected an IP address, got "x"; runtimeConfig.ips[1]: expected an IP address, got 5; runtimeConfig.mac`,
    ],
    ['', { args: { cni: 5 } }, 7, 'args.cni: expected a JSON object'],
    [
      'IP=10.1.2.3',
      { runtimeConfig: { ips: ['10.1.2.4'] } },
      7,
      'asked for 10.1.2.3, 10.1.2.4: an interface gets one IPv4 address',
    ],
    ['IP=fd00::1,fd00::2', {}, 7, 'asked for fd00::1, fd00::2: an interface gets one IPv6 address'],
    ['X', {}, 4, 'ARGS: invalid pair'],
  ])('%s %j: an error', (args, conf, code, msg) => {
    expect(() => readAsked(args, conf)).toThrow(CniError);
    expect(() => readAsked(args, conf)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(msg) }),
    );
  });
});
