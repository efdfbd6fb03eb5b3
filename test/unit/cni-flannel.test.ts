import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CniError } from '../../src/cni/errors.ts';
import { delegateConfig, delegateError, isPluginName } from '../../src/cni/flannel/delegate.ts';
import { type FlannelEnv, flannelEnvOf, parseFlannelEnv } from '../../src/cni/flannel/subnetEnv.ts';
import { readConfig } from '../../src/cni/protocol/config.ts';
import { prefix } from '../../src/net/prefix.ts';
import { formatSubnetEnv } from '../../src/subnet/subnetEnv.ts';

/** The delegate's configuration, as flannel's own plugin makes it. */

const FILE = '/run/flannel/subnet.env';
const V4 = 'FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n';
const V6 = 'FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n';
const REST = 'FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n';

const env = (text: string): FlannelEnv => parseFlannelEnv(text, FILE);
const ENV = env(V4 + REST);

/** The delegate's configuration for a configuration of type flannel. */
function delegate(conf: object, from: FlannelEnv = ENV): unknown {
  const raw = { name: 'cni-flannel', type: 'flannel', ...conf };
  const { config, problems } = readConfig(raw);
  expect(problems).toEqual([]);
  if (config.type !== 'flannel') throw new Error('of another type');
  return JSON.parse(JSON.stringify(delegateConfig({ network: raw.name, config, raw }, from)));
}

describe('subnet.env', () => {
  test.each([
    ['IPv4', V4 + REST, ['10.1.0.0/16'], ['10.1.17.0/24']],
    ['IPv6', V6 + REST, ['fc00::/48'], ['fc00::/64']],
    ['both, in any order', V6 + REST + V4, ['10.1.0.0/16', 'fc00::/48'], ['10.1.17.0/24', 'fc00::/64']],
    [
      'several networks, each once',
      `${V4.replace('/16', '/16,192.168.0.0/16,10.1.9.9/16')}${REST}`,
      ['10.1.0.0/16', '192.168.0.0/16'],
      ['10.1.17.0/24'],
    ],
    ['further lines', `# x\n\nOTHER=1\nnonsense\n=\n${V4}${REST}`, ['10.1.0.0/16'], ['10.1.17.0/24']],
    ['the later of two lines', `FLANNEL_SUBNET=10.1.1.1/24\n${V4}${REST}`, ['10.1.0.0/16'], ['10.1.17.0/24']],
    ['lines of another system', (V4 + REST).replaceAll('\n', '\r\n'), ['10.1.0.0/16'], ['10.1.17.0/24']],
  ])('%s', (_what, text, networks, subnets) => {
    expect(env(text)).toEqual({
      networks: networks.map(prefix),
      subnets: subnets.map(prefix),
      mtu: 1472,
      ipMasq: true,
    });
  });

  test.each([['false'], ['TRUE'], ['1'], ['']])('FLANNEL_IPMASQ=%s is not true', (word) => {
    expect(env(`${V4}FLANNEL_MTU=1\nFLANNEL_IPMASQ=${word}\n`)).toMatchObject({ mtu: 1, ipMasq: false });
  });

  test.each([
    [
      '',
      'FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ',
    ],
    [
      'FLANNEL_NETWORK\n',
      'FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ',
    ],
    [V4, 'FLANNEL_MTU, FLANNEL_IPMASQ'],
    [`FLANNEL_SUBNET=10.1.17.1/24\n${REST}`, 'FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK'],
    [`FLANNEL_IPV6_NETWORK=fc00::/48\n${REST}`, 'FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET'],
    [`${V6}FLANNEL_MTU=1\n`, 'FLANNEL_IPMASQ'],
    [`export ${V4}${REST}`, 'FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK'],
  ])('%j is missing something', (text, what) => {
    expect(() => env(text)).toThrow(
      expect.objectContaining({
        code: 11,
        message: `loadFlannelSubnetEnv failed: ${FILE} is missing ${what}`,
      }),
    );
  });

  test.each([
    [`${V4}${REST}FLANNEL_NETWORK=10.1.0.0\n`, 'FLANNEL_NETWORK: invalid CIDR address: 10.1.0.0'],
    [`${V4}${REST}FLANNEL_NETWORK=10.1.0.0/16,\n`, 'FLANNEL_NETWORK: invalid CIDR address: '],
    [`${V4}${REST}FLANNEL_SUBNET="10.1.17.1/24"\n`, 'FLANNEL_SUBNET: invalid CIDR address: "10.1.17.1/24"'],
    [`${V4}${REST}FLANNEL_SUBNET=fc00::1/64\n`, 'FLANNEL_SUBNET: invalid CIDR address: fc00::1/64'],
    [`${V4}${REST}FLANNEL_IPV6_SUBNET=x\n`, 'FLANNEL_IPV6_SUBNET: invalid CIDR address: x'],
    [`${V4}${REST}FLANNEL_MTU=-1\n`, 'FLANNEL_MTU: invalid syntax: -1'],
    [`${V4}${REST}FLANNEL_MTU=4294967296\n`, 'FLANNEL_MTU: invalid syntax: 4294967296'],
    [`${V4}${REST}FLANNEL_MTU=\n`, 'FLANNEL_MTU: invalid syntax: '],
  ])('%j has a line nobody understands', (text, what) => {
    expect(() => env(text)).toThrow(
      expect.objectContaining({ code: 11, message: `loadFlannelSubnetEnv failed: ${FILE}: ${what}` }),
    );
  });

  test('as the daemon writes it says what the daemon knows', () => {
    const subnets = [
      { subnet: prefix('fd00:0:0:7::/64'), network: prefix('fd00::/56') },
      { subnet: prefix('10.42.7.0/24'), network: prefix('10.42.0.0/16') },
    ];
    for (const known of [subnets, subnets.slice(0, 1), subnets.slice(1)]) {
      for (const ipMasq of [true, false]) {
        const file = formatSubnetEnv({
          networks: known.map((s) => s.network),
          subnets: known.map((s) => s.subnet),
          mtu: 1450,
          ipMasq,
        });
        expect(env(file)).toEqual(flannelEnvOf({ subnets: known, mtu: 1450, ipMasq }));
      }
    }
  });

  test('of any content is read or refused', () => {
    const line = fc.oneof(
      fc.string(),
      fc
        .tuple(
          fc.constantFrom('FLANNEL_NETWORK', 'FLANNEL_SUBNET', 'FLANNEL_MTU', 'FLANNEL_IPV6_SUBNET'),
          fc.string(),
        )
        .map(([k, v]) => `${k}=${v}`),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        try {
          env(lines.join('\n'));
        } catch (e) {
          expect(e).toBeInstanceOf(CniError);
        }
      }),
    );
  });
});

describe('the delegate', () => {
  const ipam = (ranges: string[], routes: object[]) => ({
    type: 'host-local',
    ranges: ranges.map((subnet) => [{ subnet }]),
    routes,
  });
  const BASE = {
    name: 'cni-flannel',
    type: 'bridge',
    ipMasq: false,
    mtu: 1472,
    isGateway: true,
    ipam: ipam(['10.1.17.0/24'], [{ dst: '10.1.0.0/16' }]),
  };
  const DUAL = env(V4 + V6 + REST);

  test.each([
    ['IPv4', {}, ENV, BASE],
    [
      'two networks',
      {},
      env(V4.replace('/16', '/16,192.168.0.0/16') + REST),
      { ...BASE, ipam: ipam(['10.1.17.0/24'], [{ dst: '10.1.0.0/16' }, { dst: '192.168.0.0/16' }]) },
    ],
    ['IPv6', {}, env(V6 + REST), { ...BASE, ipam: ipam(['fc00::/64'], [{ dst: 'fc00::/48' }]) }],
    [
      'both',
      {},
      DUAL,
      { ...BASE, ipam: ipam(['10.1.17.0/24', 'fc00::/64'], [{ dst: '10.1.0.0/16' }, { dst: 'fc00::/48' }]) },
    ],
    [
      'without masquerading by flannel',
      {},
      env(`${V4}FLANNEL_MTU=1400\nFLANNEL_IPMASQ=false`),
      { ...BASE, ipMasq: true, mtu: 1400 },
    ],
    [
      'its own values',
      {
        delegate: {
          ipMasq: true,
          mtu: 1300,
          isGateway: false,
          bridge: 'b',
          isDefaultGateway: true,
          hairpinMode: true,
        },
      },
      ENV,
      {
        ...BASE,
        ipMasq: true,
        mtu: 1300,
        isGateway: false,
        bridge: 'b',
        isDefaultGateway: true,
        hairpinMode: true,
      },
    ],
    // What is there, is there, be it null.
    [
      'its own null',
      { delegate: { ipMasq: null, mtu: null, isGateway: null } },
      ENV,
      { ...BASE, ipMasq: null, mtu: null, isGateway: null },
    ],
    [
      'another type, which is given no isGateway',
      { delegate: { type: 'macvlan', master: 'eth0' } },
      ENV,
      { name: 'cni-flannel', type: 'macvlan', master: 'eth0', ipMasq: false, mtu: 1472, ipam: BASE.ipam },
    ],
    ['a version', { cniVersion: '0.3.1' }, ENV, { ...BASE, cniVersion: '0.3.1' }],
    [
      'a version over its own',
      { cniVersion: '0.3.1', delegate: { cniVersion: '1.0.0' } },
      ENV,
      { ...BASE, cniVersion: '0.3.1' },
    ],
    ['no version', { cniVersion: '' }, ENV, BASE],
    ['nothing', { delegate: {}, ipam: {} }, ENV, BASE],
    ['null', { delegate: null, ipam: null, runtimeConfig: null }, ENV, BASE],
    [
      'runtimeConfig',
      { runtimeConfig: { portMappings: [{ hostPort: 80 }], mac: 'x' } },
      ENV,
      { ...BASE, runtimeConfig: { portMappings: [{ hostPort: 80 }], mac: 'x' } },
    ],
    [
      'runtimeConfig over its own',
      { runtimeConfig: { a: 1 }, delegate: { runtimeConfig: { b: 2 } } },
      ENV,
      { ...BASE, runtimeConfig: { a: 1 } },
    ],
    [
      'its own runtimeConfig',
      { delegate: { runtimeConfig: { b: 2 } } },
      ENV,
      { ...BASE, runtimeConfig: { b: 2 } },
    ],
    [
      'nothing of the chain',
      { prevResult: {}, args: { cni: {} }, dns: { domain: 'x' }, capabilities: { mac: true }, mtu: 1 },
      ENV,
      BASE,
    ],
    [
      "another ipam, with routes of its own before flannel's, and its ranges replaced",
      {
        ipam: {
          type: 'my-ipam',
          'unknown-param': 'v',
          ranges: [1],
          subnet: 'x',
          routes: [
            { dst: '10.96.0.0/12', unknown: 1 },
            { dst: '192.168.244.0/24', gw: '10.1.17.20' },
            { dst: '10.1.2.3/8', gw: '', mtu: 1400, priority: 5 },
          ],
        },
      },
      ENV,
      {
        ...BASE,
        ipam: {
          type: 'my-ipam',
          'unknown-param': 'v',
          subnet: 'x',
          ranges: [[{ subnet: '10.1.17.0/24' }]],
          routes: [
            { dst: '10.96.0.0/12' },
            { dst: '192.168.244.0/24', gw: '10.1.17.20' },
            { dst: '10.1.2.3/8', mtu: 1400, priority: 5 },
            { dst: '10.1.0.0/16' },
          ],
        },
      },
    ],
    [
      'no routes of its own',
      { ipam: { routes: null } },
      DUAL,
      { ...BASE, ipam: ipam(['10.1.17.0/24', 'fc00::/64'], [{ dst: '10.1.0.0/16' }, { dst: 'fc00::/48' }]) },
    ],
  ])('has %s', (_what, conf, from, expected) => expect(delegate(conf, from)).toEqual(expected));

  test.each([
    [{ delegate: { type: 5 } }, "'delegate' dictionary, if present, must have (string) 'type' field"],
    [{ delegate: { type: null } }, "'delegate' dictionary, if present, must have (string) 'type' field"],
    [
      { delegate: { name: 'x' } },
      "'delegate' dictionary must not have 'name' field, it'll be set by flannel",
    ],
    [
      { delegate: { name: null } },
      "'delegate' dictionary must not have 'name' field, it'll be set by flannel",
    ],
    [{ delegate: { ipam: {} } }, "'delegate' dictionary must not have 'ipam' field, it'll be set by flannel"],
    [{ delegate: { type: '../../bin/sh' } }, "'delegate' dictionary: 'type' is no plugin's name"],
    [{ delegate: { type: '' } }, "'delegate' dictionary: 'type' is no plugin's name"],
    [{ delegate: { type: 'flannel' } }, "'delegate' dictionary: 'type' must not be flannel itself"],
    [{ delegate: { type: 'loden' } }, "'delegate' dictionary: 'type' must not be loden itself"],
    [
      { ipam: { routes: {} } },
      'failed to assemble Delegate IPAM: failed to read IPAM routes: failed to parse ipam.routes: expected a list',
    ],
    [
      { ipam: { routes: [{ dst: '10.0.0.0' }] } },
      'failed to parse ipam.routes: [0].dst: expected address/length, got "10.0.0.0"',
    ],
    [
      { ipam: { routes: [{ dst: '10.0.0.0/8' }, {}] } },
      'failed to parse ipam.routes: [1].dst: expected address/length, got nothing',
    ],
    [{ ipam: { routes: [5] } }, 'failed to parse ipam.routes: [0]: expected a JSON object, got 5'],
    [
      { ipam: { routes: [{ dst: '10.0.0.0/8', gw: 'x' }] } },
      'failed to parse ipam.routes: [0].gw: expected an IP address',
    ],
    [
      { ipam: { routes: [{ dst: '10.0.0.0/8', mtu: 'x' }] } },
      'failed to parse ipam.routes: [0].mtu: expected a whole number',
    ],
  ])('%j is refused', (conf, msg) => {
    expect(() => delegate(conf)).toThrow(
      expect.objectContaining({ code: 7, message: expect.stringContaining(msg) }),
    );
  });

  test('leaves the configuration it came from as it was', () => {
    const conf = Object.freeze({
      delegate: Object.freeze({ bridge: 'b' }),
      ipam: Object.freeze({ routes: Object.freeze([]) }),
    });
    expect(delegate(conf)).toMatchObject({ bridge: 'b' });
  });
});

test.each([
  ['bridge', true],
  ['host-device', true],
  ['my_plugin.v2', true],
  ['', false],
  ['.', false],
  ['..', false],
  ['-x', false],
  ['a/b', false],
  ['a b', false],
  ['a\n', false],
  ['x'.repeat(256), false],
])('%j may be a plugin: %s', (name, may) => expect(isPluginName(name)).toBe(may));

describe('a delegate that fails', () => {
  const error = (exit: number, stdout: string) => delegateError('bridge', 'ADD', { exit, stdout });
  test('is quoted, with its code', () => {
    const said = error(1, '{"cniVersion":"1.0.0","code":11,"msg":"no addresses","details":"in range set"}');
    expect(said).toMatchObject({
      code: 11,
      message: 'failed to delegate add: bridge: no addresses',
      details: 'in range set',
    });
  });
  test.each([
    [127, '', 'it cannot be run: is there such a program in CNI_PATH?'],
    [137, '', 'it was ended by signal 9'],
    [2, '', 'it ended with exit code 2 and no error message'],
    [1, 'panic: x', 'it ended with exit code 1 and no error message'],
    [1, 'null', 'it ended with exit code 1 and no error message'],
    [1, '{"code":"x","msg":"y"}', 'it ended with exit code 1 and no error message'],
    [1, '{"code":0,"msg":"y"}', 'it ended with exit code 1 and no error message'],
    [1, '{"code":1.5,"msg":"y"}', 'it ended with exit code 1 and no error message'],
    [1, '{"code":7}', 'it ended with exit code 1 and no error message'],
  ])('and says nothing: %i %s', (exit, stdout, how) => {
    expect(error(exit, stdout)).toMatchObject({
      code: 999,
      message: `failed to delegate add: bridge: ${how}`,
    });
    expect(error(exit, stdout).details).toBe(stdout === '' ? undefined : stdout);
  });
});
